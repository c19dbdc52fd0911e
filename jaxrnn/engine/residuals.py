"""What a step keeps for its derivative: its gates, or the state that it starts from.

    gates -> states     run `combine` again: elementwise work alone, in a loop of its own
    states -> gates     run `recur` and `gates` again: one product for all the steps, no loop

A CPU keeps the gates, since the product would cost it most. A GPU keeps the states: they take fewer kernels a step, and each
kernel of a loop takes time to start.

Some residuals are outputs too: the gate of a simple cell, the hidden state of most others. They are read from the outputs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import with_float0, without_float0
from jaxrnn.engine.jaxpr_queries import Trace, place
from jaxrnn.engine.masking import Steps, enter, leave, restart
from jaxrnn.engine.step import finish
from jaxrnn.typing import Dim, FourFunctions, Outputs, Params, State, Tree


@dataclasses.dataclass(frozen=True, eq=False)
class Residuals:
    """What there is to keep of a cell's step, found by tracing the step once.

    `jax.linearize` gives the gates and their derivative as a pytree of arrays. Each distinct array is kept once. Weights and
    the state are read where they are. An array that depends on weights alone, such as a slice of them, is computed again: K
    copies of it would be large.

    Attributes:
      keeps: "gates" or "states".
      trace: of `(params, z, state)` to `((output, new_state), (gates, their tangent function), (z, r, state))`.
      from_outputs: whether the outputs will be there when the residuals are read.
    """

    cell: FourFunctions
    keeps: str
    trace: Trace
    from_outputs: bool

    @staticmethod
    def of(cell: FourFunctions, keeps: str, params: Params, z: Tree, state: State, from_outputs: bool = False) -> Residuals:
        """Traces a step at arrays or shapes."""

        def step(params, z, state):
            r = cell.recur(params, state)
            gates = jax.linearize(functools.partial(cell.gates, params), z, r, state)
            return finish(cell, params, gates[0], state), gates, (z, r, state)

        return Residuals(cell, keeps, Trace.of(step, params, z, state), from_outputs)

    def step(self, params: Params, z: Tree, state: State) -> tuple[Outputs, State, list[jax.Array]]:
        """`(output, new_state, what is kept)`."""
        leaves = self.trace(params, z, state)
        (output, new), *_ = self.trace.structure.unflatten(leaves)
        kept = jax.tree.leaves(state) if self.keeps == "states" else self._arrays(leaves)
        return output, new, [array for array, i in zip(kept, self.outputs, strict=True) if i is None]

    @functools.cached_property
    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Of what a step keeps."""
        _, _, (*_, state) = self.trace.shapes
        kept = jax.tree.leaves(state) if self.keeps == "states" else self._arrays(self.trace.closed.out_avals)
        return [shape for shape, i in zip(kept, self.outputs, strict=True) if i is None]

    @functools.cached_property
    def outputs(self) -> list[int | None]:
        """For each array that a step has to keep, the number of the output that it is; None is of none.

        A state is the output of the step before.
        """
        (output, new), *_ = self._variables
        outputs, new = jax.tree.leaves(output), jax.tree.leaves(new)
        arrays = new if self.keeps == "states" else self._arrays(self.trace.results)
        return [place(outputs, v) if self.from_outputs else None for v in arrays]

    def read(
        self, params: Params, z: Tree, start: State, steps: Steps, kept: list, at: Dim, outputs: Outputs
    ) -> tuple[State, Gates]:
        """The states that K steps started from, leaves `[K, B, ...]`, and their gates.

        Args:
          params, z, start, steps: what the steps were run with.
          kept: arrays `[N, B, ...]`; the K steps' begin at `at`.
          outputs: the steps' outputs, if any of them is read; of padding, what is safe to read.
        """
        count, outputs = steps.count, jax.tree.leaves(outputs)
        buffers = iter(kept)
        sources = [next(buffers) if i is None else outputs[i] for i in self.outputs]
        if self.keeps == "gates":
            in_place = [i is None for i in self.outputs]
            gates = Gates(self, sources, in_place, at, count)
            return self._states(params, start, steps, gates), gates
        before = lambda first, after: jnp.concatenate([first[None], after[:-1]])
        cut = lambda buffer: lax.dynamic_slice_in_dim(buffer, at, count)
        leaves, structure = jax.tree.flatten(start)
        each = zip(leaves, sources, self.outputs, strict=True)
        states = structure.unflatten([cut(source) if i is None else before(first, source) for first, source, i in each])
        arrays = jax.vmap(lambda z, state: self._arrays(self.trace(params, z, state)))(z, states)
        return states, Gates(self, arrays, [False] * len(arrays), 0, count)

    def rebuild(self, params: Params, state: State, arrays: list) -> tuple[Tree, Callable]:
        """`(g, (.z, .r, .state) -> .g)` at one step, from the arrays that have been kept of it."""
        _, _, read = self.trace.shapes
        fixed = self.trace.without_args(params) if any(kind == "fixed" for kind, _ in self._sources) else []
        parts = {"known": jax.tree.leaves((params, state)), "kept": arrays, "fixed": fixed}
        leaves = [parts[kind][i] for kind, i in self._sources]
        g, tangent = jax.tree.structure(self._variables[1]).unflatten(leaves)
        return g, lambda *tangents: without_float0(tangent(*with_float0(tangents, read)))

    def _states(self, params, start, steps, gates):
        def one_step(state, item):
            item, now = item[0], steps.at(item[1])
            old = restart(now, state)
            called = enter(now, old)
            g, _ = gates.at_step(params, called, item)
            return leave(now, old, finish(self.cell, params, g, called)[1]), called

        return lax.scan(one_step, start, (gates.items, steps.varying), length=steps.length)[1]

    def _arrays(self, leaves):
        """Of the leaves of a step's results, the distinct new ones of the gates and their derivative."""
        first = len(jax.tree.leaves(self._variables[0]))
        places = {}
        for leaf, (kind, i) in zip(leaves[first:], self._sources, strict=False):
            if kind == "kept":
                places.setdefault(i, leaf)
        return list(places.values())

    @functools.cached_property
    def _variables(self):
        return self.trace.structure.unflatten(self.trace.results)

    @functools.cached_property
    def _sources(self) -> list[tuple[str, int]]:
        """Where each leaf of the gates and their derivative comes from."""
        trace, first = self.trace, len(jax.tree.leaves(self._variables[0]))
        state = len(jax.tree.leaves(self._variables[2][2]))
        known = [*trace.arguments[: trace.fixed_count], *trace.arguments[len(trace.arguments) - state :]]
        sources, new = [], []
        leaves = range(first, first + len(jax.tree.leaves(self._variables[1])))
        for i in leaves:
            result = trace.results[i]
            if (at := place(known, result)) is not None:
                sources.append(("known", at))
            elif not trace.varies[i]:
                sources.append(("fixed", i))
            else:
                if (at := place(new, result)) is None:
                    at = len(new)
                    new.append(result)
                sources.append(("kept", at))
        return sources


