"""The group LSTM: its step in numpy, and the cells of its goldens."""

import jax
import numpy as np

from jaxrnn.contrib import GLSTMCell
from tests.oracle import sigmoid
from tests.rows import Row


def glstm(groups, act=np.tanh):
    def step(p, x, state, t, row):
        c, h = state
        cells, outputs = [], []
        for k in range(groups):
            part = lambda v, k=k: v[k * len(v) // groups : (k + 1) * len(v) // groups]
            gates = part(x) @ p["kernel"][k] + part(h) @ p["recurrent_kernel"][k] + p["bias"][k]
            i, f, g, o = gates.reshape(4, -1)
            cells.append(sigmoid(f) * part(c) + sigmoid(i) * np.tanh(g))
            outputs.append(sigmoid(o) * act(cells[-1]))
        c, h = np.concatenate(cells), np.concatenate(outputs)
        h = h @ p["projection_kernel"] if "projection_kernel" in p else h
        return h, (c, h)

    return step


def relu(a):
    return np.maximum(a, 0)


ROWS = [
    Row("glstm", GLSTMCell(6, number_of_groups=3), glstm(3)),
    Row("glstm_projected", GLSTMCell(6, num_proj=4, number_of_groups=2, activation=jax.nn.relu), glstm(2, relu), input_size=8),
]
GOLDENS = {
    "glstm": GLSTMCell(5),
    "glstm_projected": GLSTMCell(9, num_proj=6, number_of_groups=3, forget_bias=0.7, activation=jax.nn.soft_sign),
}
