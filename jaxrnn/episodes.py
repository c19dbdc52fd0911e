"""Episodes in reinforcement learning: where they begin, from where they end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxrnn import check


def resets_from_dones(dones: ArrayLike, last_done: ArrayLike | None = None, *, time_major: bool = False) -> jax.Array:
    """The `resets` of a rollout from its `dones`: a step starts again if the step before it ended an episode.

    An environment says `done` with the result of a step. The observation that comes with it begins the next episode (where the
    environment resets itself), so the state has to start again one step later than `done` says.

        dones     0 0 1 0 0 1 0
        resets    d 0 0 1 0 0 1         d is last_done

    Args:
      dones: booleans `[B, T]`, or `[T, B]` if time_major: True where a step ended an episode.
      last_done: booleans `[B]`, the dones of the step before the first: the last ones of the rollout before. None is True, for
        a rollout whose first step begins an episode.
      time_major: whether time is the first axis.

    Returns:
      Booleans laid out as dones, for `dynamic_rnn(..., resets=resets)`.

    Raises:
      TypeError, ValueError: if dones are not booleans of two axes, or last_done has not one for each row.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> dones = jnp.array([[False, True, False, False]])
      >>> jaxrnn.resets_from_dones(dones, last_done=jnp.array([False]))
      Array([[False, False,  True, False]], dtype=bool)
    """
    axis = 0 if check.flag("time_major", time_major) else 1
    dones = check.booleans_of_rank("dones", dones, 2, "booleans [T, B]" if axis == 0 else "booleans [B, T]")
    batch = dones.shape[1 - axis]
    if last_done is None:
        last_done = jnp.ones(batch, bool)
    last_done = check.booleans_of_rank("last_done", last_done, 1, "booleans [B]")
    check.as_many("last_done", last_done.shape[0], "dones", batch)
    before = jnp.concatenate([jnp.expand_dims(last_done, axis), dones], axis)
    return jax.lax.slice_in_dim(before, 0, dones.shape[axis], axis=axis)
