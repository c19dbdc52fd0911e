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
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxrnn.keys import call_cell
from jaxrnn.lengths import Steps, enter, leave
from jaxrnn.memory.modes import GATES, STATES, named
from jaxrnn.traced import matrix_product, reads, sums, varying


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

    state, outputs = lax.scan(one_step, state, (_over_time(cell.project)(params, xs), steps.varying))
    return outputs, state


@functools.partial(fused_chunk.defjvp, symbolic_zeros=True)
def _fused_chunk_jvp(cell: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    params, xs, state, steps = primals
    dparams, dxs, dstate, dsteps = tangents
    z = _over_time(cell.project)(params, xs)
    out, states, gates = _keep(cell, params, z, state, steps)

    dz = _tangent(_over_time(cell.project), (params, xs), (dparams, dxs))
    taps = _weight_tangents(cell, params, dparams, z, states, gates)
    dz, taps["recur"] = _summed_up(cell, params, z, states, dz, taps["recur"])
    recur = _recur_tangent(cell, params, states)
    dsteps = dataclasses.replace(steps, start=_instantiate(dsteps.start, steps.start))

    def one_step(dstate, item):
        step, state, kept, dz, taps = item
        dstate = enter(dsteps.at(step), dstate)
        g, gates_tangent = gates.rebuild(params, state, kept)
        dr = recur(state, dstate)
        dg = _add(gates_tangent(dz, _add(dr, taps["recur"]), dstate), taps["gates"])
        doutput, dnew = _tangent(lambda g, s: cell.finish(params, g, s), (g, state), (dg, dstate))
        doutput, dnew = _add((doutput, dnew), taps["combine"])
        return leave(dsteps.at(step), dstate, dnew), doutput

    items = (steps.varying, states, gates.kept, dz, taps)
    dend, doutputs = lax.scan(one_step, _instantiate(dstate, state), items)
    return out, (doutputs, dend)


# ---- what the tangent loop needs of the primal one


@dataclasses.dataclass(frozen=True)
class _Gates:
    """The gates and their derivative at every step of a chunk.

    `jax.linearize` gives the gates' values and their derivative as a pytree of arrays. Among these, `kept` (leaves
    `[K, B, ...]`) has every distinct one once. Those that are parameters or the state itself are not kept again, and those
    that come from the parameters alone (a slice of the weights, say) are made again: K copies of weights would be large.
    """

    kept: list[jax.Array]
    rebuild: Callable  # (params, state, one step's kept) -> (g, (dz, dr, dstate) -> dg)


def _linearize_gates(cell, params, z, r, state) -> _Gates:
    """The gates at one step. Arrays are told apart by identity, which tracing keeps."""

    def linearized(params, *args):
        return jax.linearize(functools.partial(cell.gates, params), *args)

    leaves, treedef = jax.tree.flatten(linearized(params, z, r, state))
    varies = varying(linearized, params, z, r, state)
    position = {id(leaf): i for i, leaf in reversed(list(enumerate(leaves)))}
    known = {id(leaf): i for i, leaf in enumerate(jax.tree.leaves((params, state)))}
    new = [i for i, leaf in enumerate(leaves) if varies[i] and id(leaf) not in known and position[id(leaf)] == i]

    def source(i, leaf):
        if id(leaf) in known:
            return "known", known[id(leaf)]
        return ("kept", new.index(position[id(leaf)])) if varies[i] else ("weights", i)

    sources = [source(i, leaf) for i, leaf in enumerate(leaves)]
    some_args = jax.eval_shape(lambda: (z, r, state))

    def rebuild(params, state, kept):
        arrays = {"known": jax.tree.leaves((params, state)), "kept": kept}
        if not all(where in arrays for where, _ in sources):
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), some_args)
            arrays["weights"] = jax.tree.leaves(linearized(params, *zeros))
        return jax.tree.unflatten(treedef, [arrays[where][i] for where, i in sources])

    return _Gates([leaves[i] for i in new], rebuild)


def _keep(cell, params, z, state, steps):
    """Runs the chunk: its outputs and end state, the state that each step starts from, and the gates.

    What is named here is what a memory mode can save; all else is recomputed from it in the backward pass.
    """
    rebuild = []

    def one_step(state, item):
        z, step = item[0], steps.at(item[1])
        state = enter(step, state)
        gates = _linearize_gates(cell, params, z, cell.recur(params, state), state)
        rebuild.append(gates.rebuild)
        output, new = cell.finish(params, gates.rebuild(params, state, gates.kept)[0], state)
        return leave(step, state, new), (output, gates.kept if steps.keep == "gates" else state)

    end, (outputs, kept) = lax.scan(one_step, state, (z, steps.varying))
    if steps.keep == "gates":
        gates = _Gates(named(kept, GATES), rebuild[0])
        return (outputs, end), _states_from_gates(cell, params, state, steps, gates), gates
    states = named(kept, STATES)
    return (outputs, end), states, _gates_from_states(cell, params, z, states)


