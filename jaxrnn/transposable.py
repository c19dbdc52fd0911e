"""Linear functions with a transpose of their own.

JAX transposes a linear function equation by equation. For a loop over time that gives one that stacks and copies what could
be written in place, so a run brings its own. `jax.custom_derivatives.linear_call` is meant for this, but it knows no
`jax.vmap`, and the transpose it is given must be one that JAX can differentiate again; this primitive needs neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Linear(NamedTuple):
    """A function `(residuals, linear) -> results` of two lists of arrays, linear in the second, written twice."""

    run: Callable  # as it is computed
    plain: Callable  # the same in a form that JAX can differentiate, in any mode, with respect to both lists


def apply(forward: Linear, backward: Linear, residuals: list, linear: list) -> list:
    """`forward(residuals, linear)`, whose transpose is `backward`: `(residuals, cotangents of results) -> those of linear`."""
    return _linear.bind(*residuals, *linear, count=len(residuals), forward=forward, backward=backward)


_linear = Primitive("transposable")
_linear.multiple_results = True


def _run(*args, count, forward, backward):
    return forward.run(list(args[:count]), list(args[count:]))


def _result_types(*args, count, forward, backward):
    results = jax.eval_shape(forward.plain, list(args[:count]), list(args[count:]))
    return [jax.core.ShapedArray(result.shape, result.dtype) for result in results]


def _jvp(primals, tangents, *, count, forward, backward):
    results = _linear.bind(*primals, count=count, forward=forward, backward=backward)
    if all(isinstance(tangent, ad.Zero) for tangent in tangents[:count]):
        tangents = [ad.instantiate_zeros(tangent) for tangent in tangents[count:]]
        return results, _linear.bind(*primals[:count], *tangents, count=count, forward=forward, backward=backward)
    live = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_live(*values):
        args = list(primals)
        for i, value in zip(live, values, strict=True):
            args[i] = value
        return forward.plain(args[:count], args[count:])

    return results, jax.jvp(of_live, [primals[i] for i in live], [tangents[i] for i in live])[1]


def _transpose(cotangents, *args, count, forward, backward):
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    results = _linear.bind(*args[:count], *cotangents, count=count, forward=backward, backward=forward)
    return [None] * count + results


def _batch(args, axes, *, count, forward, backward):
    in_front = lambda arg, axis: arg if axis is batching.not_mapped else jnp.moveaxis(arg, axis, 0)
    args = [in_front(arg, axis) for arg, axis in zip(args, axes, strict=True)]
    axes = [None if axis is batching.not_mapped else 0 for axis in axes]
    residuals, linear = axes[:count], axes[count:]
    forward = Linear(*(functools.partial(_batched, f, residuals, linear) for f in forward))
    backward = Linear(*(functools.partial(_batched_transpose, f, residuals, linear) for f in backward))
    results = _linear.bind(*args, count=count, forward=forward, backward=backward)
    return results, [0] * len(results)


def _batched(f, residual_axes, linear_axes, residuals, linear):
    return jax.vmap(f, (residual_axes, linear_axes))(residuals, linear)


def _batched_transpose(f, residual_axes, linear_axes, residuals, cotangents):
    results = jax.vmap(f, (residual_axes, 0))(residuals, cotangents)
    return [jnp.sum(r, 0) if axis is None else r for r, axis in zip(results, linear_axes, strict=True)]


_linear.def_impl(_run)
_linear.def_abstract_eval(_result_types)
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_run, multiple_results=True))
