"""A loop over the chunks of a sequence, which are cut out of arrays as they lie and written where they belong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class Sequence:
    """How a sequence is run through.

    Attributes:
      time: T.
      chunk_size: K; what is left of T is one shorter chunk.
      axis: of time in the sequence's arrays, 0 or 1; the other one is the batch.
      reverse: whether the last step comes first.
      rows: the first row and their number, of those of the batch that are run through; None is all.
      order: which of these rows is in each place, and which place each row has, `[B]` integers; None is as they lie.
    """

    time: int
    chunk_size: int
    axis: int
    reverse: bool
    rows: tuple[int, int] | None = None
    order: tuple[jax.Array, jax.Array] | None = None

    @property
    def chunks(self) -> int:
        """N, the number of chunks."""
        return -(-self.time // self.chunk_size)

    def step(self, tree: Any, share: int = 1) -> Any:
        """One step of the sequence, or of a share of its rows, as shapes."""
        return jax.eval_shape(lambda: at(Chunk(self, 0, 1, share).read(tree), 0))

    def zeros(self, step: Any) -> Any:
        """A sequence of zeros, of steps with these shapes."""
        return jax.tree.map(lambda leaf: zeros_of(leaf, self.time, self.axis), step)

    def cut_rows(self, tree: Any, axis: int = 0) -> Any:
        """The rows that are run through, as they lie, of arrays that have the batch along `axis`."""
        if self.rows is None:
            return tree
        first, count = self.rows
        return jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, first, first + count, axis=axis), tree)

    def in_order(self, tree: Any, axis: int = 0, share: int = 1) -> Any:
        """These rows in their order, or a share of them, the first ones."""
        if self.order is None:
            return first_rows(tree, share, axis)
        rows = first_rows(self.order[0], share)
        return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis, mode="clip"), tree)

    def as_they_lie(self, tree: Any, axis: int = 0) -> Any:
        """Rows in their order, or the first ones alone, as they lie; zeros in the places of the others."""
        if self.order is None:
            return tree
        places = self.order[1]
        return jax.tree.map(lambda leaf: jnp.take(leaf, places, axis, mode="fill", fill_value=0), tree)

    def loop(self, body: Callable, carry: Any, ends: list[tuple[int, Any]], backward: bool = False) -> Any:
        """`carry = body(chunk, carry)` for every chunk, in the order of the run, or, if backward, the other way round.

        `ends` are `(share, step)`, the steps rising: chunks that begin before the first step have the first share of the rows,
        then those before the second step the second share, and so on; from the last one on none is run. None is T. A shorter
        last chunk has all rows.
        """
        full, rest = divmod(self.time, self.chunk_size)
        stops = [self._chunks_before(step, 0, full) for _, step in ends]
        spans = [(*span, self.chunk_size, share) for *span, (share, _) in zip([0, *stops[:-1]], stops, ends, strict=True)]
        if full != self.chunks:
            spans.append((full, self._chunks_before(ends[-1][1], full, self.chunks), rest, 1))
        downward = self.reverse != backward
        for first, stop, size, share in reversed(spans) if downward else spans:
            number = (lambda i, last=first + stop - 1: last - i) if downward else (lambda i: i)
            one = lambda i, carry, number=number, size=size, share=share: body(Chunk(self, number(i), size, share), carry)
            carry = lax.fori_loop(first, stop, one, carry)
        return carry

    def _chunks_before(self, step, least, most):
        """The chunks that begin before a step, between `least` and `most`."""
        return most if step is None else jnp.clip(-(-step // self.chunk_size), least, most)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk: which sequence's, its number, how many steps, and which share of the rows, one in so many, the first ones.

    Its own arrays are `[K, B, ...]`, the first step to run first.
    """

    sequence: Sequence
    number: Any
    size: int
    share: int = 1

    def of(self, sequence: Sequence) -> Chunk:
        """The same steps of other rows."""
        return dataclasses.replace(self, sequence=sequence)

    @property
    def times(self) -> jax.Array:
        """`[K]`, the steps' places in the sequence."""
        times = self._start + jnp.arange(self.size, dtype=jnp.int32)
        return jnp.flip(times) if self.sequence.reverse else times

    def read(self, tree: Any) -> Any:
        """This chunk of a sequence."""
        axis = self.sequence.axis
        steps = jax.tree.map(lambda leaf: self._in_order(jnp.moveaxis(self._cut(leaf, axis), axis, 0)), tree)
        return self.sequence.in_order(self.sequence.cut_rows(steps, 1), 1, self.share)

    def write(self, tree: Any, values: Any) -> Any:
        """The sequence with this chunk in its place."""
        axis, rows, start = self.sequence.axis, self.sequence.rows, jnp.asarray(self._start)
        first = jnp.full_like(start, rows[0] if rows else 0)

        def put(leaf, value):
            where = [start, first] if axis == 0 else [first, start]
            where += [jnp.zeros_like(start)] * (leaf.ndim - 2)
            return lax.dynamic_update_slice(leaf, jnp.moveaxis(self._in_order(value), 0, axis), where)

        return jax.tree.map(put, tree, self.sequence.as_they_lie(values, 1))

    def cut(self, leaf: jax.Array, shape: tuple) -> jax.Array:
        """This chunk of an array `[T, ...]`: of each step what has that shape, which may be less than the array has."""
        return corner(self._in_order(self._cut(leaf, 0)), (self.size, *shape))

    def first_rows(self, tree: Any, axis: int = 0) -> Any:
        """The rows that are run, of arrays that have the batch along `axis`, in its order."""
        return first_rows(tree, self.share, axis)

    def put_rows(self, tree: Any, first: Any) -> Any:
        """Arrays `[B, ...]` with the rows that are run as `first`."""
        if self.share == 1:
            return first
        return jax.tree.map(lambda leaf, rows: jnp.concatenate([rows, leaf[rows.shape[0] :]]), tree, first)

    @property
    def _start(self):
        return self.number * self.sequence.chunk_size

    def _cut(self, leaf, axis):
        return lax.dynamic_slice_in_dim(leaf, self._start, self.size, axis)

    def _in_order(self, leaf):
        """From the order of the sequence to that of the run, or back."""
        return jnp.flip(leaf, 0) if self.sequence.reverse else leaf


def corner(leaf: jax.Array, shape: tuple) -> jax.Array:
    """The first elements along every axis, as many as in `shape`."""
    return leaf if leaf.shape == shape else lax.slice(leaf, [0] * leaf.ndim, shape)


def first_rows(tree: Any, share: int, axis: int = 0) -> Any:
    """The first rows, one in `share`, of arrays that have the batch along `axis`."""
    if share == 1:
        return tree
    return jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, 0, -(-leaf.shape[axis] // share), axis=axis), tree)


def zeros_of(leaf: Any, count: int, axis: int = 0) -> jax.Array:
    """Zeros for `count` arrays of that shape."""
    return jnp.zeros((*leaf.shape[:axis], count, *leaf.shape[axis:]), leaf.dtype)


def at(tree: Any, i: Any) -> Any:
    """Item `i` of arrays `[N, ...]`."""
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), tree)


def put(tree: Any, values: Any, i: Any) -> Any:
    """Arrays `[N, ...]` with `values`, which may be smaller, as item `i`."""
    start = lambda leaf: [i] + [jnp.zeros_like(i)] * (leaf.ndim - 1)
    return jax.tree.map(lambda leaf, value: lax.dynamic_update_slice(leaf, value[None], start(leaf)), tree, values)
