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
import jax.numpy as jnp
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


_EXCHANGES = "all_gather", "all_to_all", "pmax", "pmin", "ppermute", "psum", "ragged_all_to_all", "reduce_scatter"


def _exchanges(jaxpr: Any) -> bool:
    inner = lambda eqn: (getattr(param, "jaxpr", param) for param in eqn.params.values())
    exchanged = lambda eqn: eqn.primitive.name.startswith(_EXCHANGES)
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


# ---- a derivative unit by unit


_MIXES = ("dot_general", "conv_general_dilated", "reduce_sum")  # JAX's primitives that add up different units


def unit_by_unit(tangent: Callable, state: Tree) -> dict[tuple[int, int], jax.Array]:
    """How each unit of part i of a new state depends on the same unit of part j <= i of the old one, by (i, j).

    `tangent` is a linear function of the state. It is run once for each part, with ones in that part and without what goes from
    one unit to another: a matrix product is replaced by the diagonals of its blocks, and sums over units are left out. So it
    gives the diagonal of the derivative, and not the sums of its rows. It is a guess where units are mixed in other ways.
    Parts of different shapes have nothing in common here.

    Args:
      tangent: `.state -> .new_state`, of leaves `[B, ...]`.
      state: the state, for its shapes.
    """
    leaves, structure = jax.tree.flatten(state)
    trace = Trace.of(lambda _, *leaves: tangent(structure.unflatten(leaves)), (), *leaves)
    derivative = {}
    for j in range(len(leaves)):
        ones = [jnp.ones_like(leaf) if i == j else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)]
        results = _unmixed(trace.closed.jaxpr, trace.closed.consts, ones, [True] * len(ones))
        for i in range(j, len(leaves)):
            if leaves[i].shape == leaves[j].shape:
                derivative[i, j] = jnp.where(jnp.isfinite(results[i]), results[i], 0)  # any number will do
    return derivative


def _unmixed(jaxpr: Any, consts: list, args: list, vary: list[bool]) -> list:
    """`jaxpr` at `args`, where those that vary go through no product and no sum of different units."""
    values = dict(zip(map(id, (*jaxpr.constvars, *jaxpr.invars)), (*consts, *args), strict=True))
    varying = {id(v) for v, varies in zip(jaxpr.invars, vary, strict=True) if varies}
    read = lambda v: v.val if hasattr(v, "val") else values[id(v)]
    for eqn in jaxpr.eqns:
        moves, operands = [id(v) in varying for v in eqn.invars], [read(v) for v in eqn.invars]
        name = eqn.primitive.name if any(moves) else None
        if name == "jit":
            results = _unmixed(eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts, operands, moves)
        elif name in _MIXES:
            diagonals = _diagonals(eqn, operands) if name == "dot_general" and moves == [True, False] else None
            results = [jnp.zeros(v.aval.shape, v.aval.dtype) if diagonals is None else diagonals for v in eqn.outvars]
        else:
            variables = {id(v): v for v in eqn.invars if not hasattr(v, "val")}
            one = jaxpr.replace(constvars=[], invars=list(variables.values()), outvars=eqn.outvars, eqns=[eqn])
            results = jax.core.eval_jaxpr(one, [], *(values[key] for key in variables))
        values.update(zip(map(id, eqn.outvars), results, strict=True))
        varying |= {id(v) for v in eqn.outvars if any(moves)}
    return [read(v) for v in jaxpr.outvars]


def _diagonals(eqn: Any, operands: list) -> jax.Array | None:
    """`[B, n]` times a matrix `[n, k n]`, or its transpose, with the diagonal of each of the k blocks in its place."""
    (left, right), batched = eqn.params["dimension_numbers"]
    tangent, matrix = operands
    if tangent.ndim != 2 or matrix.ndim != 2 or (*left, *batched[0]) != (1,):
        return None
    matrix = matrix if tuple(right) == (0,) else matrix.T
    n, columns = matrix.shape
    if columns % n:
        return None
    diagonals = jnp.diagonal(matrix.reshape(n, columns // n, n), axis1=0, axis2=2)  # [k, n]
    return (tangent[:, None] * diagonals[None]).reshape(-1, columns)