def _states_from_gates(cell, params, state, steps, gates):
    """Runs `combine` alone: elementwise, no product with the recurrent weights."""

    def one_step(state, item):
        kept, step = item[0], steps.at(item[1])
        state = enter(step, state)
        g, _ = gates.rebuild(params, state, kept)
        return leave(step, state, cell.finish(params, g, state)[1]), state

    return lax.scan(one_step, state, (gates.kept, steps.varying))[1]


def _gates_from_states(cell, params, z, states):
    """Runs `recur` and `gates` for all the steps at once: nothing in it waits for the step before."""
    rebuild = []

    def one_step(z, state):
        gates = _linearize_gates(cell, params, z, cell.recur(params, state), state)
        rebuild.append(gates.rebuild)
        return gates.kept

    return _Gates(jax.vmap(one_step)(z, states), rebuild[0])


def _weight_tangents(cell, params, dparams, z, states, gates):
    """What the weights' own tangents add at every step of the loop, from one product each over the whole chunk."""
    r = _over_time(cell.recur)(params, states)
    g = jax.vmap(lambda state, kept: gates.rebuild(params, state, kept)[0])(states, gates.kept)
    uses = {
        "recur": lambda p: _over_time(cell.recur)(p, states),
        "gates": lambda p: _over_time(cell.gates)(p, z, r, states),
        "combine": lambda p: _over_time(cell.finish)(p, g, states),
    }
    return {name: _tangent(use, (params,), (dparams,)) if reads(use, params) else None for name, use in uses.items()}


def _summed_up(cell, params, z, states, dz, dr):
    """Moves into dz what the weights add to r, where the gates know z and r only as their sum.

    The two have one cotangent then, which is stored once, for the input weights and the recurrent ones.
    """
    if dr is None:
        return dz, dr
    state = _one_step(states)
    r = jax.eval_shape(cell.recur, params, state)
    pairs = sums(lambda z, r, state: cell.gates(params, z, r, state), _one_step(z), r, state)
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
        return _tangent(lambda s: cell.recur(params, s), (state,), (dstate,))

    state = _one_step(states)
    found = matrix_product(lambda params, dstate, state: tangent(params, state, dstate), params, state, state)
    if found is None or jax.tree.leaves(state)[found.rows].shape[0] < _ROWS_TO_TURN:
        return functools.partial(tangent, params)
    turned = lax.optimization_barrier(jax.tree.leaves(params)[found.matrix].T)
    r_tree = jax.tree.structure(jax.eval_shape(cell.recur, params, state))

    def product(state, dstate):
        rows = jax.tree.leaves(dstate)[found.rows]
        return r_tree.unflatten([lax.dot_general(rows, turned, (((1,), (1,)), ((), ())), **found.options)])

    return product


_ROWS_TO_TURN = 8


# ---- small tools on functions and tangents


def _over_time(f: Callable) -> Callable:
    """`f(params, ...)` for all K steps at once, as for a batch of K B rows.

    A product over two axes of rows, transposed, is one whose factors XLA copies first: a sixth of a training step on a CPU.
    But rows that are split over devices cannot become one axis with the steps, and a leaf that has no rows (a step counter,
    say) has no such axis.
    """

    def over_time(params, *args):
        leaves = jax.tree.leaves(args)
        steps_and_rows = leaves[0].shape[:2]
        rowless = any(leaf.ndim < 2 or leaf.shape[:2] != steps_and_rows for leaf in leaves)
        if rowless or _several_devices():
            return jax.vmap(functools.partial(f, params))(*args)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), args)
        return jax.tree.map(lambda leaf: leaf.reshape(*steps_and_rows, *leaf.shape[1:]), f(params, *rows))

    return over_time


def _several_devices() -> bool:
    """Whether anything could be split; what is, is not known while tracing."""
    return jax.device_count() > 1


def _one_step(tree: Any) -> Any:
    """One step of K, as shapes."""
    return jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], tree))


def _tangent(f: Callable, primals: tuple, tangents: tuple) -> Any:
    """The output tangent of `jax.jvp`, with no work spent on the leaves whose tangent is zero."""
    leaves, treedef = jax.tree.flatten(primals)
    dleaves = treedef.flatten_up_to(tangents)
    live = [i for i, d in enumerate(dleaves) if not isinstance(d, SymbolicZero)]

    def of_live(*values):
        merged = list(leaves)
        for i, value in zip(live, values, strict=True):
            merged[i] = value
        return f(*jax.tree.unflatten(treedef, merged))

    return jax.jvp(of_live, [leaves[i] for i in live], [dleaves[i] for i in live])[1]


def _instantiate(tangent: Any, primal: Any) -> Any:
    """The tangent of a state as arrays."""
    zero = lambda d, p: jnp.zeros_like(p) if isinstance(d, SymbolicZero) else d
    return jax.tree.map(zero, tangent, primal, is_leaf=lambda d: isinstance(d, SymbolicZero))


def _add(a: Any, b: Any | None) -> Any:
    """a + b; b, or any leaf of it, may be None for zero."""
    add = lambda b, a: a if b is None else a + b
    return a if b is None else jax.tree.map(add, b, a, is_leaf=lambda leaf: leaf is None)
