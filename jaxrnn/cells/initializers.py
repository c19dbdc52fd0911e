"""How weights start."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

glorot = jax.nn.initializers.glorot_uniform()
_orthogonal = jax.nn.initializers.orthogonal()


def recurrent(key: jax.Array, units: int, gates: int, dtype: Any, state_size: int | None = None) -> jax.Array:
    """`[state_size, gates * units]`: an orthogonal matrix for each gate (Saxe et al., 2013), side by side."""
    shape = (state_size or units, units)
    exact = jnp.float64 if dtype == jnp.float64 else jnp.float32  # its QR decomposition knows no half precision
    blocks = [_orthogonal(k, shape, exact) for k in jax.random.split(key, gates)]
    return jnp.concatenate(blocks, axis=1).astype(dtype)


def diagonal(key: jax.Array, units: int, dtype: Any) -> jax.Array:
    """`[units]`: uniform within sqrt(3 / units), Glorot's limit for as many inputs as outputs."""
    limit = (3 / units) ** 0.5
    return jax.random.uniform(key, (units,), dtype, -limit, limit)
