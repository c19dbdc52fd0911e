"""The runner whose inputs a function makes, step by step: decoding, sampling, attention, games."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.first import FirstStep, first_step
from jaxrnn.engine.masking import fill_padding, select_rows, zero_padding
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.tuning import current
from jaxrnn.jit import jit_by_value
from jaxrnn.keys import call_cell, step_key
from jaxrnn.memory.host import on_host
from jaxrnn.memory.modes import MODES, STATES, Mode, named_for_gradients, resolve
from jaxrnn.runners.offload_check import proven
from jaxrnn.runners.start import Struct, strong
from jaxrnn.typing import Cell, MemoryName, Params, Policy, Tree


def raw_rnn(
    cell: Cell,
    params: Params,
    loop_fn: Callable,
    *,
    max_steps: int,
    swap_memory: bool = False,
    memory: MemoryName | Mode | Policy = "save",
    chunk_size: int | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any, Any]:
    """Runs a cell on inputs that depend on its outputs, until all rows have finished; TF1's `tf.nn.raw_rnn`.

    What it means:

        finished, inputs, state, _, loop_state = loop_fn(0, None, None, None)
        for t in range(max_steps):
            if all(finished): break
            output, new = cell(params, inputs, state, key=step_key(key, t))  # finished rows: as at t = 0
            ended, inputs, new, emit, loop_state = loop_fn(t + 1, output, new, loop_state)
            emits[t], state = zeros, state                  # in rows that have finished, else
            emits[t], state = emit, new
            finished = finished | ended

    A row that says at `t + 1` that it has finished still emits what it emitted at that call. In finished rows the cell is
    called with a row's first inputs and state again, whatever loop_fn gives: 0 * inf in its derivative would reach the params.
    Everything is differentiated, in forward and reverse mode, with respect to params and whatever else loop_fn reads, and goes
    through `jax.vmap`.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      params: the cell's params.
      loop_fn: `(time, cell_output, cell_state, loop_state) -> (elements_finished, next_input, next_cell_state, emit_output,
        next_loop_state)`, traced: once for time 0, with None for the others, and then for an int32 scalar time.
        elements_finished: booleans `[B]`. next_input: an array or a pytree of arrays `[B, ...]`; of the last call it is not
        read. next_cell_state: at time 0 the initial state, `[B, ...]`, later cell_state, or what shall be in its place.
        emit_output: arrays `[B, ...]`, or None for nothing; at time 0 it is not looked at. next_loop_state: any pytree of
        arrays, which belongs to no row, or None: to keep the one that there is, or at time 0 to have none.
      max_steps: T, the most steps, 0 or more; TF1 has no such limit, but XLA's arrays are of fixed sizes.
      swap_memory, memory: as for `dynamic_rnn`, but for a budget and a plan. What is kept of a step in "save" is what it
        starts from: state, inputs, loop_state; the rest is computed again.
      chunk_size: K, steps a chunk; None chooses.
      key: a PRNG key, for cells that draw something; nothing is drawn without it.

    Returns:
      `(emits, state, loop_state)`: what was emitted, `[T, B, ...]` (TF1's `emit_ta.stack()`), zeros where nothing was; the
      last state of each row, `[B, ...]`; the last loop_state. Count in loop_state how many steps there were.

    Raises:
      TypeError, ValueError: if an argument, or what loop_fn returns, does not fit; inside `jax.shard_map` and on a mesh with
        explicit axes, where JAX has to be told of each array over which devices it is spread, what loop_fn closes over
        included.

    Example: a cell that reads what it wrote, each row until its output is above 0.9.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=3)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> def loop_fn(time, output, state, loop_state):
      ...     if output is None:
      ...         return jnp.zeros(4, bool), jnp.ones((4, 3)), cell.initial_state(4), None, jnp.int32(0)
      ...     return output[:, 0] > 0.9, output, state, output, loop_state + 1
      >>> emits, state, steps = jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=10)
      >>> emits.shape, state.shape, int(steps)
      ((10, 4, 3), (4, 3), 10)
    """
    check.is_cell(cell, "raw_rnn")
    check.automatic_axes("raw_rnn")
    check.loop_fn(loop_fn)
    check.max_steps(max_steps)
    swap_memory = check.flag("swap_memory", swap_memory)
    check.mode(memory, MODES, (Mode,))
    check.memory(memory, swap_memory, MODES, (Mode,))
    check.chunk_size(chunk_size)
    check.on_device(params=on_host(params))
    mode = proven(resolve("offload" if swap_memory else memory))
    params = check.arrays(params, "params")
    if key is not None:
        check.prng_key(key)
    run = jit_by_value(_run, (cell, loop_fn), static=("cell", "loop_fn", "max_steps", "mode", "chunk_size"))
    return run(params, key, cell=cell, loop_fn=loop_fn, max_steps=int(max_steps), mode=mode, chunk_size=chunk_size)


def _run(params, key, *, cell, loop_fn, max_steps, mode, chunk_size):
    start, batch = _start(cell, loop_fn)
    finished, inputs, state, _ = start
    first = first_step(inputs, state, (~finished).astype(jnp.int32))

    def step(carry, t):
        """A step that is run, whoever has finished: these rows see what a row's first step sees."""
        finished, inputs, state, loop_state = carry
        x, s = fill_padding(~finished, FirstStep(inputs, state), first)
        output, new = call_cell(cell, params, x, s, None if key is None else step_key(key, t))
        ended, inputs, new, emit, more = _arrays(loop_fn(t + 1, output, new, loop_state))
        new, loop_state = check.like(state, new), loop_state if more is None else more
        check.later_call(carry, (ended, inputs, new, loop_state), emit)
        return (finished | ended, inputs, select_rows(~finished, new, state), loop_state), zero_padding(~finished, emit)

    time = jnp.arange(max_steps, dtype=jnp.int32)
    (_, _, state, loop_state), emits = run_until_finished(step, start, time, batch, mode, chunk_size)
    return emits, state, loop_state


