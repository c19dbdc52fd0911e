"""What tracing a function shows of it: what depends on what, what is only added, what is the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax


def varying(f: Callable, fixed: Any, *args: Any) -> list[bool]:
    """For each leaf of `f(fixed, *args)`, whether it depends on any leaf of `args`."""
    jaxpr = jax.make_jaxpr(f)(fixed, *args).jaxpr
    varies = {id(v) for v in jaxpr.invars[len(jax.tree.leaves(fixed)) :]}
    for eqn in jaxpr.eqns:
        if any(id(v) in varies for v in eqn.invars):
            varies |= {id(v) for v in eqn.outvars}
    return [id(v) in varies for v in jaxpr.outvars]


def read_leaves(f: Callable, params: Any) -> list[Any]:
    """The leaves of `params` that `f(params)` depends on."""
    jaxpr = jax.make_jaxpr(f)(params).jaxpr
    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    return [leaf for leaf, v in zip(jax.tree.leaves(params), jaxpr.invars, strict=True) if id(v) in read]


def sums(f: Callable, a: Any, b: Any, *rest: Any) -> Iterator[tuple[int, int]]:
    """The (i, j) for which `f(a, b, *rest)` reads leaf i of `a` and leaf j of `b` as their sum and in no other way."""
    jaxpr = jax.make_jaxpr(f)(a, b, *rest).jaxpr
    users = lambda v: [eqn for eqn in jaxpr.eqns if any(v is u for u in eqn.invars)]
    i_end = len(jax.tree.leaves(a))
    j_end = i_end + len(jax.tree.leaves(b))
    for (i, x), (j, y) in itertools.product(enumerate(jaxpr.invars[:i_end]), enumerate(jaxpr.invars[i_end:j_end])):
        adding = users(x)
        if len(adding) == 1 and adding == users(y) and adding[0].primitive.name == "add" and x.aval == y.aval:
            yield i, j


def same_results(f: Callable, *args: Any) -> list[int | None]:
    """For each leaf of b, where `a, b = f(*args)`, the number of the leaf of a that is the very same array, if one is."""
    closed, (a, _) = jax.make_jaxpr(f, return_shape=True)(*args)
    results, count = closed.jaxpr.outvars, len(jax.tree.leaves(a))
    return [next((i for i in range(count) if results[i] is b), None) for b in results[count:]]
