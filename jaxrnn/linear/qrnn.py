"""The quasi-recurrent network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cells.initializers import glorot, one_program
from jaxrnn.cells.linear import LinearCell

_POOLINGS = ("f", "fo", "ifo")


@dataclasses.dataclass(frozen=True)
class QRNNCell(LinearCell):
    """The quasi-recurrent network (Bradbury et al., 2017, arXiv:1611.01576).

        n, f, o, i = x W + b            in blocks of H columns, in this order, as many as the pooling has
        n, f, o, i = act(n), sigmoid(f), sigmoid(o), sigmoid(i)
        "f"     c' = f c + (1 - f) n            output = c'
        "fo"    c' = f c + (1 - f) n            output = o c'
        "ifo"   c' = f c + i n                  output = o c'

    The paper's x is a window over the last inputs: `jaxrnn.linear.CausalWindow(QRNNCell(H), 2)`.

    Attributes:
      num_units: H.
      pooling: "f", "fo" or "ifo".
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 2H]`, `[D, 3H]` or `[D, 4H]` (Glorot uniform), `bias` b, as many (zeros). State: c `[B, H]`.
    Output: `[B, H]`.

    Raises:
      ValueError: if num_units is below 1, or there is no such pooling.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.QRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    pooling: Literal["f", "fo", "ifo"] = "fo"
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.one_of(f"{type(self).__name__}: pooling", self.pooling, _POOLINGS)
        check.functions(self, activation=self.activation)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        columns = (1 + len(self.pooling)) * self.num_units
        return {"kernel": glorot(key, (input_size, columns), dtype), "bias": jnp.zeros(columns, dtype)}

    def project(self, params, inputs):
        h, count = self.num_units, len(self.pooling)
        z = inputs @ params["kernel"]
        n, gates = lax.split(z + jnp.broadcast_to(params["bias"], z.shape), (h, count * h), axis=1)
        return resolve(self.activation)(n), *activate(gates, *[sigmoid] * count)

    def coefficients(self, params, z):
        n, f, *_ = z
        return f, (z[3] if self.pooling == "ifo" else 1 - f) * n

    def readout(self, params, z, state):
        return state if self.pooling == "f" else z[2] * state
