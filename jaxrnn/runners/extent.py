"""Which steps are run: lengths, a mask and resets, brought into the one form that the engine knows.

What a run means, for one row of the batch:

    for t in range(T):                                    # from T - 1 down to 0 if reverse
        if t >= length: outputs[t] = zeros; continue
        if resets[t]: state = reset_state
        if not mask[t]: outputs[t] = zeros; continue
        outputs[t], state = cell(params, inputs[t], state)

The engine runs the steps in front of each row's end: one more than the last step that its mask has. A reset at a step that is
left out counts for the next one that is run; if there is none, the row ends with the state of resets (`late`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.engine.first import Extent, extent_of
from jaxrnn.engine.masking import replace_rows
from jaxrnn.typing import State


class Course(NamedTuple):
    """How a run goes.

    Attributes:
      extent: which steps of each row are run; None is all.
      mask, resets: laid out as the inputs, False beyond the end, or None.
      start: the state before the first step, leaves `[B, ...]`.
      first: the state that each row's first step is called with; None without an extent.
      late: `[B]`, rows that end with a reset; None is none.
    """

    extent: Extent | None
    mask: jax.Array | None
    resets: jax.Array | None
    start: State
    first: State
    late: jax.Array | None

    def end(self, reset_state: State, state: State) -> State:
        """The run's last state, from that after each row's last step."""
        return replace_rows(self.late, reset_state, state)


def course_of(
    lengths: jax.Array | None,
    mask: jax.Array | None,
    resets: jax.Array | None,
    axis: int,
    reverse: bool,
    state: State,
    reset_state: State,
) -> Course:
    """The course of a run.

    Args:
      lengths: `[B]`, or None.
      mask, resets: booleans, with time along `axis`, 0 or 1, and the batch along the other; or None.
      axis: see above.
      reverse: whether the last step comes first.
      state, reset_state: the state before the first step, and that at resets, leaves `[B, ...]`.
    """
    given = mask if resets is None else resets
    extent = None if lengths is None else Extent(lengths, lengths - 1 if reverse else None)
    if given is None or 0 in given.shape:
        return Course(extent, None, resets, state, state, None)
    times = jnp.expand_dims(jnp.arange(given.shape[axis], dtype=jnp.int32), 1 - axis)
    if lengths is not None:
        within = times < jnp.expand_dims(lengths, axis)
        mask, resets = (None if flags is None else flags & within for flags in (mask, resets))
    if mask is not None:
        extent = extent_of(mask, axis, reverse)
    if resets is None or extent is None:
        return Course(extent, mask, resets, state, state, None)
    late = None
    if mask is not None:
        beyond = times >= jnp.expand_dims(extent.ends, axis)
        late, resets = jnp.any(resets & beyond, axis), resets & ~beyond
        state, late = (replace_rows(late, reset_state, state), None) if reverse else (state, late)
    begins = jnp.zeros_like(extent.ends) if extent.begins is None else extent.begins
    up_to_the_first = times >= jnp.expand_dims(begins, axis) if reverse else times <= jnp.expand_dims(begins, axis)
    first = replace_rows(jnp.any(resets & up_to_the_first, axis), reset_state, state)
    return Course(extent, mask, resets, state, first, late)
