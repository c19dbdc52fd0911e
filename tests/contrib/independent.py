"""Cells whose recurrence is elementwise: their steps in numpy, and the cells of their goldens."""

import jax
import numpy as np

from jaxrnn.contrib import IndRNNCell, IndyGRUCell, IndyLSTMCell, SRUCell
from tests.oracle import sigmoid
from tests.rows import Row


def columns(array, number, count):
    """Gate `number` of `count`."""
    size = array.shape[-1] // count
    return array[..., number * size : (number + 1) * size]


def gate(p, x, h, number, count):
    w, u, b = (columns(p[name], number, count) for name in ("kernel", "recurrent_kernel", "bias"))
    return x @ w + u * h + b


def sru(act):
    def step(p, x, c, t, row):
        new, forget, reset, highway = (x @ columns(p["kernel"], k, 4) for k in range(4))
        forget, reset = sigmoid(forget + columns(p["bias"], 0, 2)), sigmoid(reset + columns(p["bias"], 1, 2))
        c = forget * c + (1 - forget) * new
        return reset * act(c) + (1 - reset) * highway, c

    return step


def ind_rnn(p, x, h, t, row):
    h = np.tanh(gate(p, x, h, 0, 1))
    return h, h


def indy_gru(p, x, h, t, row):
    r, u = sigmoid(gate(p, x, h, 0, 3)), sigmoid(gate(p, x, h, 1, 3))
    h = u * h + (1 - u) * np.tanh(gate(p, x, r * h, 2, 3))
    return h, h


def indy_lstm(act):
    def step(p, x, state, t, row):
        c, h = state
        i, f, g, o = (gate(p, x, h, k, 4) for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * act(g)
        h = sigmoid(o) * act(c)
        return h, (c, h)

    return step


def softsign(a):
    return a / (1 + abs(a))


ROWS = [
    Row("sru", SRUCell(5), sru(np.tanh)),
    Row("ind_rnn", IndRNNCell(5), ind_rnn),
    Row("indy_gru", IndyGRUCell(5), indy_gru),
    Row("indy_lstm", IndyLSTMCell(5, activation=jax.nn.soft_sign), indy_lstm(softsign)),
]
GOLDENS = {
    "sru": SRUCell(6),
    "sru_softsign": SRUCell(6, activation=jax.nn.soft_sign),
    "ind_rnn": IndRNNCell(6),
    "indy_gru": IndyGRUCell(6),
    "indy_lstm": IndyLSTMCell(6, forget_bias=0.7),
}
