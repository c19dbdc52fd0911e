"""The real-gated linear recurrent unit of Griffin."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, sigmoid
from jaxrnn.cells.initializers import one_program, split
from jaxrnn.cells.linear import LinearCell

_SHARPNESS = 8.0  # c of the paper


@dataclasses.dataclass(frozen=True)
class RGLRUCell(LinearCell):
    """The real-gated linear recurrent unit (De et al., 2024, "Griffin", arXiv:2402.19427).

        r, i = sigmoid(x W_r + b_r), sigmoid(x W_i + b_i)
        a = exp(-8 softplus(lambda) r)
        h' = a h + sqrt(1 - a^2) (i x)          output = h'

    x has the size of h. W_r and W_i are block-diagonal: each of num_heads heads sees its own part of x.

    Attributes:
      num_units: H, and D.
      num_heads: the number of blocks, a divisor of H; 1 is full matrices.

    Params: `kernel` `[2, num_heads, H / num_heads, H / num_heads]` (normal, variance num_heads / H), W_r and W_i, `bias`
    `[2, H]` (zeros), b_r and b_i, `lambda` `[H]` (a at r = 1 is uniform in [0.9, 0.999]). State and output: h `[B, H]`.

    Raises:
      ValueError: if a number is below 1, or num_heads is no divisor of num_units; when run, if D is not H.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.RGLRUCell(num_units=6, num_heads=2)
      >>> params = cell.init(jax.random.key(0), input_size=6)
      >>> output, state = cell(params, jax.numpy.ones((4, 6)), cell.initial_state(4))
      >>> output.shape
      (4, 6)
    """

    num_units: int
    num_heads: int = 1

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_heads=self.num_heads)
        check.equal_heads(self, self.num_units, self.num_heads)

    state_size = output_size = property(lambda self: self.num_units)

    def check_inputs(self, inputs):
        return check.inputs_of_units(self, check.features(self, inputs))

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        check.inputs_of_units(self, input_size)
        k1, k2 = split(key, 2)
        head = self.num_units // self.num_heads
        at_one = jax.random.uniform(k2, (self.num_units,), dtype, 0.9, 0.999)
        return {
            "kernel": jax.random.normal(k1, (2, self.num_heads, head, head), dtype) / math.sqrt(head),
            "bias": jnp.zeros((2, self.num_units), dtype),
            "lambda": jnp.log(jnp.expm1(-jnp.log(at_one) / _SHARPNESS)),
        }

    def project(self, params, inputs):
        heads = inputs.reshape(inputs.shape[0], self.num_heads, self.num_units // self.num_heads)
        gates = jnp.einsum("bhi,ghij->bghj", heads, params["kernel"]).reshape(-1, 2 * self.num_units)
        r, i = activate(gates + jnp.broadcast_to(params["bias"].reshape(-1), gates.shape), sigmoid, sigmoid)
        log_a = -_SHARPNESS * jnp.broadcast_to(jax.nn.softplus(params["lambda"]), r.shape) * r
        # 1 - a^2 loses all its digits near a = 1, which expm1 has. At a = 1 itself the root has no derivative.
        rest = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), jnp.finfo(r.dtype).tiny))
        return jnp.exp(log_a), rest * i * inputs

    def coefficients(self, params, z):
        return z
