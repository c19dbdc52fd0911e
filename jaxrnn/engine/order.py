"""The rows of a batch in the order of their lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.masking import select_rows
from jaxrnn.engine.tuning import ROWS_TO_COMPARE
from jaxrnn.typing import Tree


class Rows(NamedTuple):
    """Which rows of a batch each tile has.

    What each row has, leaves `[B, ...]`, is brought into this order in front of the loops: a loop that reads rows from anywhere
    takes longer to compile, and to run.

    Attributes:
      numbers: `[tiles, R]`, which row, B where there is none; None is one tile of all rows, as they lie.
      lengths: `[tiles, R]`, 0 where there is no row; None is T.
    """

    numbers: Any
    lengths: Any

    @staticmethod
    def as_they_lie(lengths: jax.Array | None) -> Rows:
        """One tile."""
        return Rows(None, None if lengths is None else lengths[None])

    @staticmethod
    def longest_first(lengths: jax.Array, size: int) -> Rows:
        """Tiles of `size` rows; the last tile may have places without one."""
        numbers = jnp.pad(longest_first(lengths), (0, -lengths.shape[0] % size), constant_values=lengths.shape[0])
        numbers = numbers.reshape(-1, size)
        return Rows(numbers, jnp.take(lengths, numbers, mode="fill", fill_value=0))

    @property
    def ends(self) -> jax.Array:
        """`[tiles]`, the length of each tile's longest row."""
        return jnp.max(self.lengths, 1, initial=0) if self.numbers is None else self.lengths[:, 0]

    def take(self, tree: Tree) -> Tree:
        """Arrays `[B, ...]` as `[tiles, R, ...]`; where there is no row, the last one."""
        if self.numbers is None:
            return jax.tree.map(lambda leaf: leaf[None], tree)
        return jax.tree.map(lambda leaf: jnp.take(leaf, self.numbers, 0, mode="clip"), tree)

    def put(self, tree: Tree, values: Tree) -> Tree:
        """Arrays `[B, ...]` with rows `values` `[tiles, R, ...]`."""
        if self.numbers is None:
            return jax.tree.map(lambda v: v[0], values)
        put = lambda leaf, v: leaf.at[self.numbers].set(v, mode="drop", unique_indices=True)
        return jax.tree.map(put, tree, values)

    def with_steps(self, tree: Tree, default: float | None = None) -> Tree:
        """Arrays `[tiles, R, ...]`: in rows without steps what the longest row has.

        If no row has any, which `jax.vmap` may still run, `default`; None is each its own.
        """
        if self.lengths is None:
            return tree
        lengths = self.lengths.reshape(-1)
        longest = jnp.argmax(lengths) if self.numbers is None else 0
        any_steps = jnp.max(lengths, initial=0) > 0

        def one(leaf):
            lent = lax.dynamic_index_in_dim(leaf.reshape(-1, *leaf.shape[2:]), longest, 0, keepdims=False)
            lent = lent if default is None else jnp.where(any_steps, lent, jnp.asarray(default, leaf.dtype))
            return select_rows(self.lengths > 0, leaf, jnp.broadcast_to(lent, leaf.shape))

        return jax.tree.map(one, tree)


def longest_first(lengths: jax.Array, most_compared: int = ROWS_TO_COMPARE) -> jax.Array:
    """The rows in the order of their lengths, `[B]`."""
    if lengths.shape[0] > most_compared:
        return jnp.argsort(lengths, descending=True).astype(jnp.int32)
    rows = jnp.arange(lengths.shape[0], dtype=jnp.int32)
    longer, alike = lengths[None] > lengths[:, None], lengths[None] == lengths[:, None]
    places = jnp.sum(longer | (alike & (rows[None] < rows[:, None])), 1, dtype=jnp.int32)
    return jnp.sum(jnp.where(places[None] == rows[:, None], rows[None], 0), 1, dtype=jnp.int32)
