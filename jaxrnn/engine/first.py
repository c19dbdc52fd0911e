"""The first step of every row: what a cell is called with in the padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import without_gradient
from jaxrnn.engine.masking import select_rows
from jaxrnn.typing import Inputs, State, Tree


class Extent(NamedTuple):
    """Which steps of each row are run.

    Attributes:
      ends: `[B]`, one more than the last step; 0 in a row without steps.
      begins: `[B]`, the step that is run first; None is step 0 in every row.
    """

    ends: jax.Array
    begins: jax.Array | None


def extent_of(mask: jax.Array, axis: int, reverse: bool = False) -> Extent:
    """That of a mask, with time along `axis`."""
    times = jnp.expand_dims(jnp.arange(mask.shape[axis], dtype=jnp.int32), 1 - axis)
    ends = jnp.max(jnp.where(mask, times + 1, 0), axis, initial=0)
    return Extent(ends, ends - 1 if reverse else jnp.argmax(mask, axis).astype(jnp.int32))


class FirstStep(NamedTuple):
    """What the cell is called with at each row's first step, inputs and state, leaves `[B, ...]`."""

    inputs: Inputs
    state: State


def first_step(inputs: Inputs, state: State, lengths: jax.Array | None) -> FirstStep | None:
    """What padded steps are called with; None if there are none of them. It has no gradient.

    A row without steps is given another row's first step.

    Args:
      inputs, state: each row's first inputs (`at_first`) and the state there, leaves `[B, ...]`.
      lengths: `[B]`, 0 in a row without steps, or None.
    """
    if lengths is None:
        return None
    inputs = _borrowed(without_gradient(inputs), lengths, jnp.ones_like)  # of which most functions are finite
    return FirstStep(inputs, _borrowed(without_gradient(state), lengths, None))


def at_first(tree: Tree, extent: Extent | None, axis: int) -> Tree:
    """What each row of a sequence, with time along `axis`, has at the first step that is run, leaves `[B, ...]`."""
    if extent is None:
        return None

    def first(leaf):
        if leaf.shape[axis] == 0:
            return jnp.zeros((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype)
        if extent.begins is None:
            return lax.index_in_dim(leaf, 0, axis, keepdims=False)
        begins = jnp.clip(extent.begins, 0, leaf.shape[axis] - 1)
        at = lambda row, t: lax.dynamic_index_in_dim(row, t, keepdims=False)
        return jax.vmap(at, (1 - axis, 0))(leaf, begins)

    return jax.tree.map(first, tree)


def _borrowed(tree: Tree, lengths: jax.Array, default: Callable | None) -> Tree:
    """`tree` `[B, ...]` in rows with steps, in the others what one of these has; where none has any, `default` of the shape."""
    batch = lengths.shape[0]
    rows = jnp.arange(batch, dtype=lengths.dtype) + 0 * lengths  # spread over devices as the lengths are
    lender = jnp.min(jnp.where(lengths > 0, rows, batch), initial=batch)  # `batch` if no row has steps

    def borrow(leaf):
        if leaf.ndim < 1 or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # a key
            return leaf
        own, zeros = leaf if default is None else default(leaf), jnp.zeros_like(leaf)
        lent = select_rows(rows == lender, leaf, zeros)
        lent = (
            zeros | jnp.any(lent, 0, keepdims=True)
            if leaf.dtype == jnp.bool_
            else zeros + jnp.sum(lent, 0, keepdims=True, dtype=leaf.dtype)
        )
        return select_rows(lengths > 0, leaf, jnp.where(lender < batch, lent, own))

    return jax.tree.map(borrow, tree)
