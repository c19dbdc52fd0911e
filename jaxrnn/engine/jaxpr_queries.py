"""What tracing a function shows: which of its results depend on what, and which of them are the same array.

A jaxpr has one variable for one array. Two results that are one variable are equal, whatever the function does, and a result
that is an argument's variable is that argument. The engine reads jaxprs in this file alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
from jax import lax

from jaxrnn.typing import Shapes, Tree


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """`f(fixed, *args)` as a jaxpr, and the structure of its result."""

    closed: Any
    structure: Any
    fixed_count: int

    @staticmethod
    def of(f: Callable, fixed: Tree, *args: Any) -> Trace:
        """Traces `f` at arrays or shapes."""
        seen = []

        def flat(*args):
            leaves, structure = jax.tree.flatten(f(*args))
            seen.append(structure)
            return leaves

        closed = jax.make_jaxpr(flat)(fixed, *args)
        return Trace(closed, seen[0], len(jax.tree.leaves(fixed)))

    @property
    def arguments(self) -> list[Any]:
        """The variables of the arguments, those of `fixed` first."""
        return self.closed.jaxpr.invars

    @property
    def results(self) -> list[Any]:
        """The variables of the result's leaves, or constants."""
        return self.closed.jaxpr.outvars

    @property
    def shapes(self) -> Shapes:
        """The result, as shapes."""
        return self.structure.unflatten(self.closed.out_avals)

    @property
    def varies(self) -> list[bool]:
        """For each leaf of the result, whether it depends on any of `args`."""
        return [id(v) in self._varying for v in self.results]

    @property
    def reads_fixed(self) -> list[bool]:
        """For each leaf of `fixed`, whether anything reads it."""
        read = {id(v) for eqn in self.closed.jaxpr.eqns for v in eqn.invars} | {id(v) for v in self.results}
        return [id(v) in read for v in self.arguments[: self.fixed_count]]

    @property
    def exchanges(self) -> bool:
        """Whether devices of a `jax.shard_map` wait for each other in `f`."""
        return _exchanges(self.closed.jaxpr)

    @property
    def closes_over_tracers(self) -> bool:
        """Whether `f` reads what another trace has not computed yet, beside its arguments."""
        return any(isinstance(const, jax.core.Tracer) for const in self.closed.consts)

    def __call__(self, *args: Tree) -> list[jax.Array]:
        """The leaves of the result."""
        return jax.core.eval_jaxpr(self.closed.jaxpr, self.closed.consts, *jax.tree.leaves(args))

    def without_args(self, fixed: Tree) -> list[Any]:
        """The leaves of the result that do not vary, of `fixed` alone; None in the place of the others."""
        jaxpr, varying = self.closed.jaxpr, self._varying
        wanted = [v for v in jaxpr.outvars if id(v) not in varying]
        equations = [eqn for eqn in jaxpr.eqns if not any(id(v) in varying for v in eqn.invars)]
        part = jaxpr.replace(invars=jaxpr.invars[: self.fixed_count], outvars=wanted, eqns=equations)
        values = iter(jax.core.eval_jaxpr(part, self.closed.consts, *jax.tree.leaves(fixed)))
        return [None if id(v) in varying else next(values) for v in jaxpr.outvars]

    @functools.cached_property
    def _varying(self) -> set[int]:
        varying = {id(v) for v in self.arguments[self.fixed_count :]}
        for eqn in self.closed.jaxpr.eqns:
            if any(id(v) in varying for v in eqn.invars):
                varying |= {id(v) for v in eqn.outvars}
        return varying


def _exchanges(jaxpr: Any) -> bool:
    inner = lambda eqn: (getattr(param, "jaxpr", param) for param in eqn.params.values())
    exchanged = lambda eqn: any(name in eqn.primitive.name for name in ("all_gather", "psum", "permute"))
    return any(exchanged(eqn) or any(_exchanges(part) for part in inner(eqn) if hasattr(part, "eqns")) for eqn in jaxpr.eqns)


def place(variables: list, variable: Any) -> int | None:
    """Where a variable is among others."""
    return next((i for i, v in enumerate(variables) if v is variable), None)


def scan(body: Callable, carry: Tree, items: Tree, **options: Any) -> tuple[Tree, Tree]:
    """`lax.scan`, which stacks results that are one array once."""
    seen = []

    def traced_body(carry, item):
        trace = Trace.of(lambda _, carry, item: body(carry, item), (), carry, item)
        results, count = trace(carry, item), len(jax.tree.leaves(carry))
        distinct, sources = [], []
        for variable in trace.results[count:]:
            if place(distinct, variable) is None:
                distinct.append(variable)
            sources.append(place(distinct, variable))
        seen.append((trace.structure, sources))
        stacked = [results[count + sources.index(i)] for i in range(len(distinct))]
        return jax.tree.unflatten(jax.tree.structure(carry), results[:count]), stacked

    carry, stacked = lax.scan(traced_body, carry, items, **options)
    structure, sources = seen[-1]
    leaves = [*jax.tree.leaves(carry), *(stacked[i] for i in sources)]
    return structure.unflatten(leaves)
