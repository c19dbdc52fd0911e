"""LSTMs with layer or weight normalisation or coupled gates, layer normalisation of any cell: their steps in numpy, and the
cells of their goldens."""

import jax
import numpy as np

import jaxrnn
from jaxrnn.contrib import (
    CoupledInputForgetGateLSTMCell,
    LayerNormBasicLSTMCell,
    LayerNormLSTMCell,
    LayerNormWrapper,
    UGRNNCell,
    WeightNormLSTMCell,
)
from tests.oracle import sigmoid
from tests.rows import Row

# The clips are narrow, so that some values meet them; the projections are of other sizes than the rest.
FULL = {"use_peepholes": True, "num_proj": 2, "proj_clip": 0.4}
NORM = {"layer_norm": True, "norm_gain": 0.9, "norm_shift": 0.1}


def norm(a, gamma, beta, epsilon=1e-12):
    """Over one gate of one row."""
    mean = sum(a) / len(a)
    variance = sum((a - mean) ** 2) / len(a)
    return gamma * (a - mean) / np.sqrt(variance + epsilon) + beta


def softsign(a):
    return a / (1 + abs(a))


def products(p, x, h, k):
    """x W and h U of the gate with the columns k."""
    return x @ p["kernel"][:, k], h @ p["recurrent_kernel"][:, k]


def gate(p, x, h, k):
    """A gate before its activation."""
    a = sum(products(p, x, h, k))
    return norm(a, p["gamma"][k], p["beta"][k]) if "gamma" in p else a + p["bias"][k]


def end(p, c, o, cell_clip, act):
    """h' and the clipped c'."""
    if "state_gamma" in p:
        c = norm(c, p["state_gamma"], p["state_beta"])
    if cell_clip:
        c = np.clip(c, -cell_clip, cell_clip)
    h = sigmoid(o + p.get("w_o_diag", 0) * c) * act(c)
    return c, np.clip(h @ p["projection_kernel"], -0.4, 0.4) if "projection_kernel" in p else h


def columns(size, count):
    return [slice(k * size, (k + 1) * size) for k in range(count)]


def lstm(cell_clip=None, act=np.tanh, factors=None):
    """factors(t, row): dropout's, of the candidate."""

    def step(p, x, state, t, row):
        c, h = state
        i, f, g, o = (gate(p, x, h, k) for k in columns(len(c), 4))
        i, f = (a + p.get(name, 0) * c for a, name in ((i, "w_i_diag"), (f, "w_f_diag")))
        g = act(g) * (1 if factors is None else factors(t, row))
        c, h = end(p, sigmoid(f) * c + sigmoid(i) * g, o, cell_clip, act)
        return h, (c, h)

    return step


def coupled(p, x, state, t, row):
    c, h = state
    f, g, o = (gate(p, x, h, k) for k in columns(len(c), 3))
    f = sigmoid(f + p["w_f_diag"] * c)
    c, h = end(p, f * c + (1 - f) * np.tanh(g), o, None, np.tanh)
    return h, (c, h)


def weight_norm(p, x, state, t, row):
    kernels = ("kernel", "recurrent_kernel", "projection_kernel")
    long = lambda v, gain: np.stack([g * w / max(np.sqrt(w @ w), 1e-6) for w, g in zip(v.T, gain, strict=True)], 1)
    return lstm(0.6)({**p, **{name: long(p[name], p[name + "_gain"]) for name in kernels}}, x, state, t, row)


def both(p, x, h, k, state_bias=None):
    """LN(x W + b) and LN(h U + d) of the gate with the columns k."""
    z, r = products(p["cell"], x, h, k)
    r = r if state_bias is None else r + state_bias
    return (
        norm(z + p["cell"]["bias"][k], p["input_gamma"][k], p["input_beta"][k], 1e-5),
        norm(r, p["state_gamma"][k], p["state_beta"][k], 1e-5),
    )


def normalized_basic(p, x, h, t, row):
    h = np.tanh(sum(both(p, x, h, slice(None))))
    return h, h


def normalized_ugrnn(p, x, h, t, row):
    g, c = (sum(both(p, x, h, k)) for k in columns(len(h), 2))
    h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(c)
    return h, h


def normalized_lstm(p, x, state, t, row):
    c, h = state
    i, f, g, o = (sum(both(p, x, h, k)) for k in columns(len(c), 4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, (c, h)


def normalized_gru(p, x, h, t, row):
    r, u, n = columns(len(h), 3)
    r, u = (sigmoid(sum(both(p, x, h, k))) for k in (r, u))
    from_inputs, from_state = both(p, x, h, n, state_bias=p["cell"]["recurrent_bias"])
    h = u * h + (1 - u) * np.tanh(from_inputs + r * from_state)
    return h, h


def normalized_gru_reset_before(p, x, h, t, row):
    r, u, n = columns(len(h), 3)
    r, u = (sigmoid(sum(both(p, x, h, k))) for k in (r, u))
    from_inputs = norm(x @ p["cell"]["kernel"][:, n] + p["cell"]["bias"][n], p["input_gamma"][n], p["input_beta"][n], 1e-5)
    h = u * h + (1 - u) * np.tanh(from_inputs + (r * h) @ p["cell"]["recurrent_kernel"][:, n])
    return h, h


ROWS = [
    Row("layer_norm_basic_lstm", LayerNormBasicLSTMCell(5, activation=jax.nn.soft_sign), lstm(act=softsign)),
    Row("layer_norm_lstm", LayerNormLSTMCell(5, cell_clip=0.6, layer_norm=True, **FULL), lstm(0.6)),
    Row("coupled_lstm", CoupledInputForgetGateLSTMCell(5, **FULL), coupled),
    Row("coupled_lstm_norm", CoupledInputForgetGateLSTMCell(5, layer_norm=True, **FULL), coupled),
    Row("weight_norm_lstm", WeightNormLSTMCell(5, cell_clip=0.6, **FULL), weight_norm),
    Row("layer_norm_of_basic", LayerNormWrapper(jaxrnn.BasicRNNCell(5)), normalized_basic),
    Row("layer_norm_of_ugrnn", LayerNormWrapper(UGRNNCell(5)), normalized_ugrnn),
    Row("layer_norm_of_lstm", LayerNormWrapper(jaxrnn.LSTMCell(5)), normalized_lstm),
    Row("layer_norm_of_gru", LayerNormWrapper(jaxrnn.GRUCell(5)), normalized_gru),
    Row("layer_norm_of_gru_reset_before", LayerNormWrapper(jaxrnn.GRUCell(5, reset_after=False)), normalized_gru_reset_before),
]
TF1 = {**FULL, "forget_bias": 0.7}
GOLDENS = {
    "layer_norm_basic_lstm": LayerNormBasicLSTMCell(6, forget_bias=0.7),
    "layer_norm_basic_lstm_off": LayerNormBasicLSTMCell(6, activation=jax.nn.soft_sign, layer_norm=False),
    "layer_norm_lstm": LayerNormLSTMCell(6, cell_clip=0.9, **TF1, **NORM),
    "layer_norm_lstm_off": LayerNormLSTMCell(6, cell_clip=0.9, **TF1),
    "coupled_lstm": CoupledInputForgetGateLSTMCell(6, **TF1),
    "coupled_lstm_norm": CoupledInputForgetGateLSTMCell(6, **TF1, **NORM),
    "weight_norm_lstm": WeightNormLSTMCell(6, cell_clip=0.9, **TF1),
    "weight_norm_lstm_off": WeightNormLSTMCell(6, norm=False),
}
