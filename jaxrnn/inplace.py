"""A loop over the chunks of a sequence, which are cut out of arrays as they lie and written where they belong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap


@dataclasses.dataclass(frozen=True)
class Sequence:
    """How a sequence is run through.

    Attributes:
      time: T.
      chunk_size: K; what is left of T is one shorter chunk.
      axis: of time in the sequence's arrays, 0 or 1; the other one is the batch.
      reverse: whether the last step comes first.
      rows: the first row and their number, of those of the batch that are run through; None is all.
    """

    time: int
    chunk_size: int
    axis: int
    reverse: bool
    rows: tuple[int, int] | None = None

    @property
    def chunks(self) -> int:
        """N, the number of chunks."""
        return -(-self.time // self.chunk_size)

    def step(self, tree: Any) -> Any:
        """One step of the sequence, as shapes."""
        return jax.eval_shape(lambda: at(Chunk(self, 0, 1).read(tree), 0))

    def zeros(self, step: Any) -> Any:
        """A sequence of zeros, of steps with these shapes."""
        return jax.tree.map(lambda leaf: zeros_of(leaf, self.time, self.axis), step)

    def cut_rows(self, tree: Any, axis: int = 0) -> Any:
        """The rows that are run through, of arrays that have the batch along `axis`."""
        if self.rows is None:
            return tree
        first, count = self.rows
        return jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, first, first + count, axis=axis), tree)

    def loop(self, body: Callable, carry: Any, longest: jax.Array | None, backward: bool = False) -> Any:
        """`carry = body(chunk, carry)` for every chunk, or for those that begin before step `longest`.

        In the order of the run, or, if backward, the other way round.
        """
        full = self.time // self.chunk_size
        spans = [(0, full, self.chunk_size), (full, self.chunks, self.time - full * self.chunk_size)]
        downward = self.reverse != backward
        for first, last, size in reversed(spans) if downward else spans:
            if first == last:
                continue
            end = last if longest is None else jnp.clip(-(-longest // self.chunk_size), first, last)
            number = (lambda i, first=first, end=end: first + end - 1 - i) if downward else (lambda i: i)
            one = lambda i, carry, number=number, size=size: body(Chunk(self, number(i), size), carry)
            carry = lax.fori_loop(first, end, one, carry)
        return carry


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk: which sequence's, its number, how many steps. Its own arrays are `[K, B, ...]`, the first step to run first."""

    sequence: Sequence
    number: Any
    size: int

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
        return self.sequence.cut_rows(steps, 1)

    def write(self, tree: Any, values: Any) -> Any:
        """The sequence with this chunk in its place."""
        axis, rows, start = self.sequence.axis, self.sequence.rows, jnp.asarray(self._start)
        first = jnp.full_like(start, rows[0] if rows else 0)

        def put(leaf, value):
            where = [start, first] if axis == 0 else [first, start]
            where += [jnp.zeros_like(start)] * (leaf.ndim - 2)
            return lax.dynamic_update_slice(leaf, jnp.moveaxis(self._in_order(value), 0, axis), where)

        return jax.tree.map(put, tree, values)

    def cut(self, tree: Any) -> Any:
        """This chunk of arrays `[T, ...]`."""
        return jax.tree.map(lambda leaf: self._in_order(self._cut(leaf, 0)), tree)

    @property
    def _start(self):
        return self.number * self.sequence.chunk_size

    def _cut(self, leaf, axis):
        return lax.dynamic_slice_in_dim(leaf, self._start, self.size, axis)

    def _in_order(self, leaf):
        """From the order of the sequence to that of the run, or back."""
        return jnp.flip(leaf, 0) if self.sequence.reverse else leaf


def zeros_of(leaf: Any, count: int, axis: int = 0) -> jax.Array:
    """Zeros for `count` arrays of that shape."""
    return jnp.zeros((*leaf.shape[:axis], count, *leaf.shape[axis:]), leaf.dtype)


def at(tree: Any, i: Any) -> Any:
    """Item `i` of arrays `[N, ...]`."""
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), tree)


def put(tree: Any, values: Any, i: Any) -> Any:
    """Arrays `[N, ...]` with `values` as item `i`."""
    return jax.tree.map(lambda leaf, value: lax.dynamic_update_index_in_dim(leaf, value, i, 0), tree, values)


@custom_vmap
def longest_of(lengths: jax.Array) -> jax.Array:
    """The longest of `lengths` `[B]`; under `jax.vmap` that of all examples, so that one loop serves them all."""
    return jnp.max(lengths, initial=0)


@longest_of.def_vmap
def _longest_of_all(axis_size, is_batched, lengths):
    return jnp.max(lengths, initial=0), False
