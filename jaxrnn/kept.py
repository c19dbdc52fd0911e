"""What the primal loop of a chunk keeps for the tangent one: the gates, or the states; either gives the other.

The gates give the states by elementwise work alone, in a loop of its own. The states are fewer bytes, and give the gates of all
steps at once, by one product more.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxrnn.inplace import corner
from jaxrnn.lengths import enter, leave
from jaxrnn.memory.modes import GATES, STATES, named
from jaxrnn.recurrent import recur
from jaxrnn.step import finish
from jaxrnn.tangents import with_float0, without_float0
from jaxrnn.traced import Trace


@dataclasses.dataclass(frozen=True)
class Gates:
    """The gates and their derivative at every step of a chunk.

    `jax.linearize` gives the gates' values and their derivative as a pytree of arrays. Among these, `kept` (leaves
    `[K, B, ...]`) has every distinct one once. Those that are parameters or the state itself are not kept again, and those
    that come from the parameters alone (a slice of the weights, say) are made again: K copies of weights would be large.
    A whole run has some of them in arrays over all T steps, perhaps of more rows, which a loop reads in place: `places` `[K]`
    says where.
    """

    kept: list[jax.Array]
    rebuild: Callable  # (params, state, one step's kept) -> (g, (dz, dr, dstate) -> dg)
    whole: list[jax.Array | None] | None = None  # for each of kept
    places: jax.Array | None = None

    @property
    def items(self) -> list[Any]:
        """What a loop over the steps slices."""
        whole = self.whole or [None] * len(self.kept)
        return [kept if w is None else self.places for kept, w in zip(self.kept, whole, strict=True)]

    def at(self, params: Any, state: Any, items: list[Any]) -> tuple[Any, Callable]:
        """`(g, (dz, dr, dstate) -> dg)` at one step of the loop."""
        whole = self.whole or [None] * len(items)
        step = lambda w, item: lax.dynamic_index_in_dim(w, item, keepdims=False)
        read = lambda w, item, kept: item if w is None else corner(step(w, item), kept.shape[1:])
        return self.rebuild(params, state, [read(*each) for each in zip(whole, items, self.kept, strict=True)])


def keeps_gates(keep: str) -> bool:
    """Whether it is the gates that are kept, by a mode's word for it: "gates", "states", or "fastest".

    A CPU has no product to spare. A GPU waits for the start of every step's kernels, of which a loop fewer takes a third.
    """
    return keep == "gates" or (keep == "fastest" and jax.default_backend() == "cpu")


def linearize_gates(cell, params, z, r, state) -> Gates:
    """The gates at one step, and what there is to keep of them: every array that is new, once."""
    trace = Trace.of(lambda params, *args: jax.linearize(functools.partial(cell.gates, params), *args), params, z, r, state)
    leaves = trace(params, z, r, state)
    known = [*trace.arguments[: trace.fixed_count], *trace.arguments[len(trace.arguments) - len(jax.tree.leaves(state)) :]]
    shapes = jax.eval_shape(lambda: (z, r, state))
    sources, new = [], []
    for i, (result, varies) in enumerate(zip(trace.results, trace.varies, strict=True)):
        if (place := _index(known, result)) is not None:
            sources.append(("known", place))
        elif not varies:
            sources.append(("fixed", i))
        else:
            if (place := _index([trace.results[k] for k in new], result)) is None:
                place = len(new)
                new.append(i)
            sources.append(("kept", place))

    def rebuild(params, state, kept):
        fixed = trace.without_args(params) if any(kind == "fixed" for kind, _ in sources) else []
        arrays = {"known": jax.tree.leaves((params, state)), "kept": kept, "fixed": fixed}
        g, tangent = jax.tree.unflatten(trace.structure, [arrays[kind][i] for kind, i in sources])
        return g, lambda *tangents: without_float0(tangent(*with_float0(tangents, shapes)))

    return Gates([leaves[i] for i in new], rebuild)


def _index(variables: list, variable: Any) -> int | None:
    return next((i for i, v in enumerate(variables) if v is variable), None)


def keep(cell, params, z, state, steps):
    """Runs the chunk: its outputs and end state, the state that each step starts from, and the gates.

    What is named here is what a memory mode can save; all else is recomputed from it in the backward pass.
    """
    rebuild, gates_are_kept = [], keeps_gates(steps.keep)

    def one_step(state, item):
        z, step = item[0], steps.at(item[1])
        start = enter(step, state)
        gates = linearize_gates(cell, params, z, recur(cell, params, start), start)
        rebuild.append(gates.rebuild)
        output, new = finish(cell, params, gates.rebuild(params, start, gates.kept)[0], start)
        return leave(step, state, new), (output, gates.kept if gates_are_kept else start)

    end, (outputs, kept) = lax.scan(one_step, state, (z, steps.varying), length=steps.length)
    if gates_are_kept:
        gates = Gates(named(kept, GATES), rebuild[0])
        return (outputs, end), states_from_gates(cell, params, state, steps, gates), gates
    states = named(kept, STATES)
    return (outputs, end), states, gates_from_states(cell, params, z, states)


def states_from_gates(cell, params, state, steps, gates):
    """Runs `combine` alone: elementwise, no product with the recurrent weights."""

    def one_step(state, item):
        kept, step = item[0], steps.at(item[1])
        start = enter(step, state)
        g, _ = gates.at(params, start, kept)
        return leave(step, state, finish(cell, params, g, start)[1]), start

    return lax.scan(one_step, state, (gates.items, steps.varying), length=steps.length)[1]


def gates_from_states(cell, params, z, states):
    """Runs `recur` and `gates` for all the steps at once: nothing in it waits for the step before."""
    rebuild = []

    def one_step(z, state):
        gates = linearize_gates(cell, params, z, cell.recur(params, state), state)
        rebuild.append(gates.rebuild)
        return gates.kept

    return Gates(jax.vmap(one_step)(z, states), rebuild[0])
