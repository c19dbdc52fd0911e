"""An LSTM with weight normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import one_program
from jaxrnn.cells.lstm import LSTMCell, LSTMStateTuple

_KERNELS = ("kernel", "recurrent_kernel", "projection_kernel")


@dataclasses.dataclass(frozen=True)
class WeightNormLSTMCell(RNNCell):
    """An `LSTMCell` with weight normalisation (Salimans and Kingma, 2016, arXiv:1602.07868); the `WeightNormLSTMCell` of TF1's
    `tensorflow.contrib.rnn.python.ops.rnn_cell`, which `tf.contrib.rnn` does not export.

    It is an `LSTMCell` whose matrices W, U and V have the columns

        w = gain v / max(norm(v), 1e-6)          where v is a column of the param

    Attributes:
      num_units, use_peepholes, cell_clip, num_proj, proj_clip, forget_bias, activation: as in `LSTMCell`.
      norm: whether the weights are normalised; else it is an `LSTMCell`.

    Params: `LSTMCell`'s; with norm also `kernel_gain`, `recurrent_kernel_gain` `[4H]` and, with num_proj,
    `projection_kernel_gain` `[P]`, which start as ones (in TF1 as a kernel does, of either sign).
    State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1, a clip is not above 0, or proj_clip comes without num_proj.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.WeightNormLSTMCell(num_units=5, num_proj=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 2), (4, 5))
    """

    num_units: int
    norm: bool = True
    use_peepholes: bool = False
    cell_clip: float | None = None
    num_proj: int | None = None
    proj_clip: float | None = None
    forget_bias: float = 1.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_proj=self.num_proj)
        check.positive(self, cell_clip=self.cell_clip, proj_clip=self.proj_clip)
        check.finite(self, forget_bias=self.forget_bias)
        check.flags(self, norm=self.norm, use_peepholes=self.use_peepholes)
        check.functions(self, activation=self.activation)
        check.goes_with(self, "num_proj", proj_clip=self.proj_clip)

    @property
    def with_plain_weights(self) -> LSTMCell:
        """The cell whose params are the normalised ones."""
        return LSTMCell(**{field.name: getattr(self, field.name) for field in dataclasses.fields(LSTMCell)})

    @property
    def state_size(self) -> LSTMStateTuple:
        return LSTMStateTuple(self.num_units, self.output_size)

    @property
    def output_size(self) -> int:
        return self.num_proj or self.num_units

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        params = self.with_plain_weights.init(key, input_size, dtype)
        gains = {f"{name}_gain": jnp.ones(params[name].shape[1], dtype) for name in _KERNELS if name in params}
        return {**params, **gains} if self.norm else params

    def project(self, params, inputs):
        return self.with_plain_weights.project(self._normalized(params), inputs)

    def recur(self, params, state):
        return self.with_plain_weights.recur(self._normalized(params), state)

    def gates(self, params, z, r, state):
        return self.with_plain_weights.gates(params, z, r, state)

    def combine(self, params, g, state):
        return self.with_plain_weights.combine(self._normalized(params), g, state)

    def _normalized(self, params):
        """`with_plain_weights`'s params."""
        if not self.norm:
            return params
        return {name: _columns(leaf, params[f"{name}_gain"]) if name in _KERNELS else leaf for name, leaf in params.items()}


def _columns(kernel, gain):
    wide = kernel.astype(jnp.float32) if kernel.dtype.itemsize < 4 else kernel
    scale = lax.rsqrt(jnp.maximum(jnp.sum(wide * wide, 0), 1e-12)).astype(gain.dtype) * gain
    return kernel * jnp.broadcast_to(scale, kernel.shape)
