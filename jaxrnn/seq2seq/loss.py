"""The loss of sequences of words."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrnn import check


def sequence_loss(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    average_across_timesteps: bool = True,
    average_across_batch: bool = True,
    sum_over_timesteps: bool = False,
    sum_over_batch: bool = False,
    softmax_loss_function: Callable | None = None,
) -> jax.Array:
    """Cross entropy times weights; TF1's `tf.contrib.seq2seq.sequence_loss`.

    An average is the sum of losses over the sum of weights, a "sum" that over the number of weights that are not zero, as in
    TF1; 0 / 0 is 0. They go over both axes if both are averaged, or both summed, else over one axis alone: that of the
    average, or, without one, that of the sum. Logits that are not finite change nothing where the weight is 0.

    Args:
      logits: `[B, T, V]`.
      targets: integers `[B, T]`; one outside [0, V) counts as the nearest.
      weights: floating `[B, T]`, 0 in the padding.
      average_across_timesteps, average_across_batch: whether to average over T, over B.
      sum_over_timesteps, sum_over_batch: whether to sum over T, over B; the average over that axis is to be False.
      softmax_loss_function: `(labels=[B T], logits=[B T, V]) -> [B T]` in place of the cross entropy, such as
        `optax.losses.softmax_cross_entropy_with_integer_labels`.

    Returns:
      `[]` over both axes, `[B]` over T alone, `[T]` over B alone, `[B, T]` over none; in the dtype of the losses.

    Raises:
      TypeError, ValueError: if shapes and dtypes are not these, or an axis is both averaged and summed.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> logits, weights = jnp.zeros((2, 3, 4)), jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
      >>> round(float(jaxrnn.seq2seq.sequence_loss(logits, jnp.ones((2, 3), int), weights)), 4)  # log 4
      1.3863
    """
    logits, targets, weights = (check.arrays(a, n) for a, n in ((logits, "logits"), (targets, "targets"), (weights, "weights")))
    check.sequence_of_logits(logits, targets, weights)
    average = (
        check.flag("average_across_batch", average_across_batch),
        check.flag("average_across_timesteps", average_across_timesteps),
    )
    summed = check.flag("sum_over_batch", sum_over_batch), check.flag("sum_over_timesteps", sum_over_timesteps)
    for which, axis in enumerate(("batch", "timesteps")):
        check.one_of_two(f"average_across_{axis}", average[which], f"sum_over_{axis}", summed[which])
    loss = cross_entropy if softmax_loss_function is None else softmax_loss_function
    labels = jnp.clip(targets, 0, logits.shape[-1] - 1).reshape(-1)
    # What is not finite stays out of the loss and of its gradient where it does not count: 0 * NaN is NaN.
    dead = (weights == 0) & ~jnp.all(jnp.isfinite(logits), -1)
    logits = jnp.where(jnp.broadcast_to(dead[..., None], logits.shape), 0, logits)
    each = check.loss_of_each(loss(labels=labels, logits=logits.reshape(-1, logits.shape[-1])), labels.size)
    weights = weights.astype(each.dtype)
    losses = each.reshape(targets.shape) * weights
    if all(average) or all(summed):
        axes = (0, 1)
    else:
        axes = tuple(axis for axis in (0, 1) if (average if any(average) else summed)[axis])[:1]
    if not axes:
        return losses
    counted = weights if any(average) else (weights != 0).astype(weights.dtype)
    return _ratio(jnp.sum(losses, axes), jnp.sum(counted, axes))


def cross_entropy(*, labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Of integer labels `[N]` and logits `[N, V]`, `[N]`."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


def _ratio(total: jax.Array, size: jax.Array) -> jax.Array:
    """0 where size is 0, and no gradient."""
    nothing = size == 0
    return jnp.where(nothing, 0, total / jnp.where(nothing, 1, size))
