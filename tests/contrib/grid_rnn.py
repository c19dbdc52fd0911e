"""The grids of tf.contrib.grid_rnn: their step in numpy, and the cells of their goldens."""

import functools

import jax
import numpy as np

import jaxrnn
from jaxrnn.contrib import (
    Grid1BasicRNNCell,
    Grid2BasicLSTMCell,
    Grid2BasicRNNCell,
    Grid2GRUCell,
    Grid2LSTMCell,
    Grid3LSTMCell,
    GridRNNCell,
)
from tests import oracle
from tests.rows import Row


def grid(count, inner, inputs=(0,), outputs=(0,), priority=(0,), non_recurrent=(), fn=None, tied=False):
    """`inner(p, x, state, t, row)` is the step of one cell; its state is m, or (c, m)."""

    def step(p, x, state, t, row):
        c, m = {}, {}
        for d, own in zip([d for d in range(count) if d not in non_recurrent], state, strict=True):
            c[d], m[d] = own if isinstance(own, tuple) else (None, own)
        for d, part in zip(inputs, np.split(x, len(inputs)), strict=True):
            m[d] = part @ p[f"project_m_{d}"]
            if d not in non_recurrent and c[d] is not None:
                c[d] = part @ p[f"project_c_{d}"]
        new_state, new_output = {}, {}
        for group in ([d for d in range(count) if d not in priority], priority):
            newest = [new_output.get(d, m.get(d)) for d in range(count)]
            below, last = np.concatenate([np.zeros(0), *newest[:-1]]), newest[-1]
            for d in group:
                weights = p[("non_recurrent" if d in non_recurrent else "recurrent") if tied else f"cell_{d}"]
                if d in non_recurrent:
                    new_output[d] = fn(np.concatenate([below, last]) @ weights["kernel"] + weights["bias"])
                else:
                    own = last if c[d] is None else (c[d], last)
                    new_output[d], new_state[d] = inner(weights, below, own, t, row)
        return np.concatenate([new_output[d] for d in outputs]), tuple(new_state[d] for d in sorted(new_state))

    return step


GRU = functools.partial(jaxrnn.GRUCell, reset_after=False)
ROWS = [
    Row(
        "grid2_lstm",
        Grid2LSTMCell(2, use_peepholes=True, output_is_tuple=False),
        grid(2, oracle.lstm(2, peepholes=True)),
    ),
    Row(
        "grid3_lstm_tanh",
        Grid3LSTMCell(2, tied=True, non_recurrent_fn=jax.numpy.tanh, output_is_tuple=False),
        grid(3, oracle.lstm(2), non_recurrent=(0,), fn=np.tanh, tied=True),
    ),
    Row(
        "grid_rnn",
        GridRNNCell(2, 3, [0, 2], [0, 1], 1, cell_fn=GRU, output_is_tuple=False),
        grid(3, oracle.gru(2, False), (0, 2), (0, 1), (1,)),
        input_size=6,
    ),
]
GOLDENS = {
    "grid1_basic_rnn": Grid1BasicRNNCell(4),
    "grid2_basic_rnn": Grid2BasicRNNCell(4, tied=True),
    "grid2_basic_lstm": Grid2BasicLSTMCell(4, non_recurrent_fn=jax.nn.relu, forget_bias=0.7),
    "grid2_lstm": Grid2LSTMCell(4, use_peepholes=True, forget_bias=0.7),
    "grid3_lstm": Grid3LSTMCell(2, tied=True),
    "grid2_gru": Grid2GRUCell(4),
    "grid_rnn": GridRNNCell(2, 3, [0, 2], [0, 1], 1, cell_fn=GRU),
}
