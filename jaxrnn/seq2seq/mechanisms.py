"""Attention over a memory: how well a query fits each position, and weights of the positions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.cells.initializers import diagonal, glorot, split
from jaxrnn.engine.masking import select_rows
from jaxrnn.keys import StepKey, as_step_key

Memory = dict[str, Any]  # keys [B, M, U], values [B, M, Dm], mask: booleans [B, M], or None without lengths


# What a step's attention keeps for the backward pass are the score and its query. What lies between, Bahdanau's tanh above all,
# which is as large as the keys, is computed again. (In a loop nothing can be merged with the forward pass.)
_again = functools.partial(jax.checkpoint, prevent_cse=False)


def hardmax(logits: jax.Array) -> jax.Array:
    """One-hot vectors of the largest entry along the last axis, of the first one among equals; TF1's `hardmax`.

    Args:
      logits: `[..., M]`.

    Returns:
      `[..., M]`, of the dtype of logits. It has no gradient.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> jaxrnn.seq2seq.hardmax(jnp.array([0.5, 2.0, 1.0])).tolist()
      [0.0, 1.0, 0.0]
    """
    logits = jnp.asarray(logits)
    return jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=logits.dtype)


class AttentionMechanism:
    """What `AttentionWrapper` asks of a mechanism; TF1's `AttentionMechanism`.

        values = memory, zeros past its length                  [B, M, Dm]
        keys   = values W_m                                     [B, M, U]
        keys, values = custom_key_value_fn(keys, values)        if given
        score  = score(keys, query)                             [B, M], masked past the length
        alignments = next state = probabilities(score, state)   [B, M]

    A mechanism of another kind is a frozen dataclass that overrides `init`, `score` and, if need be, the others.
    """

    num_units: int
    memory_size: int
    score_mask_value: float | None = None
    custom_key_value_fn: Callable | None = None
    probability_fn: Callable | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, memory_size=self.memory_size)
        check.functions(self, custom_key_value_fn=self.custom_key_value_fn, probability_fn=self.probability_fn)
        check.mask_value(self, score_mask_value=self.score_mask_value)

    @property
    def value_size(self) -> int:
        """The size of the values, and so of the context."""
        if self.custom_key_value_fn is None:
            return self.memory_size
        shape = lambda size: jax.ShapeDtypeStruct((1, 1, size), jnp.float32)
        return jax.eval_shape(self.custom_key_value_fn, shape(self.num_units), shape(self.memory_size))[1].shape[2]

    def init(self, key: jax.Array, query_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        """Params for queries `[B, query_size]`."""
        return {"memory_kernel": glorot(key, (self.memory_size, self.num_units), dtype)}

    def prepare(self, params: dict[str, jax.Array], memory: jax.Array, lengths: ArrayLike | None = None) -> Memory:
        """Keys, values and mask of a memory `[B, M, Dm]` with lengths `[B]`. What it holds past a length changes nothing."""
        memory, lengths = check.attention_memory(self, params, memory, lengths)
        mask, values = None, memory
        if lengths is not None:
            mask = jnp.arange(memory.shape[1], dtype=lengths.dtype)[None] < lengths[:, None]
            values = select_rows(mask, memory, jnp.zeros_like(memory))  # TF1 multiplies, and 0 * NaN is NaN
        keys = values @ params["memory_kernel"]
        if self.custom_key_value_fn is not None:
            keys, values = check.keys_and_values(self, self.custom_key_value_fn(keys, values), keys)
        return {"keys": keys, "values": values, "mask": mask}

    def initial_alignments(self, memory: Memory, dtype: DTypeLike) -> jax.Array:
        """What the first step has as the last step's alignments, `[B, M]`: zeros."""
        return jnp.zeros(memory["keys"].shape[:2], dtype)

    def score(self, params: dict[str, jax.Array], keys: jax.Array, query: jax.Array) -> jax.Array:
        """How well a query `[B, Q]` fits each key, `[B, M]`."""
        raise NotImplementedError

    def probabilities(self, score: jax.Array, previous: jax.Array, key: StepKey | None) -> jax.Array:
        """Alignments from the scores, and from the last step's alignments, all `[B, M]`."""
        return (self.probability_fn or jax.nn.softmax)(score)

    def __call__(
        self, params: dict[str, jax.Array], memory: Memory, query: jax.Array, state: Any, *, key: StepKey | None = None
    ) -> tuple[jax.Array, Any]:
        """`(alignments [B, M], next state)` of a query `[B, Q]`. A row without memory has alignments of zeros."""
        score = self.score(params, memory["keys"], query)
        alignments = _again(self._masked)(score, memory["mask"], state, as_step_key(key))
        return alignments, alignments

    def _masked(self, score, mask, previous, key):
        if mask is None:
            return self.probabilities(score, previous, key)
        some = jnp.broadcast_to(jnp.any(mask, 1, keepdims=True), mask.shape)
        # Of a row without memory nothing is masked. The softmax of nothing is NaN, at which jax.debug_nans would stop.
        score = jnp.where(mask | ~some, score, -jnp.inf if self.score_mask_value is None else self.score_mask_value)
        alignments = self.probabilities(score, previous, key)
        return jnp.where(some, alignments, jnp.zeros_like(alignments))


