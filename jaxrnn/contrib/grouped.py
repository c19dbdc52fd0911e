"""The LSTM in groups of units."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMStateTuple


@dataclasses.dataclass(frozen=True)
class GLSTMCell(RNNCell):
    """The group LSTM (Kuchaiev and Ginsburg, 2017, arXiv:1703.10722), G small ones side by side with fewer weights than a large
    one; TF1's `tf.contrib.rnn.GLSTMCell`.

    Inputs, cell and output are cut into G equal parts, and group k has the k-th of each:

        i, f, g, o = x_k W_k + h_k U_k + b_k          in blocks of H/G columns, in this order
        c_k' = sigmoid(f) c_k + sigmoid(i) tanh(g)
        m_k = sigmoid(o) act(c_k')
        h' = [m_1; ...; m_G] V          output = h'

    Attributes:
      num_units: H, a multiple of G.
      num_proj: P, the size of the projected output, a multiple of G; None is no projection, P = H and h' = [m_1; ...; m_G].
      number_of_groups: G.
      forget_bias: what the forget gates' biases start from. TF1 adds it in every step instead.
      activation: act, elementwise; None is tanh. The candidate's is tanh always, as in TF1.

    Params: `kernel` W `[G, D/G, 4H/G]` (Glorot uniform), `recurrent_kernel` U `[G, P/G, 4H/G]` (orthogonal gate by gate),
    `bias` b `[G, 4H/G]` (zeros, forget_bias in the f parts); with num_proj `projection_kernel` V `[H, P]` (Glorot uniform).
    State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1 or no multiple of G; when run, if D is none.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.GLSTMCell(num_units=6, number_of_groups=2)
      >>> params = cell.init(jax.random.key(0), input_size=4)
      >>> output, state = cell(params, jax.numpy.ones((3, 4)), cell.initial_state(3))
      >>> output.shape, params["kernel"].shape
      ((3, 6), (2, 2, 12))
    """

    num_units: int
    num_proj: int | None = None
    number_of_groups: int = 1
    forget_bias: float = 1.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        sizes = {"num_units": self.num_units, "num_proj": self.num_proj}
        check.at_least_one(self, **sizes, number_of_groups=self.number_of_groups)
        check.in_groups(self, **sizes)
        check.finite(self, forget_bias=self.forget_bias)
        check.functions(self, activation=self.activation)

    state_size = property(lambda self: LSTMStateTuple(self.num_units, self.output_size))
    output_size = property(lambda self: self.num_proj or self.num_units)

    @property
    def input_multiple(self) -> int:
        """What D is a multiple of."""
        return self.number_of_groups

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        check.in_groups(self, input_size=input_size)
        groups = self.number_of_groups
        d, h, p = (size // groups for size in (input_size, self.num_units, self.output_size))
        k1, k2, k3 = split(key, 3)
        params = {
            "kernel": jax.vmap(lambda key: glorot(key, (d, 4 * h), dtype))(split(k1, groups)),
            "recurrent_kernel": jax.vmap(lambda key: recurrent(key, h, 4, dtype, state_size=p))(split(k2, groups)),
            "bias": jnp.zeros((groups, 4 * h), dtype).at[:, h : 2 * h].set(self.forget_bias),
        }
        if self.num_proj:
            params["projection_kernel"] = glorot(k3, (self.num_units, self.num_proj), dtype)
        return params

    def check_inputs(self, inputs):
        size = check.features(self, inputs)
        check.in_groups(self, input_size=size)
        return size

    def project(self, params, inputs):
        z = self._products(inputs, params["kernel"])
        return z + jnp.broadcast_to(params["bias"], z.shape)

    def recur(self, params, state):
        return self._products(state.h, params["recurrent_kernel"])

    def gates(self, params, z, r, state):
        whole = lambda gate: gate.reshape(gate.shape[0], self.num_units)
        return tuple(map(whole, activate(z + r, sigmoid, sigmoid, tanh, sigmoid)))

    def combine(self, params, g, state):
        i, f, g, o = g
        c = f * state.c + i * g
        h = o * resolve(self.activation)(c)
        if self.num_proj:
            h = h @ params["projection_kernel"]
        return h, LSTMStateTuple(c, h)

    def _products(self, x, kernels):
        """Each group's part of x `[B, G S]` with its kernel `[S, 4H/G]`: `[B, G, 4H/G]`."""
        parts = x.reshape(x.shape[0], *kernels.shape[:2])
        return jnp.einsum("bgs,gsh->bgh", parts, kernels)
