"""A linear function with a transpose of its own, as a primitive of JAX.

This is the only file that reads `jax.interpreters`. JAX has no public way that knows `jax.vmap` and derivatives of what the
function reads; `jax.custom_derivatives.linear_call` knows neither.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_linear = Primitive("jaxrnn_linear")
_linear.multiple_results = True


def linear(f: Callable, transpose: Callable, residuals: Any, x: list, like: list | None = None) -> list:
    """`f(residuals, x)`, linear in the arrays `x`; a list of arrays like `like`. Its transpose is `transpose(residuals, y')`.

    Both read their arguments and no other tracer. With `like` neither is traced before it is needed: a gradient never traces
    `f`. Derivatives with respect to the residuals, second ones say, are those of `f`.
    """
    leaves, structure = jax.tree.flatten(residuals)
    flat = lambda g: _in_this_context(lambda leaves, x: g(structure.unflatten(leaves), x))
    outs = tuple(map(jax.typeof, like) if like is not None else jax.make_jaxpr(f)(residuals, x).out_avals)
    return _linear.bind(*leaves, *x, count=len(leaves), f=flat(f), transpose=flat(transpose), transposed=False, outs=outs)


def _in_this_context(f: Callable) -> Callable:
    """`f`, traced later as it would be now: what a caller set around a run holds for its backward pass too."""
    x64, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    promotion, context = jax.config.jax_numpy_dtype_promotion, contextvars.copy_context()

    def run(*args):
        with jax.enable_x64(x64), jax.default_matmul_precision(precision), jax.numpy_dtype_promotion(promotion):
            return context.copy().run(f, *args)

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
    return jax.linear_transpose(lambda *x: f(residuals, list(x)), *outs)(x)


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
