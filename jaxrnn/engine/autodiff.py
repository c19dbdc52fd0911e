"""Derivatives: which tangents are zero, and a backward pass of our own that JAX can transform like any other function."""

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

from jaxrnn.engine.linear import linear
from jaxrnn.typing import Tree

# ---- a function with a backward pass of its own


def with_backward(plain: Callable, forward: Callable, backward: Callable) -> Callable:
    """`run(static, args)`, whose gradient is that of `backward`. All its other derivatives are those of `plain`.

    `jax.custom_vjp` would allow no forward mode, and so no `jax.linearize` and no `jax.hessian`.

    Args:
      plain: `(static, args) -> out`, which JAX can differentiate in any mode.
      forward: `(static, args, keeps) -> (out, residuals)`, the same; residuals may be anything if not `keeps`.
      backward: `(static, args, residuals, live, out') -> args'`, the cotangents of `args`, of which only the leaves that are
        `live` are read.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def run(static, args):
        return forward(static, args, False)[0]

    def rule(static, primals, tangents):
        (args,), (dargs,) = primals, tangents
        out, residuals = forward(static, args, True)
        live, floats = Live.of(dargs), Live.floats(out)

        def tangent(read, dlive):
            args, _ = read
            return floats.leaves(tangent_of(functools.partial(plain, static), (args,), (live.fill(dlive),)))

        def transpose(read, ct_floats):
            args, residuals = read
            return live.leaves(backward(static, args, residuals, live, floats.fill(ct_floats, None)))

        dout = linear(tangent, transpose, (args, residuals), live.leaves(dargs), floats.leaves(out))
        return out, _with_zeros(floats.fill(dout, None), out)

    run.defjvp(rule, symbolic_zeros=True)
    return run


def residuals_are_constant(plain: Callable, forward: Callable) -> Callable:
    """`forward` of `with_backward`, for one that JAX cannot differentiate: derivatives of its result are those of `plain`.

    Its residuals have no tangent, for no derivative of `plain` reads them.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def keeping(static, args):
        return forward(static, args, True)

    def rule(static, primals, tangents):
        out, residuals = keeping(static, *primals)
        dout = tangent_of(functools.partial(plain, static), primals, tangents)
        return (out, residuals), (_with_zeros(dout, out), jax.tree.map(_zero_like, residuals))

    keeping.defjvp(rule, symbolic_zeros=True)
    return lambda static, args, keeps: keeping(static, args) if keeps else forward(static, args, False)


# ---- tangents


def tangent_of(f: Callable, primals: tuple, tangents: tuple) -> Tree:
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


def without_float0(tangent: Tree) -> Tree:
    """None in the place of what JAX has for the tangent of integers."""
    return jax.tree.map(lambda d: None if d.dtype == float0 else d, tangent)


def with_float0(tangent: Tree, primal: Tree) -> Tree:
    """What JAX has for the tangent of integers in the place of None."""
    return _filled(tangent, primal, lambda leaf: np.zeros(leaf.shape, float0))


def _with_zeros(tangent: Tree, primal: Tree) -> Tree:
    """What a rule may return in the place of None. In a `jax.shard_map` it has the primal's type, as no array of float0 has."""
    return _filled(tangent, primal, _zero_like)


def _filled(tangent, primal, zero):
    leaves, treedef = jax.tree.flatten(primal)
    of_leaf = lambda d, leaf: zero(leaf) if d is None else d
    return treedef.unflatten([of_leaf(*each) for each in zip(treedef.flatten_up_to(tangent), leaves, strict=True)])


def _zero_like(primal: jax.Array) -> SymbolicZero:
    return SymbolicZero(jax.typeof(primal).to_tangent_aval())


def add_tangents(a: Tree, b: Tree) -> Tree:
    """a + b; b, or any leaf of it, may be None for zero."""
    add = lambda b, a: a if b is None else a + b
    return a if b is None else jax.tree.map(add, b, a, is_leaf=lambda leaf: leaf is None)


def without_gradient(tree: Tree) -> Tree:
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

    tree: Tree  # the structure
    mask: tuple[bool, ...]

    @staticmethod
    def of(tangents: Tree) -> Live:
        """Those that are no `SymbolicZero`."""
        leaves, tree = jax.tree.flatten(tangents, is_leaf=_is_zero)
        return Live(tree, tuple(not _is_zero(leaf) for leaf in leaves))

    @staticmethod
    def floats(primal: Tree) -> Live:
        """Those that can have one."""
        leaves, tree = jax.tree.flatten(primal)
        return Live(tree, tuple(map(_is_float, leaves)))

    def part(self, i: int) -> Live:
        """Child i of the tree."""
        trees = self.tree.children()
        before = sum(tree.num_leaves for tree in trees[:i])
        return Live(trees[i], self.mask[before : before + trees[i].num_leaves])

    def leaves(self, tree: Tree) -> list:
        """The live leaves of `tree`."""
        return [leaf for leaf, live in zip(self.tree.flatten_up_to(tree), self.mask, strict=True) if live]

    def replace(self, tree: Tree, leaves: list) -> Any:
        """`tree` with `leaves` in the places of the live ones."""
        rest = iter(leaves)
        each = zip(self.tree.flatten_up_to(tree), self.mask, strict=True)
        return self.tree.unflatten([next(rest) if live else leaf for leaf, live in each])

    def fill(self, leaves: list, other: Any = _ZERO) -> Any:
        """The tree with `leaves` in the places of the live ones and `other` in the others."""
        rest = iter(leaves)
        return self.tree.unflatten([next(rest) if live else other for live in self.mask])


def _is_zero(tangent: Tree) -> bool:
    return isinstance(tangent, SymbolicZero)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
