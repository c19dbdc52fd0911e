"""Cells of one or two gates: their steps in numpy, and the cells of their goldens."""

import jax
import numpy as np

from jaxrnn.contrib import IntersectionRNNCell, UGRNNCell
from tests.oracle import relu, sigmoid
from tests.rows import Row


def ugrnn(p, x, h, t, row):
    half = h.shape[0]
    g, c = (x @ p["kernel"][:, k] + h @ p["recurrent_kernel"][:, k] + p["bias"][k] for k in (slice(half), slice(half, None)))
    h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(c)
    return h, h


def intersection(act):
    def step(p, x, h, t, row):
        n = h.shape[0]
        if "in_projection" in p:
            x = x @ p["in_projection"]["kernel"] + p["in_projection"]["bias"]
        columns = [slice(k * n, (k + 1) * n) for k in range(4)]
        g, c, d, y = (x @ p["kernel"][:, k] + h @ p["recurrent_kernel"][:, k] + p["bias"][k] for k in columns)
        h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(c)
        return sigmoid(d) * x + (1 - sigmoid(d)) * act(y), h

    return step


ROWS = [
    Row("ugrnn", UGRNNCell(5), ugrnn),
    Row("intersection", IntersectionRNNCell(3, y_activation=jax.nn.soft_sign), intersection(lambda a: a / (1 + abs(a)))),
    Row("intersection_projected", IntersectionRNNCell(5, num_in_proj=5), intersection(relu)),
]
GOLDENS = {
    "ugrnn": UGRNNCell(6, forget_bias=0.7),
    "intersection": IntersectionRNNCell(3),
    "intersection_projected": IntersectionRNNCell(5, num_in_proj=5, forget_bias=0.7),
}
