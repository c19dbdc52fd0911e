"""LSTMs with layer or weight normalisation. See tf115.py."""

import tensorflow as tf
from tensorflow.contrib.rnn.python.ops import rnn_cell
from tf115 import make

rnn = tf.contrib.rnn
FULL = {"use_peepholes": True, "num_proj": 2, "proj_clip": 0.4, "forget_bias": 0.7}
NORM = {"layer_norm": True, "norm_gain": 0.9, "norm_shift": 0.1}

make("layer_norm_basic_lstm", lambda: rnn.LayerNormBasicLSTMCell(6, forget_bias=0.7, norm_shift=0.1))
make("layer_norm_basic_lstm_off", lambda: rnn.LayerNormBasicLSTMCell(6, activation=tf.nn.softsign, layer_norm=False))
make("layer_norm_lstm", lambda: rnn_cell.LayerNormLSTMCell(6, **dict(FULL, cell_clip=0.9, **NORM)))
make("layer_norm_lstm_off", lambda: rnn_cell.LayerNormLSTMCell(6, **dict(FULL, cell_clip=0.9)))
make("coupled_lstm", lambda: rnn.CoupledInputForgetGateLSTMCell(6, **FULL))
make("coupled_lstm_norm", lambda: rnn.CoupledInputForgetGateLSTMCell(6, **dict(FULL, **NORM)))
make("weight_norm_lstm", lambda: rnn_cell.WeightNormLSTMCell(6, **dict(FULL, cell_clip=0.9)))
make("weight_norm_lstm_off", lambda: rnn_cell.WeightNormLSTMCell(6, norm=False))
