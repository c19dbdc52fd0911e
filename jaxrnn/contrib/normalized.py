"""LSTMs whose gates and cell are normalised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.dropout import draw_factors
from jaxrnn.cells.initializers import one_program
from jaxrnn.cells.lstm import LSTMCell, LSTMStateTuple, finish, identity, peepholes
from jaxrnn.contrib.layer_norm import normalize, scale_and_shift


@dataclasses.dataclass(frozen=True)
class LayerNormLSTMCell(LSTMCell):
    """An `LSTMCell` with layer normalisation (Ba et al., 2016, arXiv:1607.06450) of the gates and of the cell; the
    `LayerNormLSTMCell` of TF1's `tensorflow.contrib.rnn.python.ops.rnn_cell`, which `tf.contrib.rnn` does not export.

        i, f, g, o = LN(x W + h U)          each block of H columns by itself
        c' = sigmoid(f + p_f c) c + sigmoid(i + p_i c) act(g)
        c' = clip(LN(c'))                   to [-cell_clip, cell_clip]
        h' = sigmoid(o + p_o c') act(c')
        h' = clip(h' V)                     to [-proj_clip, proj_clip]
        output = h'

        LN(a) = gamma (a - mean(a)) / sqrt(var(a) + 1e-12) + beta          over the H columns of a block

    The state carries the normalised c'. A block without variance (x = 0 and h = 0, say) has gradients times 1e6, as in TF1.
    In float16 it is 1e-3 in place of 1e-12.

    Attributes:
      num_units, use_peepholes, cell_clip, num_proj, proj_clip, activation: as in `LSTMCell`.
      forget_bias: what the f part of beta, or of the bias, starts from, on top of norm_shift. TF1 adds it in every step.
      layer_norm: whether anything is normalised; else it is an `LSTMCell`.
      norm_gain: what each gamma starts from.
      norm_shift: what each beta starts from.

    Params: `LSTMCell`'s; with layer_norm without `bias`, but with `gamma`, `beta` `[4H]` in the order i, f, g, o and
    `state_gamma`, `state_beta` `[H]` of c'. State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1, a clip is not above 0, or proj_clip comes without num_proj.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.LayerNormLSTMCell(num_units=5, num_proj=2, layer_norm=True)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 2), (4, 5))
    """

    layer_norm: bool = False
    norm_gain: float = 1.0
    norm_shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.flags(self, layer_norm=self.layer_norm)
        check.finite(self, norm_gain=self.norm_gain, norm_shift=self.norm_shift)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        params = super().init(key, input_size, dtype)
        if self.layer_norm:
            params.update(start_of_norms(self, params.pop("bias"), dtype))
        return params

    def project(self, params, inputs):
        return inputs @ params["kernel"] if self.layer_norm else super().project(params, inputs)

    def recur(self, params, state):
        return state.h @ params["recurrent_kernel"] if self.layer_norm else super().recur(params, state)

    def gates(self, params, z, r, state):
        # What comes behind the normalisation is cheap, and in `combine` its weights' gradients need no product.
        return normalize(z + r, self.num_units) if self.layer_norm else super().gates(params, z, r, state)

    def combine(self, params, g, state, factors=None):
        """`factors` `[B, H]` of the candidate are dropout's."""
        i, f, g, o = self._activated(params, g, state) if self.layer_norm else g
        c = f * state.c + i * (g if factors is None else g * factors)
        if self.layer_norm:
            c = normalized_cell(params, c)
        return finish(self, params, c, o)

    def _activated(self, params, g, state):
        a = scale_and_shift(g, params["gamma"], params["beta"])
        if self.use_peepholes:
            a = a + peepholes(params, state.c)
        return activate(a, sigmoid, sigmoid, resolve(self.activation), identity if self.use_peepholes else sigmoid)


