"""The grids of tf.contrib.grid_rnn. See tf115.py."""

import tensorflow as tf
from tf115 import dynamic, make

grid_rnn = tf.contrib.grid_rnn


def initialized(*args):
    """A non-recurrent dimension wants an initialiser of the scope."""
    with tf.variable_scope(tf.get_variable_scope(), initializer=tf.glorot_uniform_initializer()):
        return dynamic(*args)


def gru(num_units):
    return tf.nn.rnn_cell.GRUCell(num_units)


cells = [
    ("grid1_basic_rnn", lambda: grid_rnn.Grid1BasicRNNCell(4)),
    ("grid2_basic_rnn", lambda: grid_rnn.Grid2BasicRNNCell(4, tied=True)),
    ("grid2_basic_lstm", lambda: grid_rnn.Grid2BasicLSTMCell(4, non_recurrent_fn=tf.nn.relu, forget_bias=0.7)),
    ("grid2_lstm", lambda: grid_rnn.Grid2LSTMCell(4, use_peepholes=True, forget_bias=0.7)),
    ("grid3_lstm", lambda: grid_rnn.Grid3LSTMCell(2, tied=True)),
    ("grid2_gru", lambda: grid_rnn.Grid2GRUCell(4)),
    ("grid_rnn", lambda: grid_rnn.GridRNNCell(2, 3, [0, 2], [0, 1], 1, cell_fn=gru)),
]
for name, cell_fn in cells:
    make(name, cell_fn, input_shape=(6 if name == "grid_rnn" else 3,), run=initialized, cases=("mixed",))
