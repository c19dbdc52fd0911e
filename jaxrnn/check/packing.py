"""What a packing is made of, and what it is given to rearrange."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import numpy as np

from jaxrnn.check.basics import at_least, by_path, describe
from jaxrnn.check.runs import lengths, numbers


def known_lengths(sequence_length: Any, time: Any) -> np.ndarray:
    """The lengths as int32 `[B]`, with values in [0, T]."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(sequence_length)):
        raise TypeError(
            "pack_sequences: expected lengths that are known, got a traced array: how many rows there are depends on them. "
            "Call it outside jit, where the batch is made; the Packing itself can be passed to a jitted function."
        )
    if isinstance(time, bool) or not isinstance(time, (int, np.integer)):
        raise TypeError(f"time: expected an int T, got {describe(time)}.")
    if time < 0:
        raise ValueError(f"time: expected 0 steps or more, got {time}.")
    vector = numbers("sequence_length", sequence_length, "integers [B]")
    if vector.ndim != 1:
        raise ValueError(f"sequence_length must be a vector [B], got {describe(vector)}.")
    return np.asarray(lengths(vector, len(vector), int(time)))


def packed_steps(lengths: np.ndarray, steps: Any) -> int:
    """S, room for the longest."""
    longest = max(int(lengths.max(initial=0)), 1)
    if steps is None:
        return longest
    at_least("steps", steps, " step")
    if steps < longest:
        raise ValueError(
            f"steps: expected at least {longest}, the longest sequence, got {steps}. Cut the sequence, or give more."
        )
    return steps


def packed_rows(needed: int, rows: Any, steps: int) -> int:
    """R, as many as the sequences need."""
    if rows is None:
        return max(needed, 1)
    at_least("rows", rows, " row")
    if rows < needed:
        raise ValueError(
            f"rows: expected at least {needed}, which these lengths need in rows of {steps} steps, got {rows}. Give more "
            "rows or steps, or fewer sequences."
        )
    return rows


def packed_axes(tree: Any, axes: tuple[int, int], layout: str) -> None:
    """Leaves that begin with these axes."""
    for path, leaf in by_path(tree):
        if leaf.shape[:2] != axes:
            raise ValueError(
                f"Packing{path}: expected {layout} = [{axes[0]}, {axes[1]}, ...], got {describe(leaf)}. `pack` takes what is "
                "padded, `unpack` and `last` what is packed; batch first."
            )
