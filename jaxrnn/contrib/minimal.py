"""Cells whose candidate is made of the inputs alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split


@dataclasses.dataclass(frozen=True)
class MinimalRNNCell(RNNCell):
    """The minimal recurrent network (Chen et al., 2018, arXiv:1806.05394); TF1's `MinimalRNNCell`, which `tf.contrib.rnn` does
    not export.

        n = act(x W)
        u = sigmoid(n V + h U + b)
        h' = u h + (1 - u) n        output = h'

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, H]` and `gate_kernel` V `[H, H]` (Glorot uniform), `recurrent_kernel` U `[H, H]` (orthogonal),
    `bias` b `[H]` (ones: a unit starts by remembering). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.MinimalRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    activation: Callable | None = None

    only_products = False  # of z: LayerNormWrapper is not for it

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.functions(self, activation=self.activation)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2, k3 = split(key, 3)
        h = self.num_units
        return {
            "kernel": glorot(k1, (input_size, h), dtype),
            "gate_kernel": glorot(k2, (h, h), dtype),
            "recurrent_kernel": recurrent(k3, h, 1, dtype),
            "bias": jnp.ones(h, dtype),
        }

    def project(self, params, inputs):
        n = resolve(self.activation)(inputs @ params["kernel"])
        u = n @ params["gate_kernel"]
        return u + jnp.broadcast_to(params["bias"], u.shape), n

    def recur(self, params, state):
        return state @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        u, n = z
        return sigmoid(u + r), n

    def combine(self, params, g, state):
        u, n = g
        h = n + u * (state - n)
        return h, h


@dataclasses.dataclass(frozen=True)
class CFNCell(RNNCell):
    """The chaos free network (Laurent and von Brecht, 2017, arXiv:1612.06212); TF1's `CFNCell`, which `tf.contrib.rnn` does not
    export.

        f, i, n = x W + h U + b         in blocks of H columns, in this order; U and b have no block of n
        h' = sigmoid(f) act(h) + (1 - sigmoid(i)) act(n)        output = h'

    The input gate is 1 - sigmoid(i), as in TF1, where the paper has sigmoid(i).

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 3H]` (Glorot uniform), `recurrent_kernel` U `[H, 2H]` (orthogonal gate by gate), `bias` b `[2H]`
    (ones: a unit starts by remembering). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.CFNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    activation: Callable | None = None

    only_products = False  # of z: LayerNormWrapper is not for it

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.functions(self, activation=self.activation)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2 = split(key, 2)
        h = self.num_units
        return {
            "kernel": glorot(k1, (input_size, 3 * h), dtype),
            "recurrent_kernel": recurrent(k2, h, 2, dtype),
            "bias": jnp.ones(2 * h, dtype),
        }

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        gates, n = lax.split(z, (2 * self.num_units, self.num_units), axis=z.ndim - 1)
        return gates + jnp.broadcast_to(params["bias"], gates.shape), resolve(self.activation)(n)

    def recur(self, params, state):
        return state @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        gates, n = z
        return *activate(gates + r, sigmoid, sigmoid), n

    def combine(self, params, g, state):
        f, i, n = g
        h = f * resolve(self.activation)(state) + (1 - i) * n
        return h, h
