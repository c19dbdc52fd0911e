"""The phased LSTM: its step in numpy, and the cells of its goldens."""

import numpy as np

from jaxrnn.contrib import PhasedLSTMCell
from tests.oracle import sigmoid
from tests.rows import D, Row


def phased(leak, peepholes=False):
    def step(p, inputs, state, t, row):
        time, x = inputs
        c, h = state
        size = len(c)
        w, u, b = (
            [p[name][..., k * size : (k + 1) * size] for k in range(4)] for name in ("kernel", "recurrent_kernel", "bias")
        )
        i, f, g, o = (x @ w[k] + h @ u[k] + b[k] for k in range(4))
        if peepholes:
            i, f = i + c @ p["peephole_kernel"][:, :size], f + c @ p["peephole_kernel"][:, size:]
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        o = o + new_c @ p["output_peephole_kernel"] if peepholes else o
        new_h = sigmoid(o) * np.tanh(new_c)
        openness = np.zeros(size)
        for unit in range(size):
            on, period = p["ratio_on"][unit], p["period"][unit]
            q = (time[0] - p["phase"][unit]) % period / period
            openness[unit] = q / (on / 2) if q < on / 2 else (on - q) / (on / 2) if q < on else leak * q
        c, h = openness * new_c + (1 - openness) * c, openness * new_h + (1 - openness) * h
        return h, (c, h)

    return step


def draw(rng, batch, time):
    return np.cumsum(rng.uniform(0.05, 0.3, (batch, time, 1)), axis=1), rng.standard_normal((batch, time, D))


# All is in the first cycle: in later ones TF1's gradient of the period is no derivative. The goldens have these.
RANGES = {"period": (2.7, 4), "phase": (-0.5, 0), "ratio_on": (0.3, 0.9)}
# Where the cells' own periods start, bfloat16 tells times of one cycle apart.
OPTIONS = {"leak": 0.1, "ratio_on": 0.5, "period_init_min": 30, "period_init_max": 100}
ROWS = [
    Row("phased_lstm", PhasedLSTMCell(5, **OPTIONS), phased(0.1), draw=draw, ranges=RANGES),
    Row("phased_lstm_peephole", PhasedLSTMCell(4, True, **OPTIONS), phased(0.1, True), draw=draw, ranges=RANGES),
]
GOLDENS = {
    "phased_lstm": PhasedLSTMCell(5, leak=0.1),
    "phased_lstm_peephole": PhasedLSTMCell(5, use_peepholes=True, leak=0.1),
}
