"""The LSTM for events at any time."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMStateTuple


@dataclasses.dataclass(frozen=True)
class PhasedLSTMCell(RNNCell):
    """The phased LSTM (Neil et al., 2016, arXiv:1610.09513), whose units open and close in cycles of their own; TF1's
    `tf.contrib.rnn.PhasedLSTMCell`.

        i, f, g, o = x W + h U + b          in blocks of H columns, in this order
        n = sigmoid(f + c V_f) c + sigmoid(i + c V_i) tanh(g)
        m = sigmoid(o + n V_o) tanh(n)

        q = mod(t - phase, period) / period          the part of a unit's cycle that has passed at time t
        k = 2 q / ratio_on            if q < ratio_on / 2: it opens
            2 - 2 q / ratio_on        if q < ratio_on: it closes
            leak q                    else: it is closed
        c' = k n + (1 - k) c
        h' = k m + (1 - k) h          output = h'

    Attributes:
      num_units: H.
      use_peepholes: whether the gates see the cell through the matrices V_i, V_f, V_o; else these are zero.
      leak: what passes through a closed unit, in [0, 1]. It leaks without a key too, as in TF1.
      ratio_on: the part of its cycle for which a unit is open, in (0, 1]; what its param starts from.
      trainable_ratio_on: whether that param has a gradient; else it is zero.
      period_init_min, period_init_max: periods start between them, uniform in their logarithm.

    Params: `kernel` W `[D, 4H]` (Glorot uniform), `recurrent_kernel` U `[H, 4H]` (orthogonal gate by gate), `bias` b `[4H]`
    (zeros), `period` `[H]`, `phase` `[H]` (uniform within the period), `ratio_on` `[H]`; with use_peepholes `peephole_kernel`
    V_i, V_f `[H, 2H]` and `output_peephole_kernel` V_o `[H, H]` (Glorot uniform).
    Inputs: a pair `(t, x)`, `[B, 1]` and `[B, D]` a step, `[B, T, 1]` and `[B, T, D]` a sequence. q is computed in the dtype of
    t: large times need more precision than features. With times of a wider dtype give the run a `dtype`, that of x; else the
    whole run has theirs. State: `LSTMStateTuple(c, h)`, each `[B, H]`. Output: h' `[B, H]`.

    As in TF1 the period's gradient is that of the division alone, since mod has none by it. The derivative, which counts the
    cycles that have passed too, grows with t.

    Raises:
      ValueError: if num_units is below 1, or leak, ratio_on or a period is out of its range; when run, if the inputs are not
        such a pair.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.PhasedLSTMCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> inputs = jax.numpy.array([[0.1], [2.5], [7.0], [7.2]]), jax.numpy.ones((4, 3))
      >>> output, state = cell(params, inputs, cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 5), (4, 5))
    """

    num_units: int
    use_peepholes: bool = False
    leak: float = 0.001
    ratio_on: float = 0.1
    trainable_ratio_on: bool = True
    period_init_min: float = 1.0
    period_init_max: float = 1000.0

    only_products = False  # of z: LayerNormWrapper is not for it

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.flags(self, use_peepholes=self.use_peepholes, trainable_ratio_on=self.trainable_ratio_on)
        check.cycle(self)

    state_size = property(lambda self: LSTMStateTuple(self.num_units, self.num_units))
    output_size = property(lambda self: self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        h, keys = self.num_units, split(key, 6)
        bounds = math.log(self.period_init_min), math.log(self.period_init_max)
        period = jnp.exp(jax.random.uniform(keys[2], (h,), dtype, *bounds))
        params = {
            "kernel": glorot(keys[0], (input_size, 4 * h), dtype),
            "recurrent_kernel": recurrent(keys[1], h, 4, dtype),
            "bias": jnp.zeros(4 * h, dtype),
            "period": period,
            "phase": jax.random.uniform(keys[3], (h,), dtype) * period,
            "ratio_on": jnp.full(h, self.ratio_on, dtype),
        }
        if self.use_peepholes:
            params["peephole_kernel"] = glorot(keys[4], (h, 2 * h), dtype)
            params["output_peephole_kernel"] = glorot(keys[5], (h, h), dtype)
        return params

    def check_inputs(self, inputs):
        return check.time_and_features(self, inputs)

    def project(self, params, inputs):
        t, x = inputs
        z = x @ params["kernel"]
        return z + jnp.broadcast_to(params["bias"], z.shape), self._open(params, t).astype(x.dtype)

    def recur(self, params, state):
        r = state.h @ params["recurrent_kernel"]
        if not self.use_peepholes:
            return r
        r_if, r_go = jnp.split(r, 2, axis=1)
        return jnp.concatenate([r_if + state.c @ params["peephole_kernel"], r_go], axis=1)

    def gates(self, params, z, r, state):
        z, k = z
        i, f, g, o = activate(z + r, sigmoid, sigmoid, tanh, _identity if self.use_peepholes else sigmoid)
        if self.use_peepholes:
            o = sigmoid(o + (f * state.c + i * g) @ params["output_peephole_kernel"])
        return k, i, f, g, o

    def combine(self, params, g, state):
        k, i, f, g, o = g
        n = f * state.c + i * g
        m = o * tanh(n)
        c, h = k * n + (1 - k) * state.c, k * m + (1 - k) * state.h
        return h, LSTMStateTuple(c, h)

    def _open(self, params, t):
        """k `[B, H]`, in the dtype of t `[B, 1]`."""
        like_t = lambda a: jnp.broadcast_to(a.astype(t.dtype), (t.shape[0], self.num_units))
        period, phase, ratio_on = (like_t(params[name]) for name in ("period", "phase", "ratio_on"))
        if not self.trainable_ratio_on:
            ratio_on = lax.stop_gradient(ratio_on)
        q = jnp.mod(like_t(t) - phase, lax.stop_gradient(period)) / period
        up = 2 * q / ratio_on
        return jnp.where(q < ratio_on / 2, up, jnp.where(q < ratio_on, 2 - up, self.leak * q))


def _identity(a):
    return a
