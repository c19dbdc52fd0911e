"""Wrappers with gates or attention of their own. See tf115.py."""

import numpy as np
import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("highway", lambda: rnn.HighwayWrapper(rnn.LSTMCell(3)))
make("highway_uncoupled", lambda: rnn.HighwayWrapper(rnn.LSTMCell(3), couple_carry_transform_gates=False))
make("attention_cell", lambda: rnn.AttentionCellWrapper(rnn.GRUCell(5), 4))
stack = lambda: rnn.MultiRNNCell([rnn.GRUCell(4), rnn.LSTMCell(5)])
make("attention_cell_sizes", lambda: rnn.AttentionCellWrapper(stack(), 4, attn_size=2, attn_vec_size=6, input_size=7))
make("input_projection", lambda: rnn.InputProjectionWrapper(rnn.GRUCell(5), 2, activation=tf.tanh))
make("output_projection", lambda: rnn.OutputProjectionWrapper(rnn.LSTMCell(5), 2, activation=tf.nn.softsign))
ids = np.random.RandomState(0).randint(0, 11, (4, 5, 1)).astype(np.int32)
make("embedding", lambda: rnn.EmbeddingWrapper(rnn.GRUCell(5), 11, 2), inputs=ids)
