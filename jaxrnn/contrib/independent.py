"""Cells whose units see the state of no other unit: the recurrence is elementwise."""

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
from jaxrnn.cells.initializers import glorot, one_program, split
from jaxrnn.cells.linear import LinearCell
from jaxrnn.cells.lstm import LSTMStateTuple


@dataclasses.dataclass(frozen=True)
class SRUCell(LinearCell):
    """The simple recurrent unit (Lei et al., 2017, arXiv:1709.02755); TF1's `tf.contrib.rnn.SRUCell`.

        n, f, r, s = x W            in blocks of H columns, in this order
        f, r = sigmoid(f + b_f), sigmoid(r + b_r)
        c' = f c + (1 - f) n
        output = r act(c') + (1 - r) s

    The gates depend on the inputs alone, and c' is linear in c. The highway term s has a matrix of its own, so that D need not
    be H.

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 4H]` (Glorot uniform), `bias` b `[2H]` (zeros), b_f and b_r. State: c `[B, H]`. Output: `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.SRUCell(num_units=5)
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
        h = self.num_units
        return {"kernel": glorot(key, (input_size, 4 * h), dtype), "bias": jnp.zeros(2 * h, dtype)}

    def project(self, params, inputs):
        h = self.num_units
        n, f_r, s = lax.split(inputs @ params["kernel"], (h, 2 * h, h), axis=1)
        f, r = activate(f_r + jnp.broadcast_to(params["bias"], f_r.shape), sigmoid, sigmoid)
        return n, f, r, s

    def coefficients(self, params, z):
        n, f, *_ = z
        return f, (1 - f) * n

    def readout(self, params, z, state):
        *_, r, s = z
        return r * resolve(self.activation)(state) + (1 - r) * s


@dataclasses.dataclass(frozen=True)
class IndRNNCell(RNNCell):
    """The independently recurrent network (Li et al., 2018, arXiv:1803.04831); TF1's `tf.contrib.rnn.IndRNNCell`.

        h' = act(x W + u h + b)        output = h'

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, H]` (Glorot uniform), `recurrent_kernel` u `[H]` (uniform within 1), `bias` b `[H]` (zeros). State
    and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.IndRNNCell(num_units=5, activation=jax.nn.relu)
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
        return _init(key, input_size, self.num_units, 1, dtype)

    def project(self, params, inputs):
        return _project(params, inputs)

    def recur(self, params, state):
        return _recur(params, state)

    def gates(self, params, z, r, state):
        return resolve(self.activation)(z + r)

    def combine(self, params, g, state):
        return g, g


@dataclasses.dataclass(frozen=True)
class IndyGRUCell(RNNCell):
    """The GRU with an elementwise recurrence (after Li et al., 2018, arXiv:1803.04831); TF1's `tf.contrib.rnn.IndyGRUCell`.

        r, u = sigmoid(x W_ru + u_ru h + b_ru)          in blocks of H columns, in this order
        n = act(x W_n + u_n (r h) + b_n)
        h' = u h + (1 - u) n        output = h'

    Attributes:
      num_units: H.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 3H]` (Glorot uniform), `recurrent_kernel` u `[3H]` (uniform within 1), `bias` b `[3H]` (ones for r
    and u, zeros for n), all in the order r, u, n. State and output: h `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.IndyGRUCell(num_units=5)
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
        params = _init(key, input_size, self.num_units, 3, dtype)
        return {**params, "bias": params["bias"].at[: 2 * self.num_units].set(1)}

    def project(self, params, inputs):
        return self._split(_project(params, inputs))

    def recur(self, params, state):
        return self._split(_recur(params, state))

    def gates(self, params, z, r, state):
        reset, u = activate(z[0] + r[0], sigmoid, sigmoid)
        return u, resolve(self.activation)(z[1] + reset * r[1])  # u_n (r h) is r (u_n h)

    def combine(self, params, g, state):
        u, n = g
        h = u * state + (1 - u) * n
        return h, h

    def _split(self, block):
        return lax.split(block, (2 * self.num_units, self.num_units), axis=1)


@dataclasses.dataclass(frozen=True)
class IndyLSTMCell(RNNCell):
    """The LSTM with an elementwise recurrence (Gonnet and Deselaers, 2019, arXiv:1903.08023); TF1's
    `tf.contrib.rnn.IndyLSTMCell`.

        i, f, g, o = x W + u h + b          in blocks of H columns, in this order
        c' = sigmoid(f) c + sigmoid(i) act(g)
        h' = sigmoid(o) act(c')        output = h'

    Attributes:
      num_units: H.
      forget_bias: what the forget gate's bias starts from. TF1 adds it in every step instead.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 4H]` (Glorot uniform), `recurrent_kernel` u `[4H]` (uniform within 1), `bias` b `[4H]` (zeros,
    forget_bias in its f part). State: `LSTMStateTuple(c, h)`, each `[B, H]`. Output: h' `[B, H]`.

    Raises:
      ValueError: if num_units is below 1, or forget_bias is not finite.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.IndyLSTMCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 5), (4, 5))
    """

    num_units: int
    forget_bias: float = 1.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        _check(self)
        check.finite(self, forget_bias=self.forget_bias)

    state_size = property(lambda self: LSTMStateTuple(self.num_units, self.num_units))
    output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        h, params = self.num_units, _init(key, input_size, self.num_units, 4, dtype)
        return {**params, "bias": params["bias"].at[h : 2 * h].set(self.forget_bias)}

    def project(self, params, inputs):
        return _project(params, inputs)

    def recur(self, params, state):
        return _recur(params, state.h)

    def gates(self, params, z, r, state):
        return activate(z + r, sigmoid, sigmoid, resolve(self.activation), sigmoid)

    def combine(self, params, g, state):
        i, f, g, o = g
        c = f * state.c + i * g
        h = o * resolve(self.activation)(c)
        return h, LSTMStateTuple(c, h)


def _check(cell) -> None:
    check.at_least_one(cell, num_units=cell.num_units)
    check.functions(cell, activation=cell.activation)


def _init(key: jax.Array, input_size: int, units: int, gates: int, dtype: DTypeLike) -> dict[str, jax.Array]:
    k1, k2 = split(key, 2)
    columns = gates * units
    return {
        "kernel": glorot(k1, (input_size, columns), dtype),
        "recurrent_kernel": jax.random.uniform(k2, (columns,), dtype, -1, 1),
        "bias": jnp.zeros(columns, dtype),
    }


def _project(params, inputs):
    z = inputs @ params["kernel"]
    return z + jnp.broadcast_to(params["bias"], z.shape)


def _recur(params, h):
    """u h for every gate, side by side."""
    u = params["recurrent_kernel"]
    copies = jnp.concatenate([h] * (u.shape[0] // h.shape[1]), axis=1)  # a jnp.tile takes 1.2 times a training step on a CPU
    return jnp.broadcast_to(u, copies.shape) * copies
