"""Functions over all the steps of a chunk at once, and their tangents."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.dtypes import float0
from jax.sharding import AxisType

from jaxrnn.step import finish
from jaxrnn.traced import Trace


def over_time(f: Callable, has_rows: bool) -> Callable:
    """`f(params, ...)` for all K steps at once, as for a batch of K B rows if all that it takes and gives `has_rows`.

    A product over two axes of rows, transposed, is one whose factors XLA copies first: a sixth of a training step on a CPU.
    But rows that are split over devices cannot become one axis with the steps.
    """

    def run(params, *args):
        if not has_rows or several_devices():
            return jax.vmap(functools.partial(f, params))(*args)
        steps_and_rows = jax.tree.leaves(args)[0].shape[:2]
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), args)
        return jax.tree.map(lambda leaf: leaf.reshape(*steps_and_rows, *leaf.shape[1:]), f(params, *rows))

    return run


def all_have_rows(cell: Any, params: Any, x: Any, state: Any) -> bool:
    """Whether all that a step makes has the batch's rows in every leaf, as its inputs, `x` `[B, ...]`, have.

    A leaf that depends on no input and no state, a weight or a constant, may only look as if it had.
    """

    def parts(params, x, state):
        z, r = cell.project(params, x), cell.recur(params, state)
        g = cell.gates(params, z, r, state)
        return z, r, g, finish(cell, params, g, state)

    trace = Trace.of(parts, params, x, state)
    leaves = [*trace.closed.out_avals, *jax.tree.leaves((x, state))]
    rows = {leaf.shape[:1] for leaf in leaves}
    return all(trace.varies) and len(rows) == 1 and () not in rows


def several_devices() -> bool:
    """Whether anything could be split; what is, is not known while tracing.

    A mesh with explicit axes has types that say so, be it of one device.
    """
    return jax.device_count() > 1 or AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def step_shapes(tree: Any) -> Any:
    """One step of K, as shapes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def tangent_of(f: Callable, primals: tuple, tangents: tuple) -> Any:
    """The output tangent of `jax.jvp`, with no work spent on the leaves whose tangent is zero. None is that of integers."""
    leaves, treedef = jax.tree.flatten(primals)
    dleaves = treedef.flatten_up_to(tangents)
    live = [i for i, d in enumerate(dleaves) if d is not None and not isinstance(d, SymbolicZero)]

    def of_live(*values):
        merged = list(leaves)
        for i, value in zip(live, values, strict=True):
            merged[i] = value
        return f(*jax.tree.unflatten(treedef, merged))

    return without_float0(jax.jvp(of_live, [leaves[i] for i in live], [dleaves[i] for i in live])[1])


def without_float0(tangent: Any) -> Any:
    """None in the place of what JAX has for the tangent of integers."""
    return jax.tree.map(lambda d: None if d.dtype == float0 else d, tangent)


def zero_tangent(primal: Any) -> Any:
    """A tangent of zeros, as arrays."""
    zeros = lambda leaf: jnp.zeros_like(leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else np.zeros(leaf.shape, float0)
    return jax.tree.map(zeros, primal)


def with_float0(tangent: Any, primal: Any) -> Any:
    """What JAX has for the tangent of integers in the place of None."""
    leaves, treedef = jax.tree.flatten(primal)
    of_leaf = lambda d, leaf: np.zeros(leaf.shape, float0) if d is None else d
    return treedef.unflatten([of_leaf(*each) for each in zip(treedef.flatten_up_to(tangent), leaves, strict=True)])


def without_gradient(tree: Any) -> Any:
    """`tree`, whose tangent is zero. Unlike `lax.stop_gradient` it has a transpose, for `jax.linear_transpose`."""
    return jax.tree.map(_constant, tree)


_constant: Any = jax.custom_jvp(lambda leaf: leaf)


def _constant_jvp(primals, tangents):
    (leaf,), (d,) = primals, tangents
    return leaf, d if isinstance(d, SymbolicZero) else SymbolicZero(jax.typeof(d))


_constant.defjvp(_constant_jvp, symbolic_zeros=True)


_NO_TYPE: Any = None
_ZERO = SymbolicZero(_NO_TYPE)


@dataclasses.dataclass(frozen=True)
class Live:
    """Which leaves of a tree have a tangent that is not zero throughout."""

    tree: Any  # the structure
    mask: tuple[bool, ...]

    @staticmethod
    def of(tangents: Any) -> Live:
        """Those that are no `SymbolicZero`."""
        leaves, tree = jax.tree.flatten(tangents, is_leaf=_is_zero)
        return Live(tree, tuple(not _is_zero(leaf) for leaf in leaves))

    def leaves(self, tree: Any) -> list:
        """The live leaves of `tree`."""
        return [leaf for leaf, live in zip(self.tree.flatten_up_to(tree), self.mask, strict=True) if live]

    def fill(self, leaves: list, other: Any = _ZERO) -> Any:
        """The tree with `leaves` in the places of the live ones and `other` in the others."""
        rest = iter(leaves)
        return self.tree.unflatten([next(rest) if live else other for live in self.mask])


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def instantiate(tangent: Any, primal: Any) -> Any:
    """The tangent of a state as arrays."""
    zero = lambda d, p: jnp.zeros_like(p) if isinstance(d, SymbolicZero) else d
    return jax.tree.map(zero, tangent, primal, is_leaf=lambda d: isinstance(d, SymbolicZero))


def add_tangents(a: Any, b: Any | None) -> Any:
    """a + b; b, or any leaf of it, may be None for zero."""
    add = lambda b, a: a if b is None else a + b
    return a if b is None else jax.tree.map(add, b, a, is_leaf=lambda leaf: leaf is None)
