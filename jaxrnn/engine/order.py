"""Rows in the order of their lengths."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.engine.tuning import ROWS_TO_COMPARE


def longest_first(lengths: jax.Array, most_compared: int = ROWS_TO_COMPARE) -> jax.Array:
    """The rows in the order of their lengths, `[B]`."""
    if lengths.shape[0] > most_compared:
        return jnp.argsort(lengths, descending=True).astype(jnp.int32)
    rows = jnp.arange(lengths.shape[0], dtype=jnp.int32)
    longer, alike = lengths[None] > lengths[:, None], lengths[None] == lengths[:, None]
    places = jnp.sum(longer | (alike & (rows[None] < rows[:, None])), 1, dtype=jnp.int32)
    return jnp.sum(jnp.where(places[None] == rows[:, None], rows[None], 0), 1, dtype=jnp.int32)
