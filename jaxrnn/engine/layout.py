"""How a run goes through its arrays: tiles of rows, one after the other; of each tile the chunks of its steps.

    rows
     |  tile 0   [ chunk 0 ][ chunk 1 ][ chunk 2 ] ->
     |  tile 1   [ chunk 0 ][ chunk 1 ]               a tile ends with its longest row
     v

A chunk is cut out of a sequence as it lies, and written where it belongs.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxrnn.engine.order import Rows
from jaxrnn.typing import Dim, Shapes, Tree


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a sequence is run through.

    Attributes:
      time: T.
      batch: B.
      chunk_size: K; what is left of T is one shorter chunk.
      axis: of time in the sequence's arrays, 0 or 1; the other one is the batch.
      reverse: whether the last step comes first.
      size: R, the rows of a tile; None is B.
    """

    time: Dim
    batch: Dim
    chunk_size: Dim
    axis: int
    reverse: bool
    size: int | None = None

    @property
    def tile(self) -> Dim:
        """R."""
        return self.batch if self.size is None else self.size

    @property
    def tiles(self) -> int:
        return -(-self.batch // self.tile)

    @property
    def chunks(self) -> int:
        """N, the number of chunks of each row."""
        return -(-self.time // self.chunk_size)

    def zeros(self, step: Shapes, like: jax.Array) -> Tree:
        """A sequence of zeros, of steps with these shapes, `[B, ...]`; in a `jax.shard_map` of the type of `like`."""
        shape = lambda leaf: (*leaf.shape[: self.axis], self.time, *leaf.shape[self.axis :])
        return jax.tree.map(lambda leaf: lax.full_like(like, 0, leaf.dtype, shape(leaf)), step)

    def step(self, tree: Tree) -> Shapes:
        """One step of the sequence, of a tile's rows, as shapes."""
        size = lambda leaf: (self.tile, *leaf.shape[2:])
        return jax.tree.map(lambda leaf: shape_like(leaf, size(leaf)), tree)

    def buffers(self, step: Shapes, like: jax.Array, per_chunk: bool = False) -> Tree:
        """Room for every step, or every chunk, of all tiles, `[tiles * T, R, ...]`, of shapes `[R, ...]`; `like`: see `zeros`.

        Each is filled with another number: of equal arrays XLA makes one, and copies it.
        """
        count, numbers = self.tiles * (self.chunks if per_chunk else self.time), itertools.count(1)
        return jax.tree.map(lambda leaf: lax.full_like(like, next(numbers), leaf.dtype, (count, *leaf.shape)), step)

    def rows(self, lengths: jax.Array | None) -> Rows:
        """What each tile has of rows with these lengths `[B]`."""
        return Rows.as_they_lie(lengths) if lengths is None or self.size is None else Rows.longest_first(lengths, self.size)

    def loop(self, body: Callable, carry: Tree, rows: Rows, backward: bool = False, stays_loop: bool = False) -> Tree:
        """`carry = body(tile, chunks, carry)` for every tile.

        There `carry = chunks(of_chunk, carry)` does `of_chunk(chunk, carry)` for every chunk that has steps, in the order of
        the run, or, if backward, the other way round. XLA drops a loop of a single chunk, unless it `stays_loop`.
        """
        counts = None if rows.lengths is None else self._counts(_of_all_examples(rows.ends))
        if counts is None and stays_loop and self.chunks == 1:
            counts = lax.optimization_barrier(jnp.ones(1, jnp.int32))  # a number that XLA does not know

        def one_tile(j, carry):
            tile, count = Tile(self, j, *item((rows.numbers, rows.lengths), j)), item(counts, j)
            chunks = lambda of_chunk, carry: self._chunks(tile, of_chunk, carry, count, self.reverse != backward)
            return body(tile, chunks, carry)

        return one_tile(0, carry) if self.size is None else lax.fori_loop(0, self.tiles, one_tile, carry)

    def _counts(self, ends):
        """How many chunks have steps in front of `ends`."""
        return lax.div(jnp.minimum(ends, self.time) + (self.chunk_size - 1), jnp.int32(self.chunk_size))

    def _chunks(self, tile, body, carry, count, downward):
        full, rest = divmod(self.time, self.chunk_size)
        count = self.chunks if count is None else count
        spans = [(0, count, self.chunk_size)]
        if full != self.chunks:
            least, most = (min, max) if isinstance(count, int) else (jnp.minimum, jnp.maximum)
            spans = [(0, least(count, full), self.chunk_size), (full, most(count, full), rest)]
        for first, stop, size in reversed(spans) if downward else spans:
            number = (lambda i, last=first + stop - 1: last - i) if downward else (lambda i: i)
            one = lambda i, carry, number=number, size=size: body(Chunk(tile, number(i), size), carry)
            carry = lax.fori_loop(first, stop, one, carry)
        return carry


@dataclasses.dataclass(frozen=True)
class Tile:
    """Some rows of the batch.

    Attributes:
      layout: whose rows.
      number: which tile.
      rows: `[R]`, which rows, B where there is none; None is all, as they lie.
      lengths: `[R]`, 0 where there is no row; None is T.
    """

    layout: Layout
    number: Dim
    rows: Any
    lengths: Any

    def of(self, tree: Tree) -> Tree:
        """This tile of arrays `[tiles, R, ...]`."""
        return item(tree, self.number)

    def put(self, tree: Tree, values: Tree) -> Tree:
        """Arrays `[tiles, R, ...]` with `values` as this tile."""
        return jax.tree.map(
            lambda leaf, v: lax.dynamic_update_index_in_dim(leaf, v, self.number, 0, allow_negative_indices=False), tree, values
        )


@dataclasses.dataclass(frozen=True)
class Chunk:
    """K steps of a tile. Its own arrays are `[K, R, ...]`, the first step to run first."""

    tile: Tile
    number: Dim
    size: Dim

    @property
    def times(self) -> jax.Array:
        """`[K]`, the steps' places in the sequence."""
        times = self._start + jnp.arange(self.size, dtype=jnp.int32)
        return jnp.flip(times) if self.tile.layout.reverse else times

    @property
    def place(self) -> Dim:
        """Where its first step's item is in `Layout.buffers`."""
        return self.tile.number * self.tile.layout.time + self._start

    @property
    def place_of_chunk(self) -> Dim:
        """Where its own item is."""
        return self.tile.number * self.tile.layout.chunks + self.number

    def read(self, tree: Tree) -> Tree:
        """This chunk of a sequence."""
        return jax.tree.map(lambda leaf: self._in_order(jnp.moveaxis(self._cut(leaf), self.tile.layout.axis, 0)), tree)

    def write(self, tree: Tree, values: Tree) -> Tree:
        """The sequence with this chunk in its place."""
        back = lambda value: jnp.moveaxis(self._in_order(value), 0, self.tile.layout.axis)
        return jax.tree.map(lambda leaf, value: self._put(leaf, back(value)), tree, values)

    @property
    def _start(self):
        return self.number * self.tile.layout.chunk_size

    def _in_order(self, leaf):
        """From the order of the sequence to that of the run, or back."""
        return jnp.flip(leaf, 0) if self.tile.layout.reverse else leaf

    def _where(self, leaf, row):
        zero = jnp.zeros_like(jnp.asarray(self._start))
        first = zero if row is None else row.astype(zero.dtype)
        both = [zero + self._start, first] if self.tile.layout.axis == 0 else [first, zero + self._start]
        return both + [zero] * (leaf.ndim - 2)

    def _cut(self, leaf):
        layout, rows = self.tile.layout, self.tile.rows
        size = lambda count: (self.size, count) if layout.axis == 0 else (count, self.size)
        if rows is None:
            return lax.dynamic_slice(
                leaf, self._where(leaf, None), (*size(layout.tile), *leaf.shape[2:]), allow_negative_indices=False
            )
        one_row = lambda row: lax.dynamic_slice(
            leaf, self._where(leaf, row), (*size(1), *leaf.shape[2:]), allow_negative_indices=False
        )
        return jax.vmap(lambda row: lax.squeeze(one_row(row), (1 - layout.axis,)), out_axes=1 - layout.axis)(rows)

    def _put(self, leaf, value):
        rows, batch = self.tile.rows, 1 - self.tile.layout.axis
        if rows is None:
            return lax.dynamic_update_slice(leaf, value, self._where(leaf, None), allow_negative_indices=False)
        windows = lax.ScatterDimensionNumbers(
            update_window_dims=tuple(i for i in range(leaf.ndim) if i != batch),
            inserted_window_dims=(batch,),
            scatter_dims_to_operand_dims=(batch, 1 - batch),
        )
        where = jnp.stack([rows, jnp.broadcast_to(jnp.asarray(self._start, rows.dtype), rows.shape)], 1)
        mode = lax.GatherScatterMode.FILL_OR_DROP
        return lax.scatter(leaf, where, value, windows, unique_indices=True, mode=mode)


def shape_like(leaf: Any, shape: tuple) -> Any:
    """A shape with the dtype of an array; in a `jax.shard_map` it varies over devices as the array does."""
    return jax.eval_shape(lambda leaf: lax.full_like(leaf, 0, shape=shape), leaf)


def item(tree: Tree, i: Dim) -> Tree:
    """Item `i` of arrays `[N, ...]`."""
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False, allow_negative_indices=False), tree)


_of_all_examples: Any = custom_vmap(lambda steps: steps)  # under `jax.vmap` the last steps of all: one loop serves them


@_of_all_examples.def_vmap
def _last_of_all(axis_size, is_batched, steps):
    return jnp.max(steps, axis=0, initial=0), False
