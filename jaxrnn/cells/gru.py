"""The gated recurrent unit, in both of its forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split


@dataclasses.dataclass(frozen=True)
class GRUCell(RNNCell):
    """The gated recurrent unit (Cho et al., 2014).

        r, u = sigmoid(x W_ru + h U_ru + b_ru)          in blocks of H columns, in this order
        n = act(x W_n + b_n + r (h U_n + d))            reset_after=True: cuDNN's, PyTorch's and Keras's form
        n = act(x W_n + b_n + (r h) U_n)                reset_after=False: Cho's form and TF1's `GRUCell`
        h' = u h + (1 - u) n        output = h'

    Attributes:
      num_units: H.
      reset_after: whether the reset gate acts after the recurrent product (one product a step, faster) or before it.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 3H]` (Glorot uniform), `recurrent_kernel` U `[H, 3H]` (orthogonal gate by gate), `bias` b
    `[3H]` (ones for r and u, zeros for n, as in TF1: a unit starts by remembering), all in the order r, u, n; with
    reset_after `recurrent_bias` d `[H]` (zeros). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    reset_after: bool = True
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.flags(self, reset_after=self.reset_after)
        check.functions(self, activation=self.activation)

    @property
    def state_size(self) -> int:
        return self.num_units

    @property
    def output_size(self) -> int:
        return self.num_units

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2 = split(key, 2)
        h = self.num_units
        params = {
            "kernel": glorot(k1, (input_size, 3 * h), dtype),
            "recurrent_kernel": recurrent(k2, h, 3, dtype),
            "bias": jnp.zeros(3 * h, dtype).at[: 2 * h].set(1),
        }
        if self.reset_after:
            params["recurrent_bias"] = jnp.zeros(h, dtype)
        return params

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        return self._split(z + jnp.broadcast_to(params["bias"], z.shape))

    def recur(self, params, state):
        if not self.reset_after:
            return (state @ params["recurrent_kernel"][:, : 2 * self.num_units],)
        r_ru, r_n = self._split(state @ params["recurrent_kernel"])
        return r_ru, r_n + jnp.broadcast_to(params["recurrent_bias"], r_n.shape)

    def gates(self, params, z, r, state):
        z_ru, z_n = z
        reset, u = activate(z_ru + r[0], sigmoid, sigmoid)
        if self.reset_after:
            r_n = reset * r[1]
        else:
            r_n = (reset * state) @ params["recurrent_kernel"][:, 2 * self.num_units :]
        return u, self._act(z_n + r_n)

    def combine(self, params, g, state):
        u, n = g
        h = n + u * (state - n)
        return h, h

    def _split(self, block: jax.Array) -> Any:
        return lax.split(block, (2 * self.num_units, self.num_units), axis=block.ndim - 1)

    @property
    def _act(self) -> Callable:
        return resolve(self.activation)