class LuongScore(AttentionMechanism):
    """`score = g (query . keys)`, with a weight g if `scale`."""

    scale: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check.flags(self, scale=self.scale)

    def init(self, key, query_size, dtype=jnp.float32):
        check.query_size(self, query_size)
        params = super().init(key, query_size, dtype)
        return {**params, "attention_g": jnp.ones((), dtype)} if self.scale else params

    def score(self, params, keys, query):
        check.query_size(self, query.shape[1])
        score = jnp.einsum("bu,bmu->bm", query, keys)
        return params["attention_g"] * score if self.scale else score


class BahdanauScore(AttentionMechanism):
    """`score = v . tanh(keys + query W_q + b)`, with a v of norm g and a bias b if `normalize`."""

    normalize: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check.flags(self, normalize=self.normalize)

    def init(self, key, query_size, dtype=jnp.float32):
        k1, k2, k3 = split(key, 3)
        params = super().init(k1, query_size, dtype)
        params |= {
            "query_kernel": glorot(k2, (query_size, self.num_units), dtype),
            "attention_v": diagonal(k3, self.num_units, dtype),
        }
        if self.normalize:
            params |= {
                "attention_g": jnp.full((), self.num_units**-0.5, dtype),
                "attention_b": jnp.zeros(self.num_units, dtype),
            }
        return params

    def score(self, params, keys, query):
        v, query = params["attention_v"], query @ params["query_kernel"]
        if self.normalize:
            v = params["attention_g"] * v * lax.rsqrt(jnp.sum(v * v))
            query = query + jnp.broadcast_to(params["attention_b"], query.shape)
        return _additive(keys, query, v)


@_again
def _additive(keys, query, v):
    return jnp.tanh(keys + jnp.broadcast_to(query[:, None], keys.shape)) @ v


@dataclasses.dataclass(frozen=True)
class LuongAttention(LuongScore):
    """Multiplicative attention (Luong et al., 2015, arXiv:1508.04025); TF1's `LuongAttention`.

        score = query . keys            times g if scale          [B, M]
        alignments = softmax(score)

    Attributes:
      num_units: U, the size of the keys, which is the size of the query: of the output of the cell that is wrapped.
      memory_size: Dm. TF1 reads it off the memory; here the weights are made before there is one.
      scale: whether the score is multiplied by a weight.
      probability_fn: of scores `[B, M]`, in place of softmax; `hardmax`, say.
      score_mask_value: the score past a memory's length; None is -inf.
      custom_key_value_fn: `(keys, values) -> (keys, values)`, after the mask: `[B, M, U]`, and values of any size.

    Params: `memory_kernel` `[Dm, U]` (Glorot uniform); `attention_g` `[]` (1) if scale.

    A row without memory (a length of 0) has alignments of zeros and no gradient, where TF1 has an error; NaN in a memory past
    its length changes nothing.

    Raises:
      ValueError: if a size is below 1, or the query is not of size U.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.seq2seq.LuongAttention(num_units=5, memory_size=7, scale=True).value_size
      7
    """

    num_units: int
    memory_size: int
    scale: bool = False
    probability_fn: Callable | None = None
    score_mask_value: float | None = None
    custom_key_value_fn: Callable | None = None


@dataclasses.dataclass(frozen=True)
class BahdanauAttention(BahdanauScore):
    """Additive attention (Bahdanau et al., 2014, arXiv:1409.0473); TF1's `BahdanauAttention`.

        score = v . tanh(keys + query W_q)                              [B, M]
        score = (g v / |v|) . tanh(keys + query W_q + b)                if normalize (Salimans and Kingma, 2016)
        alignments = softmax(score)

    Attributes:
      num_units: U, the size of the keys.
      memory_size: Dm. TF1 reads it off the memory; here the weights are made before there is one.
      normalize: see above.
      probability_fn, score_mask_value, custom_key_value_fn: as of `LuongAttention`.

    Params: `memory_kernel` `[Dm, U]`, `query_kernel` W_q `[Q, U]`, `attention_v` v `[U]` (all Glorot uniform); if normalize,
    `attention_g` g `[]` (sqrt(1 / U)) and `attention_b` b `[U]` (zeros).

    Rows without memory and NaN past a length are as in `LuongAttention`. A step's tanh `[B, M, U]` is computed again in the
    backward pass.

    Raises:
      ValueError: if a size is below 1.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.seq2seq.BahdanauAttention(num_units=5, memory_size=7, normalize=True).value_size
      7
    """

    num_units: int
    memory_size: int
    normalize: bool = False
    probability_fn: Callable | None = None
    score_mask_value: float | None = None
    custom_key_value_fn: Callable | None = None
