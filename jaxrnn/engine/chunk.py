"""A chunk: K steps of any cell at once.

A chunk takes `params`, inputs `[K, B, ...]`, a state `[B, ...]` and the `Steps`, and returns `(outputs, state)`, the same
as K steps. There are three kinds:

- a cell's own `chunk` method: stacks and wrappers, which compose the chunks of the cells inside them;
- `fused_chunk`, for a cell in four functions (`jaxrnn.RNNCell`);
- `plain_chunk`, a `lax.scan` of any function `cell(params, inputs, state) -> (output, new_state)`; of a class too that
  overrides `__call__`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.at_once import chunk_at_once, goes_at_once
from jaxrnn.engine.autodiff import Live, with_backward
from jaxrnn.engine.derivative import Derivative, forward
from jaxrnn.engine.facts import StepFacts, step_shapes
from jaxrnn.engine.first import FirstStep
from jaxrnn.engine.masking import Steps, enter, fill_padding, leave, restart, zero_padding
from jaxrnn.engine.residuals import Residuals
from jaxrnn.engine.rewrites import Keyed, Rewritten, recur_tangent
from jaxrnn.engine.step import draws, update
from jaxrnn.engine.tuning import Tuning, current
from jaxrnn.keys import StepKey, call_cell, fold_in
from jaxrnn.memory.modes import GATES, STATES, Mode, named, named_for_gradients
from jaxrnn.typing import Cell, FourFunctions, Inputs, Outputs, Params, State


def run_chunk(cell: Cell, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
    """K steps of any cell: `xs` `[K, B, ...]`, `state` `[B, ...]` -> (outputs `[K, B, ...]`, state `[B, ...]`)."""
    return (own_chunk(cell) or plain_chunk)(cell, params, xs, state, steps)


def own_chunk(cell: Cell) -> Callable | None:
    """The function of the cell's class that runs a chunk of the steps that it has; None is `plain_chunk`.

    A class that overrides `__call__` alone has other steps than those that its inherited chunk runs.
    """
    return None if check.own_call(type(cell)) else getattr(type(cell), "chunk", None)


def chunk_of_four(cell: FourFunctions, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
    """K steps at once: xs `[K, B, ...]` -> outputs `[K, B, ...]`, state `[B, ...]`; a method of cells in four functions."""
    run = steps.of_four or fused_chunk
    if steps.key is None or not draws(cell):
        return run(cell, params, xs, state, steps)
    each = StepKey(jnp.broadcast_to(steps.key.run, steps.key.step.shape), steps.key.step, steps.key.t)
    return run(Keyed(cell), params, (xs, each), state, steps)


def is_fused(cell: Cell) -> bool:
    """Whether the cell's chunk is that of its four functions and nothing else."""
    return own_chunk(cell) is chunk_of_four


def fused_throughout(cell: Cell) -> bool:
    """Whether it is a cell in four functions, or made of such ones alone."""
    inner = () if getattr(cell, "in_chunks", False) else _inner(cell)
    return is_fused(cell) or (len(inner) > 0 and all(map(fused_throughout, inner)))


def runs_at_once(cell: Cell, tuning: Tuning | None = None) -> bool:
    """Whether it, or a cell in it, has a linear recurrence (`jaxrnn.LinearCell`) whose steps are joined, not run in turn."""
    joined = (tuning or current()).recurrence != "sequential"
    return joined and (_is_linear(cell) or any(runs_at_once(inner, tuning) for inner in _inner(cell)))


def linear_throughout(cell: Cell) -> bool:
    """Whether it is a `jaxrnn.LinearCell`, or made of such ones alone."""
    inner = _inner(cell)
    return _is_linear(cell) or (len(inner) > 0 and all(map(linear_throughout, inner)))


def _is_linear(cell: Cell) -> bool:
    return is_fused(cell) and hasattr(cell, "coefficients")


def _inner(cell: Cell) -> Sequence[Cell]:
    return getattr(cell, "inner_cells", ()) if own_chunk(cell) else ()


