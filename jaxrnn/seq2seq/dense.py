"""A linear layer, for attention and for a decoder's logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cells.initializers import glorot


@dataclasses.dataclass(frozen=True)
class Dense:
    """A linear layer, `act(x W + b)`; TF1's `tf.layers.Dense`, for `attention_layer` and `output_layer`.

    Attributes:
      units: P, the size of its output.
      activation: act, elementwise; None is none.
      use_bias: whether there is a b.

    Params: `kernel` W `[D, P]` (Glorot uniform), `bias` b `[P]` (zeros). Output: `[B, P]`.

    Raises:
      ValueError: if units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.seq2seq.Dense(5, activation=jax.numpy.tanh)
      >>> layer(layer.init(jax.random.key(0), input_size=3), jax.numpy.ones((4, 3))).shape
      (4, 5)
    """

    units: int
    activation: Callable | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        check.at_least_one(self, units=self.units)
        check.functions(self, activation=self.activation)
        check.flags(self, use_bias=self.use_bias)

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        """Params for inputs `[B, input_size]`."""
        check.prng_key(key)
        params = {"kernel": glorot(key, (input_size, self.units), dtype)}
        return {**params, "bias": jnp.zeros(self.units, dtype)} if self.use_bias else params

    def __call__(self, params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        """`[..., D]` -> `[..., P]`."""
        outputs = inputs @ params["kernel"]
        if self.use_bias:
            outputs = outputs + jnp.broadcast_to(params["bias"], outputs.shape)
        return self.activation(outputs) if self.activation else outputs


jax.tree_util.register_static(Dense)