def run_until_finished(
    step: Callable, start: tuple, xs: Tree, batch: int, mode: Mode, chunk_size: int | None
) -> tuple[tuple, Any]:
    """Runs `step(carry, x) -> (carry, emit)` until the first part of the carry, `finished`, is True throughout.

    Args:
      step: one step.
      start: the first carry.
      xs: leaves `[T, ...]`, of which each step is given its own.
      batch: B, which chooses the size of a chunk.
      mode, chunk_size: what is kept, and K or None.

    Returns:
      `(carry, emits)`, leaves of emits `[T, ...]`, zeros at the steps that were not run.
    """
    _, emit = jax.eval_shape(step, start, jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), xs))
    nothing = lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), emit)

    def step_if_going(carry, x):
        carry = named_for_gradients(carry, STATES) if mode.keep != "states" else carry
        return lax.cond(jnp.all(carry[0]), lambda carry, x: (carry, nothing()), step, carry, x)

    def chunk(carry, xs):
        carry = (
            named_for_gradients(carry, STATES) if mode.keep == "states" else carry
        )  # to the host it is the first of each chunk that goes
        return lax.scan(step_if_going, carry, xs)

    size = chunk_size or current().chunk_size(jax.tree.leaves(xs)[0].shape[0], batch, mode)
    return scan_chunks(chunk, start, xs, size, mode, reverse=False)


def _start(cell: Cell, loop_fn: Callable) -> tuple[tuple, int]:
    """`(finished, inputs, state, loop_state)` before the first step, and B."""
    finished, inputs, state, _, loop_state = _arrays(loop_fn(jnp.int32(0), None, None, None))
    batch = check.batch_of(inputs, "next_input")
    check.finished(finished, batch)
    return (finished, inputs, check.as_state(cell, state, batch), loop_state), batch


def _arrays(result: Any) -> list[Any]:
    """The five things that loop_fn returns, as arrays with dtypes of their own."""
    names = "elements_finished", "next_input", "next_cell_state", "emit_output", "next_loop_state"
    return [strong(check.arrays(part, name)) for part, name in zip(check.loop_result(result), names, strict=True)]
