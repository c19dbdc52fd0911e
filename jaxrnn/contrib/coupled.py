"""An LSTM with one gate for what it forgets and what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import diagonal, glorot, one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMStateTuple, finish, identity, through_diagonal
from jaxrnn.contrib.layer_norm import normalize, scale_and_shift
from jaxrnn.contrib.normalized import normalized_cell, start_of_norms


@dataclasses.dataclass(frozen=True)
class CoupledInputForgetGateLSTMCell(RNNCell):
    """An LSTM whose input gate is one less its forget gate (Greff et al., 2015, arXiv:1503.04069); TF1's
    `tf.contrib.rnn.CoupledInputForgetGateLSTMCell`.

        f, g, o = x W + h U + b             in blocks of H columns, in this order
        f, g, o = LN(x W + h U)             with layer_norm, each block by itself
        f = sigmoid(f + p_f c)
        c' = f c + (1 - f) act(g)
        c' = LN(c')                         with layer_norm
        h' = sigmoid(o + p_o c') act(c')
        h' = clip(h' V)                     to [-proj_clip, proj_clip]
        output = h'

    LN is `LayerNormLSTMCell`'s.

    Attributes:
      num_units: H.
      use_peepholes: whether the gates see the cell through p_f, p_o; else these are zero.
      num_proj: P, the size of the projected output; None is no projection, P = H.
      proj_clip: bound of the projected output, only with num_proj; None is no bound.
      forget_bias: what the f part of the bias, or of beta, starts from. TF1 adds it in every step instead.
      activation: act, elementwise; None is tanh.
      layer_norm: whether gates and cell are normalised.
      norm_gain: what each gamma starts from.
      norm_shift: what each beta starts from.

    Params: `kernel` W `[D, 3H]` (Glorot uniform), `recurrent_kernel` U `[P, 3H]` (orthogonal gate by gate), `bias` b `[3H]`
    (zeros, forget_bias in its f part), or with layer_norm `gamma`, `beta` `[3H]`, and `state_gamma`, `state_beta` `[H]` of c';
    with use_peepholes `w_f_diag`, `w_o_diag` `[H]` (uniform within sqrt(3/H)); with num_proj `projection_kernel` V `[H, P]`
    (Glorot uniform). State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1, proj_clip is not above 0, or it comes without num_proj.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.CoupledInputForgetGateLSTMCell(num_units=5, num_proj=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 2), (4, 5))
    """

    num_units: int
    use_peepholes: bool = False
    num_proj: int | None = None
    proj_clip: float | None = None
    forget_bias: float = 1.0
    activation: Callable | None = None
    layer_norm: bool = False
    norm_gain: float = 1.0
    norm_shift: float = 0.0
    cell_clip = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_proj=self.num_proj)
        check.positive(self, proj_clip=self.proj_clip)
        check.finite(self, forget_bias=self.forget_bias, norm_gain=self.norm_gain, norm_shift=self.norm_shift)
        check.flags(self, use_peepholes=self.use_peepholes, layer_norm=self.layer_norm)
        check.functions(self, activation=self.activation)
        check.goes_with(self, "num_proj", proj_clip=self.proj_clip)

    @property
    def state_size(self) -> LSTMStateTuple:
        return LSTMStateTuple(self.num_units, self.output_size)

    @property
    def output_size(self) -> int:
        return self.num_proj or self.num_units

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        h, p = self.num_units, self.output_size
        keys = split(key, 5)
        bias = jnp.zeros(3 * h, dtype).at[:h].set(self.forget_bias)
        params = {
            "kernel": glorot(keys[0], (input_size, 3 * h), dtype),
            "recurrent_kernel": recurrent(keys[1], h, 3, dtype, state_size=p),
            **(start_of_norms(self, bias, dtype) if self.layer_norm else {"bias": bias}),
        }
        if self.use_peepholes:
            params["w_f_diag"], params["w_o_diag"] = diagonal(keys[2], h, dtype), diagonal(keys[3], h, dtype)
        if self.num_proj:
            params["projection_kernel"] = glorot(keys[4], (h, p), dtype)
        return params

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        return z if self.layer_norm else z + jnp.broadcast_to(params["bias"], z.shape)

    def recur(self, params, state):
        return state.h @ params["recurrent_kernel"]

    def gates(self, params, z, r, state):
        if self.layer_norm:
            return normalize(z + r, self.num_units)
        return self._activated(params, z + r, state)

    def combine(self, params, g, state):
        if self.layer_norm:
            g = self._activated(params, scale_and_shift(g, params["gamma"], params["beta"]), state)
        f, g, o = g
        c = g + f * (state.c - g)
        if self.layer_norm:
            c = normalized_cell(params, c)
        return finish(self, params, c, o)

    def _activated(self, params, a, state):
        act = resolve(self.activation)
        # With peepholes the output gate waits for the new cell.
        if not self.use_peepholes:
            return activate(a, sigmoid, act, sigmoid)
        none = jnp.zeros_like(state.c)
        a = a + jnp.concatenate([through_diagonal(params["w_f_diag"], state.c), none, none], -1)
        return activate(a, sigmoid, act, identity)
