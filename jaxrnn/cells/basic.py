"""The simple recurrent network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import resolve
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split


@dataclasses.dataclass(frozen=True)
class BasicRNNCell(RNNCell):
    """The simple recurrent network of Elman ("Finding structure in time", 1990); TF1's `BasicRNNCell`.

        h' = act(x W + h U + b)        output = h'

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, H]` (Glorot uniform), `recurrent_kernel` U `[H, H]` (orthogonal; Saxe et al., 2013),
    `bias` b `[H]` (zeros). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.BasicRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
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
        return {
            "kernel": glorot(k1, (input_size, self.num_units), dtype),
            "recurrent_kernel": recurrent(k2, self.num_units, 1, dtype),
            "bias": jnp.zeros(self.num_units, dtype),
        }

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        return z + jnp.broadcast_to(params["bias"], z.shape)

    def recur(self, params, state):
        return state @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        return resolve(self.activation)(z + r)

    def combine(self, params, g, state):
        return g, g
