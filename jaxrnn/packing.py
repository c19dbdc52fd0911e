"""Short sequences that share a row, so that ragged batches waste few steps on padding.

    lengths 5 2 3 1, a row each            packed into rows of 5 steps
    a a a a a                              a a a a a
    b b . . .                              c c c b b
    c c c . .                              d . . . .
    d . . . .

The runners start again where a sequence begins (`resets`), so no sequence sees anything of the others in its row.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import check
from jaxrnn.engine.linear import linear
from jaxrnn.engine.masking import zero_padding
from jaxrnn.typing import Tree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packing:
    """Where every step of a batch of sequences `[B, T]` goes in R rows of S steps; a pytree of arrays.

    Attributes:
      sequence_length: int32 `[R]`, the steps in use; what the runners take.
      resets: booleans `[R, S]`, True where a sequence begins; what the runners take.
      sequence, step: int32 `[R, S]`, which sequence a packed step belongs to, and which of its steps it is.
      row, first: int32 `[B]`, the row that a sequence is in and where it begins there.
      lengths: int32 `[B]`.
      time: T.
    """

    sequence_length: Any
    resets: Any
    sequence: Any
    step: Any
    row: Any
    first: Any
    lengths: Any
    time: int = dataclasses.field(metadata={"static": True})

    def pack(self, tree: Tree) -> Any:
        """Leaves `[R, S, ...]` of leaves `[B, T, ...]`; zeros where no sequence is."""
        tree = check.arrays(tree, "Packing")
        check.packed_axes(tree, (*self.lengths.shape, self.time), "[B, T, ...]")
        return jax.tree.map(functools.partial(_rearranged, Packing._packed, Packing._unpacked, self), tree)

    def unpack(self, tree: Tree) -> Any:
        """Leaves `[B, T, ...]` of leaves `[R, S, ...]`; zeros past each length."""
        tree = check.arrays(tree, "Packing")
        check.packed_axes(tree, self.resets.shape, "[R, S, ...]")
        return jax.tree.map(functools.partial(_rearranged, Packing._unpacked, Packing._packed, self), tree)

    def last(self, tree: Tree) -> Any:
        """Leaves `[B, ...]` of leaves `[R, S, ...]`: each sequence's last step, or zeros if it has none."""
        tree = check.arrays(tree, "Packing")
        check.packed_axes(tree, self.resets.shape, "[R, S, ...]")
        last = jax.tree.map(lambda leaf: leaf[self.row, jnp.maximum(self.first + self.lengths - 1, 0)], tree)
        return zero_padding(self.lengths > 0, last)

    def _packed(self, leaf):
        if 0 in leaf.shape[:2]:
            return jnp.zeros((*self.resets.shape, *leaf.shape[2:]), leaf.dtype)
        used = jnp.arange(self.resets.shape[1], dtype=jnp.int32)[None] < self.sequence_length[:, None]
        return zero_padding(used, leaf[self.sequence, self.step])

    def _unpacked(self, leaf):
        times = jnp.arange(self.time, dtype=jnp.int32)[None]
        steps = jnp.minimum(self.first[:, None] + times, self.resets.shape[1] - 1)
        return zero_padding(times < self.lengths[:, None], leaf[self.row[:, None], steps])


def _rearranged(f, transpose, packing, leaf):
    """`f(packing, leaf)`; its gradient is read from where it comes from too: added up where it goes to it would be slow."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return f(packing, leaf)
    of_list = lambda f: lambda packing, leaves: [f(packing, *leaves)]
    return linear(of_list(f), of_list(transpose), packing, [leaf])[0]


def pack_sequences(sequence_length: Any, time: int, *, rows: int | None = None, steps: int | None = None) -> Packing:
    """A packing of sequences of these lengths: the longest first, each into the first row that has room for it.

    Args:
      sequence_length: integers `[B]`, known (not traced): the packing decides over shapes. Made by NumPy, in a data loader.
      time: T, of the batch that is packed.
      rows: R; None is as many as it takes. Give it, and steps, to compile once for all batches.
      steps: S, 1 or more; None is the longest length.

    Returns:
      A `Packing`, for `dynamic_rnn(cell, params, packing.pack(inputs), sequence_length=packing.sequence_length,
      resets=packing.resets)`. Every sequence begins with the cell's own initial state, or with
      `reset_state`. `unpack` puts outputs back; states at the
      ends of the sequences are not among the runner's results (`last(outputs)` has the last outputs).

    Raises:
      TypeError, ValueError: if the lengths are traced, no integers or out of [0, T], or if they do not fit in.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5)
      >>> params, inputs = cell.init(jax.random.key(0), input_size=3), jnp.ones((4, 7, 3))
      >>> packing = jaxrnn.pack_sequences([5, 2, 3, 1], time=7)
      >>> packed = packing.pack(inputs)
      >>> outputs, _ = jaxrnn.dynamic_rnn(
      ...     cell, params, packed, sequence_length=packing.sequence_length, resets=packing.resets)
      >>> packed.shape, packing.unpack(outputs).shape
      ((3, 5, 3), (4, 7, 5))
    """
    lengths = check.known_lengths(sequence_length, time)
    steps = check.packed_steps(lengths, steps)
    row, first, used = _first_fit(lengths, steps)
    rows = check.packed_rows(len(used), rows, steps)
    sequence, step = np.zeros((2, rows, steps), np.int32)
    resets = np.zeros((rows, steps), bool)
    for i, length in enumerate(lengths):
        place = row[i], slice(first[i], first[i] + length)
        sequence[place], step[place] = i, np.arange(length)
        resets[row[i], first[i] : first[i] + 1] |= length > 0
    packed_lengths = np.zeros(rows, np.int32)
    packed_lengths[: len(used)] = used
    return Packing(packed_lengths, resets, sequence, step, row, first, lengths, time)


def _first_fit(lengths: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Each sequence's row and where it begins there, and the steps used in every row."""
    row, first = np.zeros((2, len(lengths)), np.int32)
    used: list[int] = []
    for i in np.argsort(-lengths, kind="stable"):
        length = int(lengths[i])
        if length == 0:
            break
        found = next((r for r, taken in enumerate(used) if taken + length <= steps), len(used))
        if found == len(used):
            used.append(0)
        row[i], first[i] = found, used[found]
        used[found] += length
    return row, first, used