def plain_chunk(cell: Cell, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
    """The chunk of a function: a scan whose states are named, so that the memory modes apply to it as well.

    To the host goes only the first state of every chunk: a transfer at every step would make the loop wait.
    """
    state = named_for_gradients(state, STATES) if steps.keep == "states" else state

    def one_step(state, item):
        x, step = item[0], steps.at(item[1])
        old = restart(step, state)
        start = enter(step, old)
        start = named_for_gradients(start, STATES) if steps.keep != "states" else start
        output, new = call_cell(cell, params, x, start, step.key)
        return leave(step, old, new), output

    state, outputs = lax.scan(one_step, state, (xs, steps.varying), length=steps.length)
    return outputs, state


def step_by_step(cell: Cell, *args: Any) -> tuple[Outputs, State]:
    """The chunk for forward mode and second derivatives. It keeps nothing.

    In reverse mode it runs a step once more from its state.
    """
    return plain_chunk(jax.checkpoint(cell, prevent_cse=False), *args)


# ---- the chunk of a cell in four functions


@dataclasses.dataclass(frozen=True, eq=False)
class _Chunk:
    """A chunk to run: a cell in the form that is fastest, what is kept of it, and what tracing a step shows.

    The forward pass fills `traced`, and the backward pass reads it: only where a chunk runs do the types of arrays say how they
    are spread over devices.
    """

    tuned: Rewritten
    keeps: str
    facts: StepFacts
    traced: list[Residuals] = dataclasses.field(default_factory=list)


def fused_chunk(cell: Any, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
    """K steps with the derivative of `jaxrnn.engine.derivative`; step by step where the functions cannot be run apart."""
    tuning = steps.tuning or current()
    facts = StepFacts.of(cell, params, step_shapes(xs), state, tuning)
    if not facts.fit:
        return plain_chunk(cell, params, xs, state, steps)
    steps = dataclasses.replace(steps, count=jax.tree.leaves(xs)[0].shape[0])
    if steps.recurrence or (runs_at_once(cell, tuning) and goes_at_once(state, steps)):
        return chunk_at_once(facts, cell, params, xs, state, steps)
    keeps = facts.keeps if steps.keep == "fastest" else steps.keep
    return _run(_Chunk(facts.rewritten(cell), keeps, facts), (params, xs, state, steps))


def _forward(chunk: _Chunk, args: tuple, keeps: bool) -> tuple[tuple[Outputs, State], list]:
    (params, xs, state, steps), cell = args, chunk.tuned if keeps else chunk.facts.of_values(chunk.tuned)

    def step(z, state):
        if not keeps:
            return *update(cell, params, z, cell.recur(params, state), state), []
        chunk.traced[:] = [Residuals.of(cell, chunk.keeps, params, z, state)]
        return chunk.traced[0].step(params, z, state)

    outputs, state, kept = forward(step, chunk.facts.projected(cell, params, xs), state, steps, chunk.facts.tuning)
    return (outputs, state), named(kept, GATES if chunk.keeps == "gates" else STATES)


def _backward(chunk: _Chunk, args: tuple, kept: list, live: Live, cotangents: tuple) -> tuple:
    (params, xs, state, steps), facts, cell = args, chunk.facts, chunk.tuned
    live_params, live_xs, ct_start = live.part(0), live.part(1), None
    if steps.start is not None and any(live.part(3).mask):
        ct_start = jax.tree.map(jnp.zeros_like, steps.start)
    z = facts.projected(cell, params, xs)
    states, gates = chunk.traced[0].read(params, z, state, steps, kept, 0, None)
    recur = recur_tangent(cell, params, facts.tuning.transposes_matrices(jax.tree.leaves(state)[0].shape[0]))
    derivative = Derivative(cell, params, xs, z, states, gates, steps, recur, facts)
    ct_outputs, ct_state = cotangents
    ct_state, ct_start, ct_params, ct_xs = derivative.backward(live_params, live_xs, ct_outputs, ct_state, ct_start)
    steps = steps if ct_start is None else dataclasses.replace(steps, start=ct_start)
    return live_params.fill(ct_params), live_xs.fill(ct_xs), ct_state, steps


_run = with_backward(lambda chunk, args: step_by_step(chunk.tuned.cell, *args), _forward, _backward)


def chunk_body(
    cell: Cell,
    params: Params,
    key: jax.Array | None,
    mode: Mode,
    valid: Callable | None = None,
    start: State = None,
    first: FirstStep | None = None,
    reverse: bool = False,
    of_four: Callable | None = None,
) -> Callable:
    """`(state, (t, inputs, resets, mask)) -> (state, outputs)` for one chunk, leaves `[K, ...]`; resets and mask may be None.

    `valid` says of times `[K]` and the mask which steps `[K, B]` are no padding; None is all. At resets the state is `start`.
    Padded steps are called with `first`. `of_four` is what `Steps` says of it.
    """
    flip = (lambda tree: jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)) if reverse else (lambda tree: tree)
    make = functools.partial(Steps, run_key=key, keep=mode.keep, of_four=of_four, tuning=current())

    def run(state, chunk):
        time, inputs, resets, mask = flip(chunk)
        runs = None if valid is None else valid(time, mask)
        keys = {} if key is None else {"step_key": jax.vmap(fold_in, (None, 0))(key, time), "time": time}
        steps = make(runs, **keys, count=time.shape[0]).starting(resets, start, first and first.state)
        inputs = inputs if first is None else fill_padding(runs, inputs, first.inputs)
        outputs, state = run_chunk(cell, params, inputs, state, steps)
        return state, flip(zero_padding(runs, outputs))

    return run
