"""The engine: K steps at once, and what they keep for their derivative.

A chunk takes `params`, inputs `[K, B, ...]`, a state `[B, ...]` and the `Steps`, and returns `(outputs, state)`, the same
as K steps. There are three kinds:

- a cell's own `chunk` method: stacks and wrappers, which compose the chunks of the cells inside them;
- `fused_chunk`, for a cell in four functions (`jaxrnn.RNNCell`);
- `plain_chunk`, a `lax.scan` of any function `cell(params, inputs, state) -> (output, new_state)`; of a class too that
  overrides `__call__`.

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

from jaxrnn import check
from jaxrnn.derivative import Derivative
from jaxrnn.kept import keep
from jaxrnn.keys import call_cell, fold_in
from jaxrnn.lengths import FirstStep, Steps, enter, fill_padding, leave, zero_padding
from jaxrnn.memory.modes import STATES, Mode, named_for_gradients
from jaxrnn.recurrent import recur, recur_tangent, rows_of
from jaxrnn.step import update
from jaxrnn.tangents import all_have_rows, instantiate, over_time, step_shapes, with_float0


def run_chunk(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """K steps of any cell: `xs` `[K, B, ...]`, `state` `[B, ...]` -> (outputs `[K, B, ...]`, state `[B, ...]`)."""
    return (own_chunk(cell) or plain_chunk)(cell, params, xs, state, steps)


def own_chunk(cell: Any) -> Callable | None:
    """The function of the cell's class that runs a chunk of the steps that it has; None is `plain_chunk`.

    A class that overrides `__call__` alone has other steps than those that its inherited chunk runs.
    """
    return None if check.own_call(type(cell)) else type(cell).chunk


def chunk_of_four(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """K steps at once: xs `[K, B, ...]` -> outputs `[K, B, ...]`, state `[B, ...]`; a method of cells in four functions."""
    run = steps.of_four or (fused_chunk if taken_apart(xs, state) else plain_chunk)
    return run(cell, params, xs, state, steps)


def is_fused(cell: Any) -> bool:
    """Whether the cell's chunk is that of its four functions and nothing else."""
    return own_chunk(cell) is chunk_of_four


def fused_throughout(cell: Any) -> bool:
    """Whether it is a cell in four functions, or made of such ones alone."""
    inner = getattr(cell, "inner_cells", ()) if own_chunk(cell) else ()
    return is_fused(cell) or (len(inner) > 0 and all(map(fused_throughout, inner)))


def taken_apart(inputs: Any, state: Any) -> bool:
    """Whether the four functions are run apart: there are inputs and a state, all of which has a derivative. Else each step is
    run as a whole."""
    leaves = jax.tree.leaves(state)
    both = len(jax.tree.leaves(inputs)) > 0 and len(leaves) > 0
    return both and all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves)


def plain_chunk(cell: Callable, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """The chunk of a function: a scan whose states are named, so that the memory modes apply to it as well.

    Where states go to the host, it is the first one of every chunk: step by step, many small transfers would wait in the
    loop.
    """
    state = named_for_gradients(state, STATES) if steps.keep == "states" else state

    def one_step(state, item):
        x, step = item[0], steps.at(item[1])
        start = enter(step, state)
        start = named_for_gradients(start, STATES) if steps.keep != "states" else start
        output, new = call_cell(cell, params, x, start, step.key)
        return leave(step, state, new), output

    state, outputs = lax.scan(one_step, state, (xs, steps.varying), length=steps.length)
    return outputs, state


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def fused_chunk(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """The chunk of a cell in four functions."""

    def one_step(state, item):
        z, step = item[0], steps.at(item[1])
        start = enter(step, state)
        output, new = update(cell, params, z, recur(cell, params, start), start)
        return leave(step, state, new), output

    z = over_time(cell.project, all_have_rows(cell, params, step_shapes(xs), state))(params, xs)
    state, outputs = lax.scan(one_step, state, (z, steps.varying), length=steps.length)
    return outputs, state


@functools.partial(fused_chunk.defjvp, symbolic_zeros=True)
def _fused_chunk_jvp(cell: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    params, xs, state, steps = primals
    dparams, dxs, dstate, dsteps = tangents
    has_rows = all_have_rows(cell, params, step_shapes(xs), state)
    z = over_time(cell.project, has_rows)(params, xs)
    out, states, gates = keep(cell, params, z, state, steps)
    tangent = recur_tangent(cell, params, rows_of(state))
    derivative = Derivative(cell, params, xs, z, states, gates, steps, tangent, has_rows)
    dstart = instantiate(dsteps.start, steps.start)

    def one_step(dstate, item):
        return derivative.step(dstate, dstart, *item)

    items = (derivative.items, *derivative.front(dparams, dxs))
    dend, doutputs = lax.scan(one_step, instantiate(dstate, state), items, length=steps.length)
    return out, (with_float0(doutputs, out[0]), dend)


def chunk_body(
    cell: Any,
    params: Any,
    key: jax.Array | None,
    mode: Mode,
    valid: Callable | None = None,
    first: FirstStep | None = None,
    reverse: bool = False,
    of_four: Callable | None = None,
) -> Callable:
    """`(state, (t, inputs, resets)) -> (state, outputs)` for one chunk, leaves `[K, ...]`; resets may be None.

    `valid` says of times `[K]` which steps `[K, B]` are no padding; None is all. `first` is what the others, and those at
    resets, are called with. `of_four` is what `Steps` says of it.
    """
    flip = (lambda tree: jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)) if reverse else (lambda tree: tree)

    def run(state, chunk):
        time, inputs, resets = flip(chunk)
        mask = None if valid is None else valid(time)
        step_key = None if key is None else jax.vmap(fold_in, (None, 0))(key, time)
        steps = Steps(mask, step_key=step_key, run_key=key, count=time.shape[0], keep=mode.keep, of_four=of_four)
        steps = steps.starting(resets, first)
        inputs = inputs if first is None else fill_padding(mask, inputs, first.inputs)
        outputs, state = run_chunk(cell, params, inputs, state, steps)
        return state, flip(zero_padding(mask, outputs))

    return run