@dataclasses.dataclass(frozen=True)
class LayerNormBasicLSTMCell(RNNCell):
    """An LSTM with layer normalisation (Ba et al., 2016, arXiv:1607.06450) and dropout of its candidate (Semeniuta et al.,
    2016, arXiv:1603.05118); TF1's `tf.contrib.rnn.LayerNormBasicLSTMCell`.

    The equations are `LayerNormLSTMCell`'s without its other options, but for

        c' = LN(sigmoid(f) c + sigmoid(i) dropout(act(g)))

    Dropout acts if and only if a key is given, with a mask of its own at each step; what is kept is divided by
    dropout_keep_prob. In TF1 it always acts.

    Attributes:
      num_units: H.
      forget_bias: what the f part of beta, or of the bias, starts from, on top of norm_shift. TF1 adds it in every step.
      activation: act, elementwise; None is tanh.
      layer_norm: whether anything is normalised; else it is an `LSTMCell` with that dropout.
      norm_gain: what each gamma starts from.
      norm_shift: what each beta starts from.
      dropout_keep_prob: probability in [0, 1] to keep an element of the candidate.

    Params: `kernel` W `[D, 4H]` (Glorot uniform), `recurrent_kernel` U `[H, 4H]` (orthogonal gate by gate), `gamma`, `beta`
    `[4H]`, all in the order i, f, g, o, `state_gamma`, `state_beta` `[H]` of c'; without layer_norm `bias` `[4H]` in place of
    the four (zeros, forget_bias in its f part; in TF1 it starts as a kernel does).
    State: `LSTMStateTuple(c, h)`, both `[B, H]`. Output: h' `[B, H]`.

    Raises:
      ValueError: if num_units is below 1, or dropout_keep_prob is outside [0, 1].

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.LayerNormBasicLSTMCell(num_units=5, dropout_keep_prob=0.9)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> inputs = jax.numpy.ones((4, 7, 3))
      >>> train, _ = jaxrnn.dynamic_rnn(cell, params, inputs, key=jax.random.key(1))
      >>> evaluate, state = jaxrnn.dynamic_rnn(cell, params, inputs)
      >>> evaluate.shape, state.c.shape
      ((4, 7, 5), (4, 5))
    """

    num_units: int
    forget_bias: float = 1.0
    activation: Callable | None = None
    layer_norm: bool = True
    norm_gain: float = 1.0
    norm_shift: float = 0.0
    dropout_keep_prob: float = 1.0

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.finite(self, forget_bias=self.forget_bias, norm_gain=self.norm_gain, norm_shift=self.norm_shift)
        check.functions(self, activation=self.activation)
        check.flags(self, layer_norm=self.layer_norm)
        check.probabilities(self, dropout_keep_prob=self.dropout_keep_prob)

    @property
    def without_dropout(self) -> LayerNormLSTMCell:
        """The same cell but for its dropout, with the same params."""
        fields = ("num_units", "forget_bias", "activation", "layer_norm", "norm_gain", "norm_shift")
        return LayerNormLSTMCell(**{name: getattr(self, name) for name in fields})

    state_size = property(lambda self: LSTMStateTuple(self.num_units, self.num_units))
    output_size = property(lambda self: self.num_units)

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        return self.without_dropout.init(key, input_size, dtype)

    def project(self, params, inputs, *, key=None):
        z = self.without_dropout.project(params, inputs)
        if key is None or self.dropout_keep_prob == 1:
            return z, None
        return z, draw_factors(key.step, self.dropout_keep_prob, (*z.shape[:-1], self.num_units), z.dtype)

    def recur(self, params, state):
        return self.without_dropout.recur(params, state)

    def gates(self, params, z, r, state):
        z, factors = z
        return self.without_dropout.gates(params, z, r, state), factors

    def combine(self, params, g, state):
        return self.without_dropout.combine(params, g[0], state, factors=g[1])


def start_of_norms(cell, bias, dtype):
    """Gains and shifts of a cell's gates and of c', where `bias` is what its bias would start from."""
    gain = lambda units: jnp.full(units, cell.norm_gain, dtype)
    shift = jnp.full(cell.num_units, cell.norm_shift, dtype)
    return {
        "gamma": gain(bias.shape),
        "beta": bias + jnp.asarray(cell.norm_shift, dtype),
        "state_gamma": gain(cell.num_units),
        "state_beta": shift,
    }


def normalized_cell(params, c):
    """LN(c') with the params that `start_of_norms` makes."""
    return scale_and_shift(normalize(c, c.shape[-1]), params["state_gamma"], params["state_beta"])
