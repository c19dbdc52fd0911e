"""The cell that a search has found: its step in numpy, and the cells of its goldens."""

import numpy as np

from jaxrnn.contrib import NASCell
from tests.oracle import relu, sigmoid
from tests.rows import Row

ORDER = (0, 2, 5, 7, 4, 6, 1, 3)


def nas(p, x, state, t, row):
    c, h = state
    n = c.shape[0]
    block = lambda name, k: p[name][..., ORDER.index(k) * n : (ORDER.index(k) + 1) * n]
    a = [x @ block("kernel", k) for k in range(8)]
    b = [h @ block("recurrent_kernel", k) + (block("bias", k) if "bias" in p else 0) for k in range(8)]
    left = np.tanh(sigmoid(a[0] + b[0]) * relu(a[1] + b[1]))
    middle = np.tanh(sigmoid(a[2] + b[2]) + relu(a[3] * b[3]))
    right = np.tanh(np.tanh(a[4] + b[4]) * sigmoid(a[5] + b[5]))
    right = right + sigmoid(np.tanh(a[6] + b[6]) + sigmoid(a[7] + b[7]))
    c = np.tanh(left + c) * middle
    h = np.tanh(c * np.tanh(right))
    h = h @ p["projection_kernel"] if "projection_kernel" in p else h
    return h, (c, h)


ROWS = [Row("nas", NASCell(5), nas), Row("nas_full", NASCell(5, num_proj=2, use_bias=True), nas)]
GOLDENS = {"nas": NASCell(4), "nas_full": NASCell(5, num_proj=2, use_bias=True)}
