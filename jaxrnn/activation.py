"""Activations whose derivative needs their output and nothing else.

`y = sigmoid(a)` has `.y = y(.a - y.a)` and `y = tanh(a)` has `.y = .a - y(y.a)`: what a chunk keeps for the backward pass is
then y, once, and no second array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxrnn.engine.tuning import current


def _sigmoid_slope(y, da):
    return y * (da - y * da)


def _tanh_slope(y, da):
    return da - y * (y * da)


@jax.custom_jvp
def sigmoid(a: jax.Array) -> jax.Array:
    """The logistic function 1 / (1 + exp(-a)), any shape."""
    return lax.logistic(a)


@jax.custom_jvp
def tanh(a: jax.Array) -> jax.Array:
    """The hyperbolic tangent, any shape."""
    return lax.tanh(a)


sigmoid.defjvp(lambda primals, tangents: _with(_sigmoid_slope, sigmoid(*primals), *tangents))
tanh.defjvp(lambda primals, tangents: _with(_tanh_slope, tanh(*primals), *tangents))


def _with(slope: Callable, y: jax.Array, da: jax.Array) -> tuple[jax.Array, jax.Array]:
    return y, slope(y, da)


def resolve(activation: Callable | None) -> Callable:
    """The activation of a cell: None is tanh, and JAX's own tanh and sigmoid are taken for ours, which keep less."""
    if activation in (None, jnp.tanh, lax.tanh):
        return tanh
    return sigmoid if activation in (jax.nn.sigmoid, lax.logistic) else activation


def activate(block: jax.Array, *functions: Callable) -> tuple[jax.Array, ...]:
    """`f(part)` for each of the equal parts of `block` along its last axis.

    On a CPU sigmoids and tanhs are done by one tanh over the whole block, as sigmoid(a) = (1 + tanh(a/2)) / 2: XLA would run
    gate by gate as so many small loops, three times as slow. A GPU has gate by gate in one kernel with what reads it.

    Args:
      block: `[..., n * H]`.
      functions: n functions; `jaxrnn.sigmoid` and `jaxrnn.tanh` are the fast ones.

    Returns:
      n arrays `[..., H]`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> u, n = jaxrnn.activate(jnp.zeros((2, 6)), jaxrnn.sigmoid, jaxrnn.tanh)
      >>> float(u[0, 0]), n.shape
      (0.5, (2, 3))
    """
    if len(functions) > 1 and current().platform == "cpu" and all(f in (sigmoid, tanh) for f in functions):
        return _activate_block(block, functions)
    return tuple(f(part) for f, part in zip(functions, _parts(block, len(functions)), strict=True))


def _activate_block_primal(block, functions):
    # In half precision (1 + tanh) / 2 would lose what a small sigmoid has left, so the block is done in float32.
    wide = jnp.float32 if block.dtype.itemsize < 4 else block.dtype
    halves = np.repeat([0.5 if f is sigmoid else 1.0 for f in functions], block.shape[-1] // len(functions))
    # The barrier: in one loop with what reads its parts, XLA would compute it for each of them, and not vectorised.
    t = lax.optimization_barrier(lax.tanh(block.astype(wide) * jnp.broadcast_to(jnp.asarray(halves, wide), block.shape)))
    parts = zip(functions, _parts(t, len(functions)), strict=True)
    return tuple((0.5 * p + 0.5 if f is sigmoid else p).astype(block.dtype) for f, p in parts)


_activate_block: Any = jax.custom_jvp(_activate_block_primal, nondiff_argnums=(1,))


@_activate_block.defjvp
def _activate_block_jvp(functions, primals, tangents):
    ys = _activate_block(*primals, functions)
    parts = zip(functions, ys, _parts(tangents[0], len(functions)), strict=True)
    return ys, tuple((_sigmoid_slope if f is sigmoid else _tanh_slope)(y, da) for f, y, da in parts)


def _parts(block: jax.Array, count: int) -> Any:
    return lax.split(block, (block.shape[-1] // count,) * count, axis=block.ndim - 1)
