"""The linear cells: their steps in numpy, from the papers, one row and one step at a time."""

import numpy as np

import jaxrnn
from jaxrnn import linear
from tests import oracle
from tests.contrib.independent import sru
from tests.oracle import sigmoid
from tests.rows import Row


def blocks(p, x, count):
    return np.split(x @ p["kernel"] + p["bias"], count)


def min_gru(act=lambda n: n):
    def step(p, x, h, t, row):
        u, n = blocks(p, x, 2)
        h = (1 - sigmoid(u)) * h + sigmoid(u) * act(n)
        return h, h

    return step


def min_lstm(act=lambda n: n):
    def step(p, x, h, t, row):
        f, i, n = blocks(p, x, 3)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * act(n)
        return h, h

    return step


def positive(a):
    return a + 0.5 if a >= 0 else sigmoid(a)


def lru(p, x, state, t, row):
    h = state[0] + 1j * state[1]
    count = h.shape[0]
    b = p["input_kernel"][:, :count] + 1j * p["input_kernel"][:, count:]
    c = p["output_kernel"][:count] + 1j * p["output_kernel"][count:]
    h = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"])) * h + np.exp(p["gamma"]) * (x @ b)
    return (h @ c).real + x @ p["skip_kernel"], (h.real, h.imag)


def rg_lru(heads):
    def step(p, x, h, t, row):
        parts = np.split(x, heads)
        r, i = (
            sigmoid(np.concatenate([part @ w for part, w in zip(parts, p["kernel"][k], strict=True)]) + p["bias"][k])
            for k in range(2)
        )
        a = np.exp(-8 * np.log(1 + np.exp(p["lambda"])) * r)
        h = a * h + np.sqrt(1 - a**2) * i * x
        return h, h

    return step


def qrnn(pooling):
    def step(p, x, c, t, row):
        n, f, *rest = blocks(p, x, 1 + len(pooling))
        n, f = np.tanh(n), sigmoid(f)
        c = f * c + (sigmoid(rest[1]) if pooling == "ifo" else 1 - f) * n
        return c if pooling == "f" else sigmoid(rest[0]) * c, c

    return step


def window(inner):
    def step(p, x, state, t, row):
        past, state = state
        output, state = inner(p, np.concatenate([*past[::-1], x]), state, t, row)
        return output, ((x, *past[:-1]), state)

    return step


ROWS = [
    Row("min_gru", linear.MinGRUCell(5), min_gru()),
    Row("min_gru_positive", linear.MinGRUCell(5, linear.positive), min_gru(np.vectorize(positive))),
    Row("min_lstm", linear.MinLSTMCell(5), min_lstm()),
    Row("min_lstm_tanh", linear.MinLSTMCell(5, activation=jaxrnn.tanh), min_lstm(np.tanh)),
    Row("lru", linear.LRUCell(4, 5), lru),
    Row("rg_lru", linear.RGLRUCell(6, num_heads=2), rg_lru(2), input_size=6),
    Row("sru", linear.SRUCell(5), sru(np.tanh)),
    Row("qrnn_f", linear.QRNNCell(5, "f"), qrnn("f")),
    Row("qrnn_fo", linear.QRNNCell(5), qrnn("fo")),
    Row("qrnn_ifo", linear.QRNNCell(5, "ifo"), qrnn("ifo")),
    Row("window", linear.CausalWindow(linear.QRNNCell(4), 3, 3), window(qrnn("fo"))),
    Row(
        "stack",
        jaxrnn.MultiRNNCell([linear.LRUCell(3, 4), jaxrnn.ResidualWrapper(linear.MinGRUCell(4)), jaxrnn.GRUCell(3)]),
        oracle.stack(lru, oracle.residual(min_gru()), oracle.gru(3, True)),
    ),
]
