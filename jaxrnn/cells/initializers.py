"""How weights start."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check

_glorot = jax.nn.initializers.glorot_uniform()
_orthogonal = jax.nn.initializers.orthogonal()


def split(key: jax.Array, count: int) -> jax.Array:
    """`[count]` keys of one."""
    check.prng_key(key)
    return jax.random.split(key, count)


def glorot(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """`[inputs, outputs]`: uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010)."""
    check.size_of_inputs(shape[0])
    return _glorot(key, shape, dtype) if shape[0] else jnp.zeros(shape, dtype)


def recurrent(key: jax.Array, units: int, gates: int, dtype: Any, state_size: int | None = None) -> jax.Array:
    """`[state_size, gates * units]`: an orthogonal matrix for each gate (Saxe et al., 2013), side by side."""
    shape = (state_size or units, units)
    wide = jnp.finfo(jax.dtypes.canonicalize_dtype(dtype)).bits == 64
    exact = jnp.float64 if wide else jnp.float32  # its QR decomposition knows no half precision
    blocks = [_orthogonal(k, shape, exact) for k in jax.random.split(key, gates)]
    return jnp.concatenate(blocks, axis=1).astype(dtype)


def diagonal(key: jax.Array, units: int, dtype: Any) -> jax.Array:
    """`[units]`: uniform within sqrt(3 / units), Glorot's limit for as many inputs as outputs."""
    limit = (3 / units) ** 0.5
    return jax.random.uniform(key, (units,), dtype, -limit, limit)
