"""Cells of one or two gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid, tanh
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


@dataclasses.dataclass(frozen=True)
class IntersectionRNNCell(RNNCell):
    """The intersection recurrent network, +RNN (Collins et al., 2017, arXiv:1611.09913); TF1's
    `tf.contrib.rnn.IntersectionRNNCell`. One gate carries the state over time, the other carries the inputs up the stack.

        x = x W_in + b_in                   with num_in_proj
        g, c, d, y = x W + h U + b          in blocks of H columns, in this order
        h' = sigmoid(g) h + (1 - sigmoid(g)) tanh(c)
        y' = sigmoid(d) x + (1 - sigmoid(d)) act(y)         output = y'

    Attributes:
      num_units: H.
      num_in_proj: H for the first layer of a stack, whose inputs are projected to that size; None reads inputs of size H as
        they are. TF1 ignores the value, and does not project where D = H: None stands for such a cell.
      forget_bias: what the biases of g and d start from. TF1 adds it in every step instead.
      y_activation: act, elementwise; None is relu.

    Params: `kernel` W `[D, 4H]` (Glorot uniform; `[H, 4H]` with num_in_proj), `recurrent_kernel` U `[H, 4H]` (orthogonal gate
    by gate), `bias` b `[4H]` (zeros, forget_bias in its g and d parts); with num_in_proj `in_projection`, `{"kernel": W_in
    [D, H] (Glorot uniform), "bias": b_in [H] (zeros)}`. State: h `[B, H]`. Output: y' `[B, H]`.

    Raises:
      ValueError: if num_units is below 1, or num_in_proj is another number; when run, if D is not H without num_in_proj.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.IntersectionRNNCell(num_units=5, num_in_proj=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.shape
      ((4, 5), (4, 5))
    """

    num_units: int
    num_in_proj: int | None = None
    forget_bias: float = 1.0
    y_activation: Callable | None = None

    only_products = False  # of z: LayerNormWrapper is not for it

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_in_proj=self.num_in_proj)
        check.finite(self, forget_bias=self.forget_bias)
        check.functions(self, y_activation=self.y_activation)
        check.projected_to_units(self)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        k1, k2, k3 = split(key, 3)
        h = self.num_units
        starts = jnp.array([self.forget_bias, 0, self.forget_bias, 0], dtype)
        params: dict[str, Any] = {
            "kernel": glorot(k1, (self.num_in_proj or input_size, 4 * h), dtype),
            "recurrent_kernel": recurrent(k2, h, 4, dtype),
            "bias": jnp.repeat(starts, h),
        }
        if self.num_in_proj:
            params["in_projection"] = {"kernel": glorot(k3, (input_size, h), dtype), "bias": jnp.zeros(h, dtype)}
        return params

    def check_inputs(self, inputs):
        return check.features(self, inputs) if self.num_in_proj else check.features_of_units(self, inputs)

    def project(self, params, inputs):
        x = _affine(params["in_projection"], inputs) if self.num_in_proj else inputs
        return _affine(params, x), x

    def recur(self, params, state):
        return state @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        z, x = z
        gates, y = lax.split(z + r, (3 * self.num_units, self.num_units), axis=1)
        return *activate(gates, sigmoid, tanh, sigmoid), y, x

    def combine(self, params, g, state):
        g, c, d, y, x = g
        y = (self.y_activation or jax.nn.relu)(y)
        return y + d * (x - y), c + g * (state - c)


def _affine(params, inputs):
    outputs = inputs @ params["kernel"]
    return outputs + jnp.broadcast_to(params["bias"], outputs.shape)
