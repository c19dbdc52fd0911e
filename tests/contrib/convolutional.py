"""Convolutional LSTMs: their step in numpy, and the cells of their goldens."""

import itertools

import numpy as np

from jaxrnn.contrib import Conv1DLSTMCell, Conv2DLSTMCell, Conv3DLSTMCell, ConvLSTMCell
from tests.oracle import sigmoid
from tests.rows import Row


def convolve(x, kernel):
    """x [*S, D], kernel [*window, D, C] -> [*S, C]: a sum over the places of the window, with (n - 1) // 2 zeros in front."""
    window, size = kernel.shape[:-2], x.shape[:-1]
    padded = np.pad(x, [((n - 1) // 2, n // 2) for n in window] + [(0, 0)])
    total = np.zeros((*size, kernel.shape[-1]))
    for place in itertools.product(*map(range, window)):
        seen = padded[tuple(slice(k, k + n) for k, n in zip(place, size, strict=True))]
        total += seen @ kernel[place]
    return total


def conv_lstm(channels, bias=True, forget_bias=0.0, skip=False):
    """forget_bias is that of a cell without a bias."""

    def step(p, x, state, t, row):
        c, h = state
        i, f, g, o = (
            convolve(x, p["kernel"][..., k : k + channels])
            + convolve(h, p["recurrent_kernel"][..., k : k + channels])
            + (p["bias"][k : k + channels] if bias else 0)
            for k in range(0, 4 * channels, channels)
        )
        c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return np.concatenate([h, x], -1) if skip else h, (c, h)

    return step


def shaped(cell):
    return lambda rng, batch, time: rng.standard_normal((batch, time, *cell.input_shape))


SIGNALS = Conv1DLSTMCell((5, 3), 2, (4,), skip_connection=True)
IMAGES = Conv2DLSTMCell((3, 4, 2), 3, (3, 2))
VOLUMES = ConvLSTMCell(3, (2, 3, 2, 2), 1, (2, 3, 1), use_bias=False, forget_bias=0.7)

ROWS = [
    Row("conv_1d_lstm_skip", SIGNALS, conv_lstm(2, skip=True), draw=shaped(SIGNALS)),
    Row("conv_2d_lstm", IMAGES, conv_lstm(3), draw=shaped(IMAGES)),
    Row("conv_3d_lstm_without_bias", VOLUMES, conv_lstm(1, bias=False, forget_bias=0.7), draw=shaped(VOLUMES)),
]
GOLDENS = {
    "conv_1d_lstm": Conv1DLSTMCell((5, 3), 2, (4,), forget_bias=0.7),
    "conv_1d_lstm_skip": Conv1DLSTMCell((5, 3), 2, (3,), skip_connection=True),
    "conv_2d_lstm": Conv2DLSTMCell((3, 2, 3), 2, (3, 2)),
    "conv_3d_lstm": Conv3DLSTMCell((2, 3, 2, 2), 1, (2, 3, 1), use_bias=False, forget_bias=0.7),
}
