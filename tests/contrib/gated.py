"""Cells of one or two gates: their steps in numpy, and the cells of their goldens."""

import numpy as np

from jaxrnn.contrib import UGRNNCell
from tests.oracle import sigmoid
from tests.rows import Row


def ugrnn(p, x, h, t, row):
    half = h.shape[0]
    g, c = (x @ p["kernel"][:, k] + h @ p["recurrent_kernel"][:, k] + p["bias"][k] for k in (slice(half), slice(half, None)))
    h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(c)
    return h, h


ROWS = [Row("ugrnn", UGRNNCell(5), ugrnn)]
GOLDENS = {"ugrnn": UGRNNCell(6, forget_bias=0.7)}
