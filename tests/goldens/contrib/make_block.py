"""The cells that TF1 has as one op a step, and as one op a sequence. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn, cudnn = tf.contrib.rnn, tf.contrib.cudnn_rnn


def fused(cell, inputs, lengths, initial):
    """A layer over time, in the scope that to_tf1 writes."""
    with tf.variable_scope("rnn"):
        outputs, state = cell(tf.transpose(inputs, [1, 0, 2]), initial, tf.float32, lengths)
    return tf.transpose(outputs, [1, 0, 2]), state


make("lstm_block", lambda: rnn.LSTMBlockCell(5))
make("lstm_block_full", lambda: rnn.LSTMBlockCell(5, forget_bias=0.7, cell_clip=0.3, use_peephole=True))
make("gru_block", lambda: rnn.GRUBlockCell(5))
make("gru_block_v2", lambda: rnn.GRUBlockCellV2(5))
make("cudnn_compatible_lstm", lambda: cudnn.CudnnCompatibleLSTMCell(5))
make("cudnn_compatible_gru", lambda: cudnn.CudnnCompatibleGRUCell(5))
lstm = lambda: rnn.LSTMBlockFusedCell(5, forget_bias=0.7, cell_clip=0.3, use_peephole=True)
make("lstm_block_fused", lstm, run=fused)
make("lstm_block_fused_reversed", lambda: rnn.TimeReversedFusedRNN(lstm()), run=fused)
