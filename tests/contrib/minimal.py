"""Cells whose candidate is made of the inputs alone: their steps in numpy, and the cells of their goldens."""

import numpy as np

from jaxrnn.contrib import CFNCell, MinimalRNNCell
from tests.oracle import sigmoid
from tests.rows import Row


def minimal(p, x, h, t, row):
    n = np.tanh(x @ p["kernel"])
    u = sigmoid(n @ p["gate_kernel"] + h @ p["recurrent_kernel"] + p["bias"])
    h = u * h + (1 - u) * n
    return h, h


def cfn(p, x, h, t, row):
    n = h.shape[0]
    f = sigmoid(x @ p["kernel"][:, :n] + h @ p["recurrent_kernel"][:, :n] + p["bias"][:n])
    i = 1 - sigmoid(x @ p["kernel"][:, n : 2 * n] + h @ p["recurrent_kernel"][:, n:] + p["bias"][n:])
    h = f * np.tanh(h) + i * np.tanh(x @ p["kernel"][:, 2 * n :])
    return h, h


ROWS = [Row("minimal_rnn", MinimalRNNCell(5), minimal), Row("cfn", CFNCell(5), cfn)]
GOLDENS = {"minimal_rnn": MinimalRNNCell(5), "cfn": CFNCell(5)}
