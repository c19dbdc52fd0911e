"""How weights start."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check

_glorot = jax.nn.initializers.glorot_uniform()
_orthogonal = jax.nn.initializers.orthogonal()


def split(key: jax.Array, count: int) -> jax.Array:
    """`[count]` keys of one."""
    check.prng_key(key)
    return jax.random.split(key, count)


def glorot(key: jax.Array, shape: tuple[int, int], dtype: DTypeLike) -> jax.Array:
    """`[inputs, outputs]`: uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010)."""
    check.size_of_inputs(shape[0])
    return _glorot(key, shape, dtype) if shape[0] else jnp.zeros(shape, dtype)


def recurrent(key: jax.Array, units: int, gates: int, dtype: DTypeLike, state_size: int | None = None) -> jax.Array:
    """`[state_size, gates * units]`: an orthogonal matrix for each gate (Saxe et al., 2013), side by side."""
    return _recurrent(key, (state_size or units, units), gates, jax.dtypes.canonicalize_dtype(dtype))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))  # one small program, where there is no other around it
def _recurrent(key, shape, gates, dtype):
    exact = jnp.float64 if jnp.finfo(dtype).bits == 64 else jnp.float32  # the QR decomposition knows no half precision
    blocks = jax.vmap(lambda key: _orthogonal(key, shape, exact))(jax.random.split(key, gates))
    return jnp.swapaxes(blocks, 0, 1).reshape(shape[0], gates * shape[1]).astype(dtype)


def diagonal(key: jax.Array, units: int, dtype: DTypeLike) -> jax.Array:
    """`[units]`: uniform within sqrt(3 / units), Glorot's limit for as many inputs as outputs."""
    limit = (3 / units) ** 0.5
    return jax.random.uniform(key, (units,), dtype, -limit, limit)