@dataclasses.dataclass(frozen=True)
class Gates:
    """The gates and their derivative at K steps.

    A loop reads one step at a time from the long arrays. A slice of K steps would be a copy.

    Attributes:
      residuals: how they are made.
      sources: the arrays, each `[K, B, ...]`, or `[N, B, ...]` if it is read `in_place`, from `at` on.
      count: K.
    """

    residuals: Residuals
    sources: list[jax.Array]
    in_place: list[bool]
    at: Dim
    count: Dim

    @property
    def items(self) -> list[jax.Array]:
        """What a loop over the steps slices."""
        places = self.at + jnp.arange(self.count, dtype=jnp.int32)
        return [places if here else source for source, here in zip(self.sources, self.in_place, strict=True)]

    def at_step(self, params: Params, state: State, items: list[jax.Array]) -> tuple[Tree, Callable]:
        """`(g, (.z, .r, .state) -> .g)` at one step of the loop."""
        each = zip(self.sources, self.in_place, items, strict=True)
        read = lambda source, place: lax.dynamic_index_in_dim(source, place, keepdims=False, allow_negative_indices=False)
        return self.residuals.rebuild(params, state, [read(s, item) if here else item for s, here, item in each])

    def over_time(self, params: Params, states: State) -> Tree:
        """The gates alone, leaves `[K, B, ...]`."""
        cut = lambda source: lax.dynamic_slice_in_dim(source, self.at, self.count)
        arrays = [cut(source) if here else source for source, here in zip(self.sources, self.in_place, strict=True)]
        return jax.vmap(lambda state, arrays: self.residuals.rebuild(params, state, arrays)[0])(states, arrays)
