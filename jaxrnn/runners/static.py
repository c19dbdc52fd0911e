"""The runner that unrolls: a Python loop, so a traced graph of T cells."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.first import first_step
from jaxrnn.engine.masking import Steps, enter, fill_padding, leave, restart, select_rows, zero_padding
from jaxrnn.jit import jit_by_value
from jaxrnn.keys import call_cell, step_key
from jaxrnn.memory.host import on_host
from jaxrnn.runners.extent import course_of
from jaxrnn.runners.start import first_state, key_struct, state_at_resets
from jaxrnn.typing import Cell, Params, State


def static_rnn(
    cell: Cell,
    params: Params,
    inputs: Sequence[Any],
    *,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    reverse: bool = False,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[list[Any], Any]:
    """Unrolls a cell over a list of T steps; TF1's `tf.nn.static_rnn`.

    The traced graph, and so the time to compile it, grows with T: use it for a few dozen steps, `dynamic_rnn` for more. Both
    give the same numbers.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      params: the cell's params.
      inputs: a list or tuple of T steps, each an array or a pytree of arrays `[B, ...]`.
      sequence_length: integers `[B]`. At `t >= length` the output is zeros and the state is copied through.
      initial_state: a pytree of arrays `[B, ...]`; None is the cell's own, zeros.
      dtype: the initial state's dtype if none is given; None is the dtype of params and inputs.
      reverse: whether to run from the last step to the first. Outputs stay at their inputs' places.
      resets: booleans `[B, T]`: start again from `reset_state` before that step.
      reset_state: the state at resets, leaves `[B, ...]`; None is the cell's own, zeros. A plain function that is given resets
        needs it.
      mask: booleans `[B, T]`, False where a step is left out: zeros out, the state copied through. See `dynamic_rnn`.
      key: a PRNG key, for cells that draw something; nothing is drawn without it.

    Returns:
      `(outputs, state)`: a list of T outputs `[B, ...]` and the last state `[B, ...]`, which is the state after the last
      valid step of each row.

    Raises:
      TypeError, ValueError: if an argument does not fit; the text says what was expected, what came and what to do.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.BasicRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> X0, X1 = jnp.ones((4, 3)), jnp.zeros((4, 3))
      >>> (Y0, Y1), state = jaxrnn.static_rnn(cell, params, [X0, X1])
      >>> Y0.shape, state.shape
      ((4, 5), (4, 5))
    """
    check.is_cell(cell, "static_rnn")
    check.step_list(inputs)
    reverse = check.flag("reverse", reverse)
    if key is not None:
        check.prng_key(key)
    states = {"initial_state": initial_state, "reset_state": reset_state}
    check.on_device(inputs=on_host(inputs), params=on_host(params), **{name: on_host(tree) for name, tree in states.items()})
    inputs = [check.arrays(x, f"inputs[{t}]") for t, x in enumerate(inputs)]
    batch, time = check.same_steps(inputs), len(inputs)
    sequence_length = check.lengths(sequence_length, batch, time)
    resets = check.booleans("resets", resets, (batch, time), "[B, T]", "True where a sequence starts again")
    mask = check.booleans("mask", mask, (batch, time), "[B, T]", "True where a step is run")
    states = [check.arrays(tree, name) for name, tree in states.items()]
    run = jit_by_value(_run, cell, static=("cell", "dtype", "reverse"))
    arrays = check.arrays(params, "params"), inputs, sequence_length, mask, resets, *states, key
    return run(*arrays, cell=cell, dtype=check.dtype(dtype), reverse=reverse)


def _run(params, inputs, sequence_length, mask, resets, initial_state, reset_state, key, *, cell, dtype, reverse):
    one_step = jax.eval_shape(lambda x: x, inputs[0])
    state, again = first_state(cell, params, one_step, initial_state, dtype, key_struct(key)), None
    if resets is not None:
        again = state_at_resets(cell, state, reset_state, resets.shape[0])
    course = course_of(sequence_length, mask, resets, 1, reverse, state, again)
    state, outputs, extent, first = course.start, [None] * len(inputs), course.extent, None
    if extent is not None:
        first = first_step(_at_first(inputs, extent), course.first, extent.ends)
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        runs = None if extent is None else t < extent.ends
        if runs is not None and course.mask is not None:
            runs &= course.mask[:, t]
        step = Steps(valid=runs).starting(None if course.resets is None else course.resets[:, t], again, first and first.state)
        keys = None if key is None else step_key(key, t)
        x = inputs[t] if first is None else fill_padding(runs, inputs[t], first.inputs)
        old = restart(step, state)
        output, new = call_cell(cell, params, x, enter(step, old), keys)
        outputs[t] = zero_padding(runs, output)
        state = leave(step, old, new)
    return outputs, course.end(again, state)


def _at_first(inputs, extent):
    """What each row has at the first step that is run."""
    if extent.begins is None:
        return inputs[0]
    return functools.reduce(lambda last, t: select_rows(extent.begins == t, inputs[t], last), range(len(inputs)), inputs[0])
