"""The cell that a search has found."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMStateTuple


@dataclasses.dataclass(frozen=True)
class NASCell(RNNCell):
    """The recurrent cell of neural architecture search (Zoph and Le, 2017, arXiv:1611.01578); TF1's `tf.contrib.rnn.NASCell`.

        u_0, u_2, u_5, u_7, u_4, u_6, u_1 = x W + h U + b          in blocks of H columns, in this order
        u_3 = (x W_3) (h U_3 + b_3)                                the last block
        l_0, l_2, l_5, l_7 = sigmoid(u_0, u_2, u_5, u_7)
        l_4, l_6 = tanh(u_4, u_6)
        l_1, l_3 = relu(u_1, u_3)
        c' = tanh(tanh(l_0 l_1) + c) tanh(l_2 + l_3)
        h' = tanh(c' tanh(tanh(l_4 l_5) + sigmoid(l_6 + l_7)))
        h' = h' V
        output = h'

    The numbers are TF1's, whose blocks are in the order of their numbers.

    Attributes:
      num_units: H.
      num_proj: P, the size of the projected output; None is no projection, P = H.
      use_bias: whether there is a b.

    Params: `kernel` W `[D, 8H]` (Glorot uniform), `recurrent_kernel` U `[P, 8H]` (orthogonal gate by gate); with use_bias
    `bias` b `[8H]` (zeros); with num_proj `projection_kernel` V `[H, P]` (Glorot uniform).
    State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.NASCell(num_units=5, num_proj=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 2), (4, 5))
    """

    num_units: int
    num_proj: int | None = None
    use_bias: bool = False

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_proj=self.num_proj)
        check.flags(self, use_bias=self.use_bias)

    @property
    def state_size(self) -> LSTMStateTuple:
        return LSTMStateTuple(self.num_units, self.output_size)

    @property
    def output_size(self) -> int:
        return self.num_proj or self.num_units

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2, k3 = split(key, 3)
        h, p = self.num_units, self.output_size
        params = {
            "kernel": glorot(k1, (input_size, 8 * h), dtype),
            "recurrent_kernel": recurrent(k2, h, 8, dtype, state_size=p),
        }
        if self.use_bias:
            params["bias"] = jnp.zeros(8 * h, dtype)
        if self.num_proj:
            params["projection_kernel"] = glorot(k3, (h, p), dtype)
        return params

    def project(self, params, inputs):
        return self._split(inputs @ params["kernel"], 7, 1)

    def recur(self, params, state):
        r = state.h @ params["recurrent_kernel"]
        if self.use_bias:
            r = r + jnp.broadcast_to(params["bias"], r.shape)
        return self._split(r, 7, 1)

    def gates(self, params, z, r, state):
        # To keep the factors of u_3, and to have all that is made of the l's in `combine`, keeps 9 arrays in place of 15.
        (z, z_3), (r, r_3) = z, r
        u, u_1 = self._split(z + r, 6, 1)
        return *activate(u, sigmoid, sigmoid, sigmoid, sigmoid, tanh, tanh), u_1, z_3, r_3

    def combine(self, params, g, state):
        l_0, l_2, l_5, l_7, l_4, l_6, u_1, z_3, r_3 = g
        l_1, l_3 = jax.nn.relu(u_1), jax.nn.relu(z_3 * r_3)
        c = tanh(tanh(l_0 * l_1) + state.c) * tanh(l_2 + l_3)
        h = tanh(c * tanh(tanh(l_4 * l_5) + sigmoid(l_6 + l_7)))
        if self.num_proj:
            h = h @ params["projection_kernel"]
        return h, LSTMStateTuple(c, h)

    def _split(self, block: jax.Array, *gates: int) -> Any:
        return lax.split(block, [n * self.num_units for n in gates], axis=block.ndim - 1)
