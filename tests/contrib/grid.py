"""The grids of time and frequency: their steps in numpy, and the cells of their goldens."""

import numpy as np

from jaxrnn.contrib import BidirectionalGridLSTMCell, GridLSTMCell
from tests.oracle import sigmoid
from tests.rows import Row


def block(p, windows, state, gates="ifgo", lstms=("freq", "time"), clip=None):
    """One walk over the windows of a block: outputs in a list, new states."""
    h = state[0][0].size
    columns = {key: k for k, key in enumerate((lstm, gate) for lstm in lstms for gate in gates)}
    cut = lambda array, lstm, gate: array[..., columns[lstm, gate] * h : (columns[lstm, gate] + 1) * h]
    clipped = lambda c: c if clip is None else np.clip(c, -clip, clip)
    c_f, m_f, outputs, new = np.zeros(h), np.zeros(h), [], []
    for w, (c_t, m_t) in zip(windows, state, strict=True):

        def before(lstm, gate, x=w, c_f=c_f, m_f=m_f, c_t=c_t, m_t=m_t):
            a = x @ cut(p["kernel"], lstm, gate) + m_t @ cut(p["recurrent_kernel"], lstm, gate)
            a = a + m_f @ cut(p["frequency_kernel"], lstm, gate) + cut(p["bias"], lstm, gate)
            return a if gate in "go" else a + seen(lstm, gate, c_f, c_t)

        def seen(lstm, gate, c_f, c_t):
            name = f"w_{gate}_diag_{lstm}"
            return p[name + "f"] * c_f + p[name + "t"] * c_t if name + "f" in p else 0

        i_f, i_t = sigmoid(before(lstms[0], "i")), sigmoid(before(lstms[-1], "i"))
        f_f = sigmoid(before(lstms[0], "f")) if "f" in gates else 1 - i_f
        f_t = sigmoid(before(lstms[-1], "f")) if "f" in gates else 1 - i_t
        o_f, o_t = before(lstms[0], "o"), before(lstms[-1], "o")
        c_f, c_t = (
            clipped(f_f * c_f + i_f * np.tanh(before(lstms[0], "g"))),
            clipped(f_t * c_t + i_t * np.tanh(before(lstms[-1], "g"))),
        )
        m_f = sigmoid(o_f + seen(lstms[0], "o", c_f, c_t)) * np.tanh(c_f)
        m_t = sigmoid(o_t + seen(lstms[-1], "o", c_f, c_t)) * np.tanh(c_t)
        outputs += [m_t, m_f]
        new.append((c_t, m_t))
    return outputs, tuple(new)


def grid(starts, size, **options):
    """`starts`: where the windows of each block begin."""

    def step(p, x, state, t, row):
        outputs, new = [], []
        for b, begins in enumerate(starts):
            each, states = block(p[f"block_{b}"], [x[s : s + size] for s in begins], state[b], **options)
            outputs += each
            new.append(states)
        return np.concatenate(outputs), tuple(new)

    return step


def both_ways(forward, backward, pad):
    """A grid of the features, and one of the features with `pad` zeros around them."""

    def step(p, x, state, t, row):
        one, new_one = forward(p["fwd"], x, state[0], t, row)
        two, new_two = backward(p["bwd"], np.pad(x, pad), state[1], t, row)
        return np.concatenate([one, two]), (new_one, new_two)

    return step


# Blocks of two and of one window, which overlap.
BLOCKS = {
    "feature_size": 3,
    "frequency_skip": 2,
    "num_frequency_blocks": [2, 1],
    "start_freqindex_list": [0, 4],
    "end_freqindex_list": [5, 7],
}
WINDOWS = {"feature_size": 3, "frequency_skip": 2, "num_frequency_blocks": [2]}  # of 5 or 6 features
ROWS = [
    Row(
        "grid_blocks",
        GridLSTMCell(2, use_peepholes=True, cell_clip=0.6, **BLOCKS),
        grid([[0, 2], [4]], 3, clip=0.6),
        input_size=8,
    ),
    Row(
        "grid_shared",
        GridLSTMCell(2, use_peepholes=True, share_time_frequency_weights=True, **WINDOWS),
        grid([[0, 2]], 3, lstms=("freq",)),
        input_size=5,
    ),
    Row(
        "grid_coupled",
        GridLSTMCell(2, use_peepholes=True, couple_input_forget_gates=True, **WINDOWS),
        grid([[0, 2]], 3, gates="igo"),
        input_size=6,
    ),
    Row(
        "grid_both_ways",
        BidirectionalGridLSTMCell(2, backward_slice_offset=1, **WINDOWS),
        both_ways(grid([[0, 2]], 3), grid([[3, 1]], 3), (0, 1)),
        input_size=5,
    ),
]
GOLDENS = {
    "grid": GridLSTMCell(4, forget_bias=0.7, **WINDOWS),
    "grid_blocks": GridLSTMCell(2, use_peepholes=True, cell_clip=0.5, forget_bias=0.7, **BLOCKS),
    "grid_shared": GridLSTMCell(2, use_peepholes=True, share_time_frequency_weights=True, **WINDOWS),
    "grid_coupled": GridLSTMCell(2, use_peepholes=True, couple_input_forget_gates=True, **WINDOWS),
    "grid_after": BidirectionalGridLSTMCell(2, backward_slice_offset=1, forget_bias=0.7, **WINDOWS),
    "grid_before": BidirectionalGridLSTMCell(2, backward_slice_offset=-1, **BLOCKS),
}
