"""An LSTM over time and frequency."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMCell, LSTMStateTuple


@dataclasses.dataclass(frozen=True)
class TimeFreqLSTMCell(RNNCell):
    """An LSTM that walks over windows of the features in every step (Sainath and Li, "Modeling time-frequency patterns with
    LSTM vs. convolutional architectures for LVCSR tasks", 2016); TF1's `tf.contrib.rnn.TimeFreqLSTMCell`.

        x_k = x[k S : k S + F]          F = feature_size, S = frequency_skip, k = 0 ... n-1, n = (D - F) // S + 1
        i, f, g, o = x_k W + h_k U + h_{k-1}' V + b          in blocks of H columns, in this order; h_{-1}' = 0
        c_k' = sigmoid(f + p_f c_k) c_k + sigmoid(i + p_i c_k) tanh(g)
        c_k' = clip(c_k')          to [-cell_clip, cell_clip]
        h_k' = sigmoid(o + p_o c_k') tanh(c_k')
        output = [h_0'; ...; h_{n-1}']

    All windows share the weights. The windows are unrolled: a step is a chain of n small products with V.

    Attributes:
      num_units: H.
      use_peepholes: whether the gates see the cell through p_i, p_f, p_o; else these are zero.
      cell_clip: bound of the cell; None is no bound.
      forget_bias: what the forget gate's bias starts from. TF1 adds it in every step instead.
      feature_size: F; required.
      frequency_skip: S. Features behind the last whole window are not read.
      input_size: D; required, because the state has a part for every window. TF1 has no such argument: its `state_size` is that
        of one window, and its `dynamic_rnn` refuses more.

    Params: `kernel` W `[F, 4H]` (Glorot uniform), `recurrent_kernel` U and `frequency_kernel` V `[H, 4H]` (orthogonal gate by
    gate), `bias` b `[4H]` (zeros, forget_bias in its f part); with use_peepholes `w_i_diag`, `w_f_diag`, `w_o_diag` `[H]`
    (uniform within sqrt(3/H)). `init` takes any input_size, since no param has that size.
    State: a tuple of n `LSTMStateTuple(c, h)`, each `[B, H]`. Output: `[B, n H]`.

    Raises:
      TypeError: if feature_size or input_size is missing.
      ValueError: if a size is below 1, cell_clip is not above 0, or D is below F; when run, if the inputs have another size.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.TimeFreqLSTMCell(num_units=5, feature_size=4, frequency_skip=2, input_size=10)
      >>> params = cell.init(jax.random.key(0), input_size=10)
      >>> output, state = cell(params, jax.numpy.ones((3, 10)), cell.initial_state(3))
      >>> output.shape, len(state)
      ((3, 20), 4)
    """

    num_units: int
    use_peepholes: bool = False
    cell_clip: float | None = None
    forget_bias: float = 1.0
    feature_size: Any = None
    frequency_skip: int = 1
    input_size: Any = None

    def __post_init__(self) -> None:
        check.given(self, feature_size=self.feature_size, input_size=self.input_size)
        sizes = {name: getattr(self, name) for name in ("num_units", "feature_size", "frequency_skip", "input_size")}
        check.at_least_one(self, **sizes)
        check.positive(self, cell_clip=self.cell_clip)
        check.finite(self, forget_bias=self.forget_bias)
        check.flags(self, use_peepholes=self.use_peepholes)
        check.one_window(self)

    @property
    def state_size(self) -> tuple[LSTMStateTuple, ...]:
        return (self._lstm.state_size,) * len(self._starts)

    @property
    def output_size(self) -> int:
        return self.num_units * len(self._starts)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        k1, k2 = split(key, 2)
        frequency_kernel = recurrent(k2, self.num_units, 4, dtype)
        return {**self._lstm.init(k1, self.feature_size, dtype), "frequency_kernel": frequency_kernel}

    def check_inputs(self, inputs):
        return check.features_of_size(self, inputs, self.input_size)

    def project(self, params, inputs):
        return self._lstm.project(params, windows(inputs, self._starts, self.feature_size))

    def recur(self, params, state):
        # One product for all windows, [B, n, H] by [H, 4H].
        return self._lstm.recur(params, jax.tree.map(lambda *parts: jnp.stack(parts, 1), *state))

    def gates(self, params, z, r, state):
        a, h, gates = z + r, None, []
        for k, old in enumerate(state):
            below = jnp.zeros_like(a[:, k]) if h is None else h @ params["frequency_kernel"]
            gates.append(self._lstm.gates(params, a[:, k], below, old))
            h, _ = self._lstm.combine(params, gates[k], old)
        return tuple(gates)

    def combine(self, params, g, state):
        outputs, new = zip(*(self._lstm.combine(params, *each) for each in zip(g, state, strict=True)), strict=True)
        return jnp.concatenate(outputs, -1), new

    @property
    def _lstm(self) -> LSTMCell:
        """The LSTM of one window; h_{k-1}' V is added to what it is given."""
        return LSTMCell(self.num_units, self.use_peepholes, self.cell_clip, forget_bias=self.forget_bias)

    @property
    def _starts(self) -> range:
        """Where the windows begin."""
        return range(0, self.input_size - self.feature_size + 1, self.frequency_skip)


def windows(inputs: jax.Array, starts: Iterable[int], size: int) -> jax.Array:
    """`[B, n, size]` of inputs `[B, D]`."""
    return jnp.stack([inputs[:, start : start + size] for start in starts], 1)
