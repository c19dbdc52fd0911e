"""The cells that TF1 has as one op a step: cells of the core under other names."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell, LSTMStateTuple


class _Block(RNNCell):
    """The cell `core` under the name of the subclass."""

    num_units: int
    core: Any

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)

    state_size: Any = property(lambda self: self.core.state_size)
    output_size: Any = property(lambda self: self.core.output_size)

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        return self.core.init(key, input_size, dtype)

    def project(self, params, inputs):
        return self.core.project(params, inputs)

    def recur(self, params, state):
        return self.core.recur(params, state)

    def gates(self, params, z, r, state):
        return self.core.gates(params, z, r, state)

    def combine(self, params, g, state):
        return self.core.combine(params, g, state)


@dataclasses.dataclass(frozen=True)
class LSTMBlockCell(_Block):
    """`jaxrnn.LSTMCell` (Zaremba et al., 2014, arXiv:1409.2329) as TF1's `tf.contrib.rnn.LSTMBlockCell` has it.

        i, f, g, o = x W + h U + b          in blocks of H columns, in this order
        c' = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g)
        c' = clip(c')                       to [-cell_clip, cell_clip]
        h' = sigmoid(o + p_o c') tanh(c')
        output = h'

    The derivative of the clip is 1 everywhere, as in TF1's op. That of `LSTMCell` is 0 outside the bounds.

    Attributes:
      num_units: H.
      forget_bias: what the forget gate's bias starts from. TF1 adds it in every step instead.
      cell_clip: bound of the cell; None is no bound, as 0 is in TF1.
      use_peephole: whether the gates see the cell through p_i, p_f, p_o; else these are zero.

    Params, State, Output: those of `LSTMCell(num_units, use_peephole)`, `[B, H]`.

    Raises:
      ValueError: if num_units is below 1 or the clip is not above 0.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.LSTMBlockCell(num_units=5, cell_clip=3.0)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 5), (4, 5))
    """

    num_units: int
    forget_bias: float = 1.0
    cell_clip: float | None = None
    use_peephole: bool = False

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units)
        check.finite(self, forget_bias=self.forget_bias)
        check.positive(self, cell_clip=self.cell_clip)
        check.flags(self, use_peephole=self.use_peephole)

    @property
    def core(self) -> LSTMCell:
        return LSTMCell(self.num_units, self.use_peephole, forget_bias=self.forget_bias)

    def combine(self, params, g, state):
        i, f, g, o = g
        c = f * state.c + i * g
        if self.cell_clip:
            c = _clip(c, self.cell_clip)
        if self.use_peephole:
            o = sigmoid(o + jnp.broadcast_to(params["w_o_diag"], c.shape) * c)
        h = o * tanh(c)
        return h, LSTMStateTuple(c, h)


@dataclasses.dataclass(frozen=True)
class GRUBlockCell(_Block):
    """`jaxrnn.GRUCell(num_units, reset_after=False)` (Cho et al., 2014, arXiv:1406.1078); TF1's `tf.contrib.rnn.GRUBlockCell`,
    whose variables have names of their own.

    Attributes:
      num_units: H.

    Params, State, Output: those of `GRUCell`, `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.GRUBlockCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> sorted(jaxrnn.interop.to_tf1(cell, params))
      ['rnn/gru_cell/b_c', 'rnn/gru_cell/b_ru', 'rnn/gru_cell/w_c', 'rnn/gru_cell/w_ru']
    """

    num_units: int

    @property
    def core(self) -> GRUCell:
        return GRUCell(self.num_units, reset_after=False)


@dataclasses.dataclass(frozen=True)
class GRUBlockCellV2(GRUBlockCell):
    """`GRUBlockCell` whose variables have the names of a GRUCell's; TF1's `tf.contrib.rnn.GRUBlockCellV2`.

    Attributes:
      num_units: H.

    Params, State, Output: those of `GRUCell`, `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.contrib.GRUBlockCellV2(5).state_size
      5
    """


@dataclasses.dataclass(frozen=True)
class CudnnCompatibleLSTMCell(_Block):
    """`jaxrnn.LSTMCell(num_units, forget_bias=0)`: cuDNN's form, whose weights it shares; TF1's
    `tf.contrib.cudnn_rnn.CudnnCompatibleLSTMCell`.

    Attributes:
      num_units: H.

    Params, State, Output: those of `LSTMCell`, `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.contrib.CudnnCompatibleLSTMCell(5).state_size
      LSTMStateTuple(c=5, h=5)
    """

    num_units: int

    @property
    def core(self) -> LSTMCell:
        return LSTMCell(self.num_units, forget_bias=0.0)


@dataclasses.dataclass(frozen=True)
class CudnnCompatibleGRUCell(_Block):
    """`jaxrnn.GRUCell(num_units)`: cuDNN's form, whose reset gate acts after the product; TF1's
    `tf.contrib.cudnn_rnn.CudnnCompatibleGRUCell`.

    Attributes:
      num_units: H.

    Params, State, Output: those of `GRUCell`, `[B, H]`.

    Raises:
      ValueError: if num_units is below 1.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.contrib.CudnnCompatibleGRUCell(5).state_size
      5
    """

    num_units: int

    @property
    def core(self) -> GRUCell:
        return GRUCell(self.num_units)


def _clip_primal(c, limit):
    return jnp.clip(c, -limit, limit)


_clip: Any = jax.custom_jvp(_clip_primal, nondiff_argnums=(1,))
_clip.defjvp(lambda limit, primals, tangents: (_clip(*primals, limit), *tangents))
