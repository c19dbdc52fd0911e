"""What tracing a function shows of it: what depends on what, what is only added, what is the same.

What is said of a function holds for every reader of its arguments, its own results among them. A function that is called inside
is one reader, whatever it does.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core


@dataclasses.dataclass(frozen=True)
class Trace:
    """`f(fixed, *args)` as equations, and the structure of its result.

    Where leaves of the result are one array they are one variable, and a leaf that is an argument is the argument's variable.
    """

    closed: Any
    structure: Any
    fixed_count: int

    @staticmethod
    def of(f: Callable, fixed: Any, *args: Any) -> Trace:
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
    def varies(self) -> list[bool]:
        """For each leaf of the result, whether it depends on any of `args`."""
        varying = self._varying()
        return [id(v) in varying for v in self.results]

    def __call__(self, *args: Any) -> list[Any]:
        """The leaves of the result."""
        return jax.core.eval_jaxpr(self.closed.jaxpr, self.closed.consts, *jax.tree.leaves(args))

    def without_args(self, fixed: Any) -> list[Any]:
        """The leaves of the result that do not vary, of `fixed` alone; None in the place of the others."""
        jaxpr, varying = self.closed.jaxpr, self._varying()
        wanted = [v for v in jaxpr.outvars if id(v) not in varying]
        equations = [eqn for eqn in jaxpr.eqns if not any(id(v) in varying for v in eqn.outvars)]
        part = jaxpr.replace(invars=jaxpr.invars[: self.fixed_count], outvars=wanted, eqns=equations)
        values = iter(jax.core.eval_jaxpr(part, self.closed.consts, *jax.tree.leaves(fixed)))
        return [None if id(v) in varying else next(values) for v in jaxpr.outvars]

    def _varying(self) -> set[int]:
        varying = {id(v) for v in self.arguments[self.fixed_count :]}
        for eqn in self.closed.jaxpr.eqns:
            if any(id(v) in varying for v in eqn.invars):
                varying |= {id(v) for v in eqn.outvars}
        return varying


def read_leaves(f: Callable, params: Any) -> list[Any]:
    """The leaves of `params` that `f(params)` depends on."""
    jaxpr = jax.make_jaxpr(f)(params).jaxpr
    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    return [leaf for leaf, v in zip(jax.tree.leaves(params), jaxpr.invars, strict=True) if id(v) in read]


def sums(f: Callable, a: Any, b: Any, *rest: Any) -> Iterator[tuple[int, int]]:
    """The (i, j) for which `f(a, b, *rest)` reads leaf i of `a` and leaf j of `b` as their sum and in no other way."""
    jaxpr = jax.make_jaxpr(f)(a, b, *rest).jaxpr
    i_end = len(jax.tree.leaves(a))
    j_end = i_end + len(jax.tree.leaves(b))

    def readers(v):
        equations = [eqn for eqn in jaxpr.eqns if any(v is u for u in eqn.invars)]
        return [*equations, *(result for result in jaxpr.outvars if result is v)]

    for (i, x), (j, y) in itertools.product(enumerate(jaxpr.invars[:i_end]), enumerate(jaxpr.invars[i_end:j_end])):
        adding = readers(x)
        if len(adding) == 1 and adding == readers(y) and adding[0].primitive.name == "add" and x.aval == y.aval:
            yield i, j


def same_results(f: Callable, *args: Any) -> list[int | None]:
    """For each leaf of b, where `a, b = f(*args)`, the number of the leaf of a that is the very same array, if one is."""
    closed, (a, _) = jax.make_jaxpr(f, return_shape=True)(*args)
    results, count = closed.jaxpr.outvars, len(jax.tree.leaves(a))
    return [next((i for i in range(count) if results[i] is b), None) for b in results[count:]]
