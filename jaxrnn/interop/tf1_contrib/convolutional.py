"""Weights of convolutional LSTMs.

cell              names                            TF1's shape                 TF1's gates -> jaxrnn's
ConvLSTMCell      conv_lstm_cell/kernel, biases    [*window, D+C, 4C], [4C]    i,j,f,o -> i,f,g,o
Conv1DLSTMCell    conv_1d_lstm_cell/..., and 2d, 3d

The inputs' channels come first. forget_bias is added in every step; without biases jaxrnn does so too.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.convolutional import Conv1DLSTMCell, Conv2DLSTMCell, Conv3DLSTMCell, ConvLSTMCell
from jaxrnn.interop.arrays import inside, join, reorder, split, under
from jaxrnn.interop.weights import Framework, Layout

_SCOPES = {
    ConvLSTMCell: "conv_lstm_cell/",
    Conv1DLSTMCell: "conv_1d_lstm_cell/",
    Conv2DLSTMCell: "conv_2d_lstm_cell/",
    Conv3DLSTMCell: "conv_3d_lstm_cell/",
}


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {kind: Layout(_read, _write) for kind in _SCOPES}


def _read(cell, take):
    take = inside(_SCOPES[type(cell)], take)
    kernel, channels = reorder(take("kernel"), "ijfo", "ifjo"), cell.input_shape[-1]
    params = {"kernel": kernel[..., :channels, :], "recurrent_kernel": kernel[..., channels:, :]}
    if cell.use_bias:
        i, j, f, o = split(take("biases"), 4)
        params["bias"] = join([i, f + f.dtype.type(cell.forget_bias), j, o])
    return params


def _write(cell, params):
    kernel = join([params["kernel"], params["recurrent_kernel"]], axis=-2)
    weights = {"kernel": reorder(kernel, "ifgo", "igfo")}
    if cell.use_bias:
        i, f, g, o = split(params["bias"], 4)
        weights["biases"] = join([i, g, f - f.dtype.type(cell.forget_bias), o])
    return under(_SCOPES[type(cell)], weights)
