"""Beams as trees: which hypothesis each one came from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.typing import Tree


def tile_batch(t: Tree, multiplier: int) -> Tree:
    """Every row K times, one after the other; TF1's `tf.contrib.seq2seq.tile_batch`.

    Args:
      t: an array `[B, ...]` or a pytree of arrays, such as a state; a leaf of no rows stays as it is.
      multiplier: K, 1 or more.

    Returns:
      The same with leaves `[B K, ...]`.

    Raises:
      TypeError, ValueError: if multiplier is not an int of 1 or more.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> jaxrnn.seq2seq.tile_batch(jnp.array([3, 4]), 2).tolist()
      [3, 3, 4, 4]
    """
    check.repeats(multiplier)
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, multiplier, 0) if leaf.ndim else leaf, check.arrays(t, "t"))


def gather_tree(
    step_ids: jax.Array, parent_ids: jax.Array, max_sequence_lengths: jax.Array, end_token: int | jax.Array
) -> jax.Array:
    """The words along each of K hypotheses; TF1's `tf.contrib.seq2seq.gather_tree`.

    It goes back from hypothesis k at step L - 1, where L is the row's length, through the parents.

    Args:
      step_ids: the words that each step selected, integers `[T, B, K]`.
      parent_ids: which hypothesis of the step before each goes on from, integers `[T, B, K]`. One outside [0, K) counts as the
        nearest, where TF1 fails.
      max_sequence_lengths: L, integers `[B]`; above T they count as T.
      end_token: what stands from step L on, and after the first end token of a hypothesis.

    Returns:
      Integers `[T, B, K]`.

    Raises:
      TypeError, ValueError: if the arrays are no integers of these shapes.

    Example: the second hypothesis of step 1 goes on from the first of step 0.

      >>> import jax.numpy as jnp, jaxrnn
      >>> words, parents = jnp.array([[[3, 4]], [[5, 6]]]), jnp.array([[[0, 0]], [[1, 0]]])
      >>> jaxrnn.seq2seq.gather_tree(words, parents, jnp.array([2]), end_token=0)[:, 0].tolist()
      [[4, 3], [5, 6]]
    """
    step_ids, parent_ids = check.arrays(step_ids, "step_ids"), check.arrays(parent_ids, "parent_ids")
    ends = check.arrays(max_sequence_lengths, "max_sequence_lengths")
    check.tree_of_beams(step_ids, parent_ids, ends)
    ends = ends.astype(jnp.int32)  # T may be more than a small integer can count
    end = jnp.asarray(check.token("gather_tree", "end_token", end_token), step_ids.dtype)
    return words_of_paths(step_ids, paths(parent_ids, ends), ends, end)


def paths(parent_ids: jax.Array, ends: jax.Array) -> jax.Array:
    """Where hypothesis k is at each step, `[T, B, K]`, back from place k of step `ends - 1`; past it, at place k."""
    steps, _, width = parent_ids.shape
    last = jnp.broadcast_to(jnp.arange(width, dtype=parent_ids.dtype), parent_ids.shape[1:])

    def back(place, step):
        time, parents = step
        run = jnp.broadcast_to((time < ends)[:, None], place.shape)
        return jnp.where(run, jnp.clip(pick(parents, place), 0, width - 1), place), place

    return lax.scan(back, last, (jnp.arange(steps, dtype=ends.dtype), parent_ids), reverse=True)[1]


def words_of_paths(step_ids: jax.Array, path: jax.Array, ends: jax.Array, end_token: jax.Array) -> jax.Array:
    """The words along `path`, with end tokens from step `ends` on and after the first of them."""
    words = along_paths(step_ids, path)
    past = jax.vmap(lambda t: jnp.broadcast_to((t >= ends)[:, None], words.shape[1:]))(jnp.arange(len(words), dtype=ends.dtype))
    words = jnp.where(past, end_token, words)
    return jnp.where(jnp.cumulative_sum(words == end_token, axis=0, dtype=jnp.int32) > 0, end_token, words)


def along_paths(tree: Tree, path: jax.Array) -> Tree:
    """Leaves `[T, B, K, ...]` along the hypotheses."""
    return jax.tree.map(lambda leaf: jax.vmap(pick)(leaf, path), tree)


def pick(leaf: jax.Array, places: jax.Array) -> jax.Array:
    """Of `[B, N, ...]` the `places` `[B, K]` of each row, `[B, K, ...]`."""
    return jax.vmap(lambda row, place: row[place])(leaf, places)
