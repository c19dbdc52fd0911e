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
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

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
        return out, with_float0(floats.fill(dout, None), out)

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
        return (out, residuals), (with_float0(dout, out), zero_tangent(residuals))

    keeping.defjvp(rule, symbolic_zeros=True)
    return lambda static, args, keeps: keeping(static, args) if keeps else forward(static, args, False)


# ---- a linear function with a transpose of its own


_linear = Primitive("jaxrnn_linear")
_linear.multiple_results = True


def linear(f: Callable, transpose: Callable, residuals: Any, x: list, like: list | None = None) -> list:
    """`f(residuals, x)`, linear in the arrays `x`; a list of arrays like `like`. Its transpose is `transpose(residuals, y')`.

    Both read their arguments and no other tracer. With `like` neither is traced before it is needed: a gradient never traces
    `f`. `jax.custom_derivatives.linear_call` is meant for this, but knows no `jax.vmap`.
    """
    leaves, structure = jax.tree.flatten(residuals)
    flat = lambda g: _in_this_context(lambda leaves, x: g(structure.unflatten(leaves), x))
    outs = tuple(map(jax.typeof, like) if like is not None else jax.make_jaxpr(f)(residuals, x).out_avals)
    return _linear.bind(*leaves, *x, count=len(leaves), f=flat(f), transpose=flat(transpose), transposed=False, outs=outs)


def _in_this_context(f: Callable) -> Callable:
    """`f`, traced later as it would be now: what a caller set around a run holds for its backward pass too."""
    x64, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    promotion = jax.config.jax_numpy_dtype_promotion

    def run(*args):
        with jax.enable_x64(x64), jax.default_matmul_precision(precision), jax.numpy_dtype_promotion(promotion):
            return f(*args)

    return run


def _evaluate(*args, count, f, transpose, transposed, outs):
    residuals, x = list(args[:count]), list(args[count:])
    return transpose(residuals, x) if transposed else f(residuals, x)


def _jvp(primals, tangents, *, count, **params):
    residuals, x = list(primals[:count]), list(primals[count:])
    dresiduals, dx = tangents[:count], tangents[count:]
    y = _linear.bind(*primals, count=count, **params)
    dy = [ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in y]
    if not all(isinstance(d, ad.Zero) for d in dx):
        dy = _linear.bind(*residuals, *map(ad.instantiate_zeros, dx), count=count, **params)
    live = [i for i, d in enumerate(dresiduals) if not isinstance(d, ad.Zero)]
    if live:

        def of_residuals(*values):
            merged = list(residuals)
            for i, value in zip(live, values, strict=True):
                merged[i] = value
            return _as_jax_does(merged, x, count=count, **params)

        more = jax.jvp(of_residuals, [residuals[i] for i in live], [dresiduals[i] for i in live])[1]
        dy = [ad.add_tangents(a, b) for a, b in zip(dy, more, strict=True)]
    return y, dy


def _as_jax_does(residuals, x, *, count, f, transpose, transposed, outs):
    """The function that is differentiated with respect to the residuals: `f`, or what JAX makes its transpose."""
    if not transposed:
        return f(residuals, x)
    like = [jax.ShapeDtypeStruct(out.shape, out.dtype) for out in outs]
    return jax.linear_transpose(lambda *x: f(residuals, list(x)), *like)(x)


def _transpose(cts, *args, count, f, transpose, transposed, outs):
    residuals, x = args[:count], args[count:]
    cts = [ad.instantiate_zeros(ct) for ct in cts]
    of_x = tuple(leaf.aval if ad.is_undefined_primal(leaf) else jax.typeof(leaf) for leaf in x)
    params = {"count": count, "f": f, "transpose": transpose, "transposed": not transposed, "outs": of_x}
    ct_x = _linear.bind(*residuals, *cts, **params)
    return [None] * count + [ct if ad.is_undefined_primal(leaf) else None for ct, leaf in zip(ct_x, x, strict=True)]


def _batch(args, axes, *, count, f, transpose, transposed, outs):
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    every = lambda leaf, axis: jnp.broadcast_to(leaf, (size, *leaf.shape)) if axis is None else jnp.moveaxis(leaf, axis, 0)
    x = [every(*each) for each in zip(args[count:], axes[count:], strict=True)]
    batched = lambda g: jax.vmap(g, (list(axes[:count]), 0), 0, axis_size=size)
    params = {"f": batched(f), "transpose": batched(transpose), "transposed": transposed}
    outs = jax.make_jaxpr(functools.partial(_evaluate, count=count, outs=outs, **params))(*args[:count], *x).out_avals
    return _linear.bind(*args[:count], *x, count=count, outs=tuple(outs), **params), [0] * len(outs)


_linear.def_impl(_evaluate)
_linear.def_abstract_eval(lambda *args, outs, **params: list(outs))
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))


# ---- tangents


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


def with_float0(tangent: Any, primal: Any) -> Any:
    """What JAX has for the tangent of integers in the place of None."""
    leaves, treedef = jax.tree.flatten(primal)
    of_leaf = lambda d, leaf: np.zeros(leaf.shape, float0) if d is None else d
    return treedef.unflatten([of_leaf(*each) for each in zip(treedef.flatten_up_to(tangent), leaves, strict=True)])


def zero_tangent(primal: Any) -> Any:
    """A tangent of zeros, as arrays."""
    zeros = lambda leaf: jnp.zeros_like(leaf) if _is_float(leaf) else np.zeros(leaf.shape, float0)
    return jax.tree.map(zeros, primal)


def add_tangents(a: Any, b: Any | None) -> Any:
    """a + b; b, or any leaf of it, may be None for zero."""
    add = lambda b, a: a if b is None else a + b
    return a if b is None else jax.tree.map(add, b, a, is_leaf=lambda leaf: leaf is None)


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

    @staticmethod
    def floats(primal: Any) -> Live:
        """Those that can have one."""
        leaves, tree = jax.tree.flatten(primal)
        return Live(tree, tuple(map(_is_float, leaves)))

    def part(self, i: int) -> Live:
        """Child i of the tree."""
        trees = self.tree.children()
        before = sum(tree.num_leaves for tree in trees[:i])
        return Live(trees[i], self.mask[before : before + trees[i].num_leaves])

    def leaves(self, tree: Any) -> list:
        """The live leaves of `tree`."""
        return [leaf for leaf, live in zip(self.tree.flatten_up_to(tree), self.mask, strict=True) if live]

    def fill(self, leaves: list, other: Any = _ZERO) -> Any:
        """The tree with `leaves` in the places of the live ones and `other` in the others."""
        rest = iter(leaves)
        return self.tree.unflatten([next(rest) if live else other for live in self.mask])


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
