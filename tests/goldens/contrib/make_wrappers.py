"""Wrappers with gates or attention of their own. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("highway", lambda: rnn.HighwayWrapper(rnn.LSTMCell(3)))
make("highway_uncoupled", lambda: rnn.HighwayWrapper(rnn.LSTMCell(3), couple_carry_transform_gates=False))
make("attention_cell", lambda: rnn.AttentionCellWrapper(rnn.GRUCell(5), 4))
stack = lambda: rnn.MultiRNNCell([rnn.GRUCell(4), rnn.LSTMCell(5)])
make("attention_cell_sizes", lambda: rnn.AttentionCellWrapper(stack(), 4, attn_size=2, attn_vec_size=6, input_size=7))
