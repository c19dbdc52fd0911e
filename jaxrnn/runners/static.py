"""The runner that unrolls: a Python loop, so a traced graph of T cells."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.masking import Steps, enter, fill_padding, first_step, leave, select_rows, zero_padding
from jaxrnn.jit import jit_by_value
from jaxrnn.keys import call_cell, step_key
from jaxrnn.memory.host import on_host
from jaxrnn.runners.start import first_state, key_struct
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
    check.on_device(inputs=on_host(inputs), params=on_host(params), initial_state=on_host(initial_state))
    inputs = [check.arrays(x, f"inputs[{t}]") for t, x in enumerate(inputs)]
    sequence_length = check.lengths(sequence_length, check.same_steps(inputs), len(inputs))
    initial_state = check.arrays(initial_state, "initial_state")
    run = jit_by_value(_run, cell, static=("cell", "dtype", "reverse"))
    arrays = check.arrays(params, "params"), inputs, sequence_length, initial_state, key
    return run(*arrays, cell=cell, dtype=check.dtype(dtype), reverse=reverse)


def _run(params, inputs, sequence_length, initial_state, key, *, cell, dtype, reverse):
    one_step = jax.eval_shape(lambda x: x, inputs[0])
    state = first_state(cell, params, one_step, initial_state, dtype, key_struct(key))
    first = first_step(_at_first(inputs, sequence_length, reverse), state, sequence_length, None)
    outputs = [None] * len(inputs)
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        step = Steps(valid=None if sequence_length is None else t < sequence_length).starting(None, first)
        keys = None if key is None else step_key(key, t)
        x = inputs[t] if first is None else fill_padding(step.valid, inputs[t], first.inputs)
        output, new = call_cell(cell, params, x, enter(step, state), keys)
        outputs[t] = zero_padding(step.valid, output)
        state = leave(step, state, new)
    return outputs, state


def _at_first(inputs, lengths, reverse):
    """What each row has at the first step that is run."""
    if not reverse or lengths is None:
        return inputs[0]
    return functools.reduce(lambda last, t: select_rows(t < lengths, inputs[t], last), range(len(inputs)), inputs[0])
