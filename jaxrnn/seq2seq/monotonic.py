"""Monotonic attention: what is attended to never moves back."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.keys import StepKey
from jaxrnn.seq2seq.mechanisms import AttentionMechanism, BahdanauScore, LuongScore, Memory


def safe_cumprod(x: jax.Array, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> jax.Array:
    """Products of the entries so far, as exp(cumsum(log(x))); TF1's `safe_cumprod`.

    Args:
      x: any shape; entries are clipped to [tiny, 1], tiny being the smallest normal number. The gradient is 1 on the bounds.
      axis: along which.
      exclusive: whether an entry is left out of its own product: 1 comes first.
      reverse: whether to go from the end to the start.

    Returns:
      The shape of x.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> jaxrnn.seq2seq.safe_cumprod(jnp.array([0.5, 0.5, 0.25]), exclusive=True).tolist()
      [1.0, 0.5, 0.25]
    """
    logs = jnp.log(_clip(x, jnp.finfo(x.dtype).tiny, 1))
    axis %= x.ndim
    sums = lax.cumsum(logs, axis, reverse)
    if exclusive:
        first = lax.full_like(lax.slice_in_dim(sums, 0, 1, axis=axis), 0)
        parts = (
            [lax.slice_in_dim(sums, 1, None, axis=axis), first]
            if reverse
            else [first, lax.slice_in_dim(sums, 0, -1, axis=axis)]
        )
        sums = lax.concatenate(parts, axis)
    return jnp.exp(sums)


def _clip(x, low, high):
    """Clipped, with the gradient of TF1: 1 on a bound, where that of `jnp.clip` is a half."""
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def monotonic_attention(p_choose_i: jax.Array, previous_attention: jax.Array, mode: str) -> jax.Array:
    """Alignments that never move back (Raffel et al., 2017, arXiv:1704.00784); TF1's `monotonic_attention`.

    A reader goes on from the position where it was, and stops at position i with the probability p_i:

        q_0 = prev_0        q_i = (1 - p_{i-1}) q_{i-1} + prev_i        a_i = p_i q_i

    Args:
      p_choose_i: p `[B, M]`, in [0, 1].
      previous_attention: prev `[B, M]`, the last step's result; of the first step one at position 0.
      mode: "recursive": as above, exact (by halves, in log M steps; TF1 has M). "parallel": by cumulative sums and products,
        wrong where a product of the 1 - p gets below 1e-10. "hard": for p and prev of 0 and 1 alone.

    Returns:
      a `[B, M]`. A row need not sum to 1. In mode "hard" the gradient is zero where TF1's is NaN: of each p that chooses,
      and of prev in a row with a choice.

    Raises:
      ValueError: if mode is none of these, or the shapes differ.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> p, previous = jnp.array([[0.0, 1.0, 0.0, 1.0]]), jnp.array([[0.0, 0.0, 1.0, 0.0]])
      >>> jaxrnn.seq2seq.monotonic_attention(p, previous, "hard").tolist()
      [[0.0, 0.0, 0.0, 1.0]]
    """
    p, previous = check.arrays((p_choose_i, previous_attention), "monotonic_attention")
    check.monotonic(p, previous, mode)
    return _MODES[mode](p, previous)


def _recursive(p, previous):
    keeps = jnp.concatenate([jnp.ones_like(p[:, :1]), 1 - p[:, :-1]], 1)
    then = lambda first, second: (first[0] * second[0], second[0] * first[1] + second[1])
    return p * lax.associative_scan(then, (keeps, previous), axis=1)[1]


def _parallel(p, previous):
    left = safe_cumprod(1 - p, axis=1, exclusive=True)
    smallest = max(1e-10, float(jnp.finfo(p.dtype).tiny))  # float16 has no 1e-10
    return p * left * jnp.cumsum(previous / _clip(left, smallest, 1), 1)


def _hard(p, previous):
    choices = p * jnp.cumsum(previous, 1) == 1
    # Of a choice TF1's gradient is NaN: it divides by the factor 1 - p, which is zero. From there NaN goes into all of the row.
    any_choice = jnp.broadcast_to(jnp.any(choices, 1, keepdims=True), choices.shape)
    p = p * jnp.cumsum(jnp.where(any_choice, lax.stop_gradient(previous), previous), 1)
    p = jnp.where(choices, lax.stop_gradient(p), p)
    before = jnp.cumprod(1 - p, 1)
    return p * jnp.concatenate([jnp.ones_like(p[:, :1]), before[:, :-1]], 1)


_MODES = {"recursive": _recursive, "parallel": _parallel, "hard": _hard}


class Monotonic(AttentionMechanism):
    """`alignments = monotonic_attention(sigmoid(score + bias), the last step's alignments)`."""

    sigmoid_noise: float
    score_bias_init: float
    mode: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check.finite(self, score_bias_init=self.score_bias_init)
        check.monotonic_mode(type(self).__name__, self.mode)
        check.not_negative(self, sigmoid_noise=self.sigmoid_noise)

    def init(self, key, query_size, dtype: DTypeLike = jnp.float32):
        return {**super().init(key, query_size, dtype), "attention_score_bias": jnp.full((), self.score_bias_init, dtype)}

    def initial_alignments(self, memory: Memory, dtype: DTypeLike) -> jax.Array:
        """One at position 0, `[B, M]`."""
        return super().initial_alignments(memory, dtype).at[:, 0].set(1)

    def score(self, params, keys, query):
        return super().score(params, keys, query) + params["attention_score_bias"]

    def probabilities(self, score: jax.Array, previous: Any, key: StepKey | None) -> jax.Array:
        if self.sigmoid_noise and key is not None:
            score = score + self.sigmoid_noise * jax.random.normal(key.step, score.shape, score.dtype)
        p = (score > 0).astype(score.dtype) if self.mode == "hard" else jax.nn.sigmoid(score)
        return monotonic_attention(p, previous, self.mode)


@dataclasses.dataclass(frozen=True)
class LuongMonotonicAttention(Monotonic, LuongScore):
    """Monotonic attention with Luong's score (Raffel et al., 2017, arXiv:1704.00784); TF1's `LuongMonotonicAttention`.

        score = query . keys + r        the product times g if scale        [B, M]
        score = score + sigmoid_noise * normal noise                        in a run with a key
        p = sigmoid(score)              score > 0 in mode "hard"
        alignments = monotonic_attention(p, the last step's alignments, mode)

    Attributes:
      num_units, memory_size, scale, score_mask_value: as of `LuongAttention`.
      sigmoid_noise: deviation of the noise, which makes p near 0 or 1 in training. It is drawn with the step's key, and not
        without one; TF1 draws at every step, in evaluation too.
      score_bias_init: what the bias r starts from.
      mode: of `monotonic_attention`; "hard" has no gradient through p.

    Params: those of `LuongAttention`; `attention_score_bias` r `[]` (score_bias_init).

    Raises:
      ValueError: if a size is below 1, sigmoid_noise is negative, or mode is unknown.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.seq2seq.LuongMonotonicAttention(num_units=5, memory_size=7, mode="hard").mode
      'hard'
    """

    num_units: int
    memory_size: int
    scale: bool = False
    score_mask_value: float | None = None
    sigmoid_noise: float = 0.0
    score_bias_init: float = 0.0
    mode: str = "parallel"


@dataclasses.dataclass(frozen=True)
class BahdanauMonotonicAttention(Monotonic, BahdanauScore):
    """Monotonic attention with Bahdanau's score (Raffel et al., 2017, arXiv:1704.00784); TF1's `BahdanauMonotonicAttention`.

        score = v . tanh(keys + query W_q) + r        normalised as in `BahdanauAttention` if normalize

    and then as in `LuongMonotonicAttention`.

    Attributes:
      num_units, memory_size, normalize, score_mask_value: as of `BahdanauAttention`.
      sigmoid_noise, score_bias_init, mode: as of `LuongMonotonicAttention`.

    Params: those of `BahdanauAttention`; `attention_score_bias` r `[]` (score_bias_init).

    Raises:
      ValueError: if a size is below 1, sigmoid_noise is negative, or mode is unknown.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.seq2seq.BahdanauMonotonicAttention(num_units=5, memory_size=7, score_bias_init=-1.0).mode
      'parallel'
    """

    num_units: int
    memory_size: int
    normalize: bool = False
    score_mask_value: float | None = None
    sigmoid_noise: float = 0.0
    score_bias_init: float = 0.0
    mode: str = "parallel"
