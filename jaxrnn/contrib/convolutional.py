"""The long short-term memory of images, of signals and of volumes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

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
class ConvLSTMCell(RNNCell):
    """The convolutional LSTM (Shi et al., 2015, arXiv:1506.04214) without peepholes; TF1's `tf.contrib.rnn.ConvLSTMCell`.

        i, f, g, o = x * W + h * U + b          * a convolution; in blocks of C channels, in this order
        c' = sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')
        output = h', or [h'; x] with skip_connection

    The convolutions have stride 1 and keep the size ("SAME" padding; an even window has the extra zero behind). Below S stands
    for the axes of an image: one of a signal, two of an image, three of a volume. Channels are last.

    Attributes:
      conv_ndims: how many axes S has: 1, 2 or 3.
      input_shape: `(*S, D)`, the shape of one example of a step.
      output_channels: C.
      kernel_shape: the size of the window, one number for each axis of S.
      use_bias: whether there is b.
      skip_connection: whether the output has the inputs' channels behind its own. In TF1 they get into the state as well,
        whose shape they do not fit: it can take one step only.
      forget_bias: what the forget gate's bias starts from; without b it is added in every step. TF1 always adds it.

    Params: `kernel` W `[*kernel_shape, D, 4C]` (Glorot uniform), `recurrent_kernel` U `[*kernel_shape, C, 4C]` (orthogonal gate
    by gate, as a matrix of all rows but the last axis), with use_bias `bias` b `[4C]` (zeros, forget_bias in its f part).
    Inputs: `[B, *S, D]` a step. State: `LSTMStateTuple(c, h)`, each `[B, *S, C]`. Output: `[B, *S, C]`, or
    `[B, *S, C + D]` with skip_connection.

    Raises:
      ValueError: if conv_ndims is not 1, 2 or 3, input_shape or kernel_shape has another number of axes, or a size is below 1;
        when run, if the inputs are not of that shape.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.Conv2DLSTMCell(input_shape=(8, 9, 3), output_channels=5, kernel_shape=(3, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.numpy.ones((4, 7, 8, 9, 3)))
      >>> outputs.shape, state.c.shape
      ((4, 7, 8, 9, 5), (4, 8, 9, 5))
    """

    conv_ndims: int
    input_shape: Sequence[int]
    output_channels: int
    kernel_shape: Sequence[int]
    use_bias: bool = True
    skip_connection: bool = False
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        check.at_least_one(self, output_channels=self.output_channels)
        check.conv_ndims(self, self.conv_ndims)
        check.shape(self, self.conv_ndims + 1, input_shape=self.input_shape)
        check.shape(self, self.conv_ndims, kernel_shape=self.kernel_shape)
        check.flags(self, use_bias=self.use_bias, skip_connection=self.skip_connection)
        check.finite(self, forget_bias=self.forget_bias)

    @property
    def state_size(self) -> LSTMStateTuple:
        size = (*self.input_shape[:-1], self.output_channels)
        return LSTMStateTuple(size, size)

    @property
    def output_size(self) -> tuple[int, ...]:
        more = self.input_shape[-1] if self.skip_connection else 0
        return (*self.input_shape[:-1], self.output_channels + more)

    def init(self, key: jax.Array, input_size: Any = None, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        """Params; input_shape has the inputs' size, so input_size is not looked at."""
        return self._init(key, 0, dtype)

    @one_program
    def _init(self, key, input_size, dtype):
        k1, k2 = split(key, 2)
        window, d, c = self.kernel_shape, self.input_shape[-1], self.output_channels
        rows = recurrent(k2, c, 4, dtype, state_size=math.prod(window) * c)
        params = {"kernel": glorot(k1, (*window, d, 4 * c), dtype), "recurrent_kernel": rows.reshape(*window, c, 4 * c)}
        return {**params, "bias": self._first_bias(dtype)} if self.use_bias else params

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        check.batch_size(batch_size)
        return LSTMStateTuple(*(jnp.zeros((batch_size, *size), dtype) for size in self.state_size))

    def check_inputs(self, inputs):
        return check.examples(self, inputs, self.input_shape)

    def project(self, params, inputs):
        z = _convolve(inputs, params["kernel"])
        z = z + jnp.broadcast_to(params["bias"] if self.use_bias else self._first_bias(z.dtype), z.shape)
        return (z, inputs) if self.skip_connection else (z,)

    def recur(self, params, state):
        return _convolve(state.h, params["recurrent_kernel"])

    def gates(self, params, z, r, state):
        z, *inputs = z
        return activate(z + r, sigmoid, sigmoid, tanh, sigmoid), *inputs

    def combine(self, params, g, state):
        (i, f, g, o), *inputs = g
        c = f * state.c + i * g
        h = o * tanh(c)
        return jnp.concatenate([h, *inputs], -1), LSTMStateTuple(c, h)

    def _first_bias(self, dtype):
        c = self.output_channels
        return jnp.zeros(4 * c, dtype).at[c : 2 * c].set(self.forget_bias)


@dataclasses.dataclass(frozen=True)
class Conv1DLSTMCell(ConvLSTMCell):
    """`ConvLSTMCell` of signals `[B, S, D]`, with its other arguments; TF1's `tf.contrib.rnn.Conv1DLSTMCell`."""

    conv_ndims: int = dataclasses.field(default=1, init=False)


@dataclasses.dataclass(frozen=True)
class Conv2DLSTMCell(ConvLSTMCell):
    """`ConvLSTMCell` of images `[B, S1, S2, D]`, with its other arguments; TF1's `tf.contrib.rnn.Conv2DLSTMCell`."""

    conv_ndims: int = dataclasses.field(default=2, init=False)


@dataclasses.dataclass(frozen=True)
class Conv3DLSTMCell(ConvLSTMCell):
    """`ConvLSTMCell` of volumes `[B, S1, S2, S3, D]`, with its other arguments; TF1's `tf.contrib.rnn.Conv3DLSTMCell`."""

    conv_ndims: int = dataclasses.field(default=3, init=False)


def _convolve(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[B, *S, D]` and `[*window, D, C]` -> `[B, *S, C]`."""
    axes = "XYZ"[: inputs.ndim - 2]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    dtype = jnp.result_type(inputs, kernel)  # a convolution promotes none, as a product does
    strides = [1] * len(axes)
    return lax.conv_general_dilated(inputs.astype(dtype), kernel.astype(dtype), strides, "SAME", dimension_numbers=layout)
