"""The engine: K steps at once, and what they keep for their derivative.

A chunk takes `params`, inputs `[K, B, ...]`, a state `[B, ...]` and the `Steps`, and returns `(outputs, state)`, the same
as K steps. There are three kinds:

- a cell's own `chunk` method: stacks and wrappers, which compose the chunks of the cells inside them;
- `fused_chunk`, for a cell in four functions (`jaxrnn.RNNCell`);
- `plain_chunk`, a `lax.scan` of any function `cell(params, inputs, state) -> (output, new_state)`.

The fused chunk is differentiated by a tangent rule (`jax.custom_jvp`; `jaxrnn.derivative` has its equations) and not by a
`custom_vjp`, so forward mode, `jax.linearize` and `jax.hessian` take the same road.

Two things can be kept for the loop, and either gives the other: the gates give the states by running `combine` alone, the
states give the gates by running `project`, `recur` and `gates` for all the steps at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.derivative import Derivative
from jaxrnn.kept import keep
from jaxrnn.keys import call_cell, fold_in
from jaxrnn.lengths import Steps, enter, leave, zero_padding
from jaxrnn.memory.modes import STATES, Mode, named
from jaxrnn.recurrent import recur, recur_tangent
from jaxrnn.tangents import instantiate, over_time


def run_chunk(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """K steps of any cell: `xs` `[K, B, ...]`, `state` `[B, ...]` -> (outputs `[K, B, ...]`, state `[B, ...]`)."""
    chunk = getattr(cell, "chunk", None)
    return chunk(params, xs, state, steps) if chunk else plain_chunk(cell, params, xs, state, steps)


def chunk_of_four(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """K steps at once: xs `[K, B, ...]` -> outputs `[K, B, ...]`, state `[B, ...]`; a method of cells in four functions."""
    return (steps.of_four or fused_chunk)(cell, params, xs, state, steps)


def is_fused(cell: Any) -> bool:
    """Whether the cell's chunk is that of its four functions and nothing else."""
    return getattr(type(cell), "chunk", None) is chunk_of_four


def fused_throughout(cell: Any) -> bool:
    """Whether it is a cell in four functions, or made of such ones alone."""
    inner = getattr(cell, "inner_cells", ())
    return is_fused(cell) or (len(inner) > 0 and all(map(fused_throughout, inner)))


def plain_chunk(cell: Callable, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """The chunk of a function: a scan whose states are named, so that the memory modes apply to it as well.

    Where states go to the host, it is the first one of every chunk: step by step, many small transfers would wait in the
    loop.
    """
    state = named(state, STATES) if steps.keep == "states" else state

    def one_step(state, item):
        x, step = item[0], steps.at(item[1])
        state = enter(step, state)
        state = named(state, STATES) if steps.keep != "states" else state
        output, new = call_cell(cell, params, x, state, step.key)
        return leave(step, state, new), output

    state, outputs = lax.scan(one_step, state, (xs, steps.varying))
    return outputs, state


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def fused_chunk(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """The chunk of a cell in four functions."""

    def one_step(state, item):
        z, step = item[0], steps.at(item[1])
        state = enter(step, state)
        output, new = cell.update(params, z, recur(cell, params, state), state)
        return leave(step, state, new), output

    state, outputs = lax.scan(one_step, state, (over_time(cell.project)(params, xs), steps.varying))
    return outputs, state


@functools.partial(fused_chunk.defjvp, symbolic_zeros=True)
def _fused_chunk_jvp(cell: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    params, xs, state, steps = primals
    dparams, dxs, dstate, dsteps = tangents
    z = over_time(cell.project)(params, xs)
    out, states, gates = keep(cell, params, z, state, steps)
    tangent = recur_tangent(cell, params, jax.tree.leaves(state)[0].shape[0])
    derivative = Derivative(cell, params, xs, z, states, gates, steps, tangent)
    dstart = instantiate(dsteps.start, steps.start)

    def one_step(dstate, item):
        return derivative.step(dstate, dstart, *item)

    items = (derivative.items, *derivative.front(dparams, dxs))
    dend, doutputs = lax.scan(one_step, instantiate(dstate, state), items)
    return out, (doutputs, dend)


def chunk_body(
    cell: Any,
    params: Any,
    initial_state: Any,
    key: jax.Array | None,
    mode: Mode,
    valid: Callable | None = None,
    reverse: bool = False,
    of_four: Callable | None = None,
) -> Callable:
    """`(state, (t, inputs, resets)) -> (state, outputs)` for one chunk, leaves `[K, ...]`; resets may be None.

    `valid` says of times `[K]` which steps `[K, B]` are no padding; None is all. `of_four` is what `Steps` says of it.
    """
    flip = (lambda tree: jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)) if reverse else (lambda tree: tree)

    def run(state, chunk):
        time, inputs, resets = flip(chunk)
        mask = None if valid is None else valid(time)
        step_key = None if key is None else jax.vmap(fold_in, (None, 0))(key, time)
        steps = Steps(mask, step_key=step_key, run_key=key, keep=mode.keep, of_four=of_four).resetting(resets, initial_state)
        outputs, state = run_chunk(cell, params, zero_padding(mask, inputs), state, steps)
        return state, flip(zero_padding(mask, outputs))

    return run
