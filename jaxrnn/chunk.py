"""The engine: K steps at once, and what they keep for their derivative.

A chunk takes `params`, inputs `[K, B, ...]`, a state `[B, ...]` and the `Steps`, and returns `(outputs, state)`, the same
as K steps. There are three kinds:

- a cell's own `chunk` method: stacks and wrappers, which compose the chunks of the cells inside them;
- `fused_chunk`, for a cell in four functions (`jaxrnn.RNNCell`);
- `plain_chunk`, a `lax.scan` of any function `cell(params, inputs, state) -> (output, new_state)`.

How the fused chunk is differentiated. With z the projected inputs, r the recurrent product and s the state that a step
starts from, a step is

    g = gates(z, r(s), s)        output, s' = combine(g, s)

and its tangent (a dot before a name) is

    .g = gates'(.z, .r + r(.s), .s)        .output, .s' = combine'(.g, .s)

where .z and .r are all that comes from the inputs and from the weights. They do not depend on .s, so they are computed for
all K steps at once, in front of the loop. Transposed by JAX, the loop gives every step's cotangent of z and r, and behind
it each weight's gradient is one matrix product over the whole chunk. It is a tangent rule (`jax.custom_jvp`) and not a
`custom_vjp`, so forward mode, `jax.linearize` and `jax.hessian` take the same road.

Two things can be kept for the loop, and either gives the other: the gates give the states by running `combine` alone, the
states give the gates by running `project`, `recur` and `gates` for all the steps at once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxrnn.kept import keep
from jaxrnn.keys import call_cell
from jaxrnn.lengths import Steps, enter, leave
from jaxrnn.memory.modes import STATES, named
from jaxrnn.tangents import add_tangents, instantiate, over_time, step_shapes, tangent_of
from jaxrnn.traced import matrix_product, reads, sums

_ROWS_TO_TURN = 8  # of a batch, for which the recurrent matrix is turned once


def run_chunk(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """K steps of any cell: `xs` `[K, B, ...]`, `state` `[B, ...]` -> (outputs `[K, B, ...]`, state `[B, ...]`)."""
    chunk = getattr(cell, "chunk", None)
    return chunk(params, xs, state, steps) if chunk else plain_chunk(cell, params, xs, state, steps)


def plain_chunk(cell: Callable, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """The chunk of a function: a scan whose states are named, so that the memory modes apply to it as well.

    Where states go to the host, it is the first one of every chunk: step by step, many small transfers would wait in the
    loop.
    """
    state = named(state, STATES) if steps.keep == "states" else state

    def one_step(state, item):
        x, step = item[0], steps.at(item[1])
        state = enter(step, state)
        state = named(state, STATES) if steps.keep == "gates" else state
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
        output, new = cell.update(params, z, cell.recur(params, state), state)
        return leave(step, state, new), output

    state, outputs = lax.scan(one_step, state, (over_time(cell.project)(params, xs), steps.varying))
    return outputs, state


@functools.partial(fused_chunk.defjvp, symbolic_zeros=True)
def _fused_chunk_jvp(cell: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    params, xs, state, steps = primals
    dparams, dxs, dstate, dsteps = tangents
    z = over_time(cell.project)(params, xs)
    out, states, gates = keep(cell, params, z, state, steps)

    dz = tangent_of(over_time(cell.project), (params, xs), (dparams, dxs))
    taps = _weight_tangents(cell, params, dparams, z, states, gates)
    dz, taps["recur"] = _summed_up(cell, params, z, states, dz, taps["recur"])
    recur = _recur_tangent(cell, params, states)
    dsteps = dataclasses.replace(steps, start=instantiate(dsteps.start, steps.start))

    def one_step(dstate, item):
        step, state, kept, dz, taps = item
        dstate = enter(dsteps.at(step), dstate)
        g, gates_tangent = gates.rebuild(params, state, kept)
        dr = recur(state, dstate)
        dg = add_tangents(gates_tangent(dz, add_tangents(dr, taps["recur"]), dstate), taps["gates"])
        doutput, dnew = tangent_of(lambda g, s: cell.finish(params, g, s), (g, state), (dg, dstate))
        doutput, dnew = add_tangents((doutput, dnew), taps["combine"])
        return leave(dsteps.at(step), dstate, dnew), doutput

    items = (steps.varying, states, gates.kept, dz, taps)
    dend, doutputs = lax.scan(one_step, instantiate(dstate, state), items)
    return out, (doutputs, dend)


# ---- where the tangent loop leaves work to one product in front of it


def _weight_tangents(cell, params, dparams, z, states, gates):
    """What the weights' own tangents add at every step of the loop, from one product each over the whole chunk."""
    r = over_time(cell.recur)(params, states)
    g = jax.vmap(lambda state, kept: gates.rebuild(params, state, kept)[0])(states, gates.kept)
    uses = {
        "recur": lambda p: over_time(cell.recur)(p, states),
        "gates": lambda p: over_time(cell.gates)(p, z, r, states),
        "combine": lambda p: over_time(cell.finish)(p, g, states),
    }
    return {name: tangent_of(use, (params,), (dparams,)) if reads(use, params) else None for name, use in uses.items()}


def _summed_up(cell, params, z, states, dz, dr):
    """Moves into dz what the weights add to r, where the gates know z and r only as their sum.

    The two have one cotangent then, which is stored once, for the input weights and the recurrent ones.
    """
    if dr is None:
        return dz, dr
    state = step_shapes(states)
    r = jax.eval_shape(cell.recur, params, state)
    pairs = sums(lambda z, r, state: cell.gates(params, z, r, state), step_shapes(z), r, state)
    (dz, z_tree), (dr, r_tree) = jax.tree.flatten(dz), jax.tree.flatten(dr)
    for i, j in pairs:
        dz[i], dr[j] = dz[i] + dr[j], None
    return z_tree.unflatten(dz), r_tree.unflatten(dr)


def _recur_tangent(cell, params, states):
    """`(state, .state) -> r(.state)`, at every step of the loop.

    The backward loop multiplies by its transpose. Where it is one product with a matrix, as in most cells, that is turned
    once, in front of the loop: 5 to 10 % of a training step on a CPU, from a few rows on (fewer are products of a vector,
    for which it is slower).
    """

    def tangent(params, state, dstate):
        return tangent_of(lambda s: cell.recur(params, s), (state,), (dstate,))

    state = step_shapes(states)
    found = matrix_product(lambda params, dstate, state: tangent(params, state, dstate), params, state, state)
    if found is None or jax.tree.leaves(state)[found.rows].shape[0] < _ROWS_TO_TURN:
        return functools.partial(tangent, params)
    turned = lax.optimization_barrier(jax.tree.leaves(params)[found.matrix].T)
    r_tree = jax.tree.structure(jax.eval_shape(cell.recur, params, state))

    def product(state, dstate):
        rows = jax.tree.leaves(dstate)[found.rows]
        return r_tree.unflatten([lax.dot_general(rows, turned, (((1,), (1,)), ((), ())), **found.options)])

    return product
