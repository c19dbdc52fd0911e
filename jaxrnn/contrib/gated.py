"""Cells of one or two gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split


@dataclasses.dataclass(frozen=True)
class UGRNNCell(RNNCell):
    """The update gate recurrent network (Collins et al., 2017, arXiv:1611.09913); TF1's `tf.contrib.rnn.UGRNNCell`.

        g, c = x W + h U + b          in blocks of H columns, in this order
        h' = sigmoid(g) h + (1 - sigmoid(g)) act(c)        output = h'

    Attributes:
      num_units: H.
      forget_bias: what the gate's bias starts from. TF1 adds it in every step instead.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 2H]` (Glorot uniform), `recurrent_kernel` U `[H, 2H]` (orthogonal gate by gate), `bias` b `[2H]`
    (zeros, forget_bias in its g part). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.UGRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    forget_bias: float = 1.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.finite(self, forget_bias=self.forget_bias)
        check.functions(self, activation=self.activation)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2 = split(key, 2)
        h = self.num_units
        return {
            "kernel": glorot(k1, (input_size, 2 * h), dtype),
            "recurrent_kernel": recurrent(k2, h, 2, dtype),
            "bias": jnp.zeros(2 * h, dtype).at[:h].set(self.forget_bias),
        }

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        return z + jnp.broadcast_to(params["bias"], z.shape)

    def recur(self, params, state):
        return state @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        return activate(z + r, sigmoid, resolve(self.activation))

    def combine(self, params, g, state):
        g, c = g
        h = c + g * (state - c)
        return h, h
