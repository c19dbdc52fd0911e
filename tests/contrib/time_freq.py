"""The LSTM over time and frequency: its step in numpy, and the cells of its goldens."""

import numpy as np

from jaxrnn.contrib import TimeFreqLSTMCell
from tests.oracle import sigmoid
from tests.rows import Row


def time_freq(size, skip, clip=None):
    """Windows of `size` features, `skip` apart."""

    def step(p, x, state, t, row):
        h = state[0][0].size
        wi, wf, wg, wo = (p["kernel"][:, k * h : (k + 1) * h] for k in range(4))
        ui, uf, ug, uo = (p["recurrent_kernel"][:, k * h : (k + 1) * h] for k in range(4))
        vi, vf, vg, vo = (p["frequency_kernel"][:, k * h : (k + 1) * h] for k in range(4))
        bi, bf, bg, bo = (p["bias"][k * h : (k + 1) * h] for k in range(4))
        pi, pf, po = (p.get(f"w_{gate}_diag", np.zeros(h)) for gate in "ifo")
        below, new = np.zeros(h), []
        for k, (c, m) in enumerate(state):
            w = x[k * skip : k * skip + size]
            i = sigmoid(w @ wi + m @ ui + below @ vi + bi + pi * c)
            f = sigmoid(w @ wf + m @ uf + below @ vf + bf + pf * c)
            c = f * c + i * np.tanh(w @ wg + m @ ug + below @ vg + bg)
            c = c if clip is None else np.clip(c, -clip, clip)
            below = sigmoid(w @ wo + m @ uo + below @ vo + bo + po * c) * np.tanh(c)
            new.append((c, below))
        return np.concatenate([m for _, m in new]), tuple(new)

    return step


ROWS = [
    Row(
        "time_freq",
        TimeFreqLSTMCell(2, use_peepholes=True, cell_clip=0.6, feature_size=3, frequency_skip=2, input_size=8),
        time_freq(3, 2, 0.6),
        input_size=8,
    ),
]
GOLDENS = {
    "time_freq": TimeFreqLSTMCell(4, forget_bias=0.7, feature_size=3, input_size=3),
    "time_freq_windows": TimeFreqLSTMCell(2, use_peepholes=True, cell_clip=0.5, feature_size=3, frequency_skip=2, input_size=8),
}
