"""The GRU and the LSTM without the state in their gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import resolve, sigmoid
from jaxrnn.cells.initializers import glorot, one_program
from jaxrnn.cells.linear import LinearCell


@dataclasses.dataclass(frozen=True)
class MinGRUCell(LinearCell):
    """The minimal GRU (Feng et al., 2024, "Were RNNs all we needed?", arXiv:2410.01201).

        u, n = x W + b                  in blocks of H columns, in this order
        u, n = sigmoid(u), act(n)
        h' = (1 - u) h + u n            output = h'

    Attributes:
      num_units: H.
      activation: act, elementwise; None is none, n = x W_n + b_n. The paper's form in log space has `jaxrnn.linear.positive`.

    Params: `kernel` W `[D, 2H]` (Glorot uniform), `bias` b `[2H]` (zeros). State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.MinGRUCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    activation: Callable | None = None

    def __post_init__(self) -> None:
        _check(self)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        return _init(key, input_size, 2 * self.num_units, dtype)

    def project(self, params, inputs):
        u, n = _blocks(params, inputs, 2)
        return sigmoid(u), _act(self, n)

    def coefficients(self, params, z):
        u, n = z
        return 1 - u, u * n


@dataclasses.dataclass(frozen=True)
class MinLSTMCell(LinearCell):
    """The minimal LSTM (Feng et al., 2024, "Were RNNs all we needed?", arXiv:2410.01201).

        f, i, n = x W + b               in blocks of H columns, in this order
        f, i, n = sigmoid(f), sigmoid(i), act(n)
        h' = f / (f + i) h + i / (f + i) n        output = h'

    Attributes:
      num_units: H.
      forget_bias: what the forget gate's bias starts from.
      activation: act, elementwise; None is none, n = x W_n + b_n. The paper's form in log space has `jaxrnn.linear.positive`.

    Params: `kernel` W `[D, 3H]` (Glorot uniform), `bias` b `[3H]` (zeros, forget_bias in its f part). State and output: h
    `[B, H]`.

    Raises:
      ValueError: if num_units is below 1, or forget_bias is not finite.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.MinLSTMCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 5)
    """

    num_units: int
    forget_bias: float = 0.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        _check(self)
        check.finite(self, forget_bias=self.forget_bias)

    state_size = output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        params = _init(key, input_size, 3 * self.num_units, dtype)
        return {**params, "bias": params["bias"].at[: self.num_units].set(self.forget_bias)}

    def project(self, params, inputs):
        f, i, n = _blocks(params, inputs, 3)
        f, i = sigmoid(f), sigmoid(i)
        return f / jnp.maximum(f + i, jnp.finfo(f.dtype).tiny), _act(self, n)

    def coefficients(self, params, z):
        f, n = z
        return f, (1 - f) * n


def positive(a: jax.Array) -> jax.Array:
    """a + 1/2 where a is not negative, else sigmoid(a): the activation g of Feng et al. (2024), appendix B.

    With it, and a start that is not negative, the states stay positive, as the paper's computation in log space asks for. The
    recurrence here asks for nothing.

    Args:
      a: an array of any shape.

    Returns:
      An array of that shape, above zero.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.linear.MinGRUCell(5, activation=jaxrnn.linear.positive)
      >>> float(jaxrnn.linear.positive(jnp.array(2.0)))
      2.5
    """
    return jnp.where(a >= 0, a + 0.5, sigmoid(a))


def _check(cell) -> None:
    check.at_least_one(cell, num_units=cell.num_units)
    check.functions(cell, activation=cell.activation)


def _init(key: jax.Array, input_size: int, columns: int, dtype: DTypeLike) -> dict[str, jax.Array]:
    return {"kernel": glorot(key, (input_size, columns), dtype), "bias": jnp.zeros(columns, dtype)}


def _blocks(params, inputs, count):
    z = inputs @ params["kernel"]
    z = z + jnp.broadcast_to(params["bias"], z.shape)
    return lax.split(z, (z.shape[1] // count,) * count, axis=1)


def _act(cell, n):
    return n if cell.activation is None else resolve(cell.activation)(n)
