"""Cells whose recurrence is elementwise. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("sru", lambda: rnn.SRUCell(6))
make("sru_softsign", lambda: rnn.SRUCell(6, activation=tf.nn.softsign))
make("ind_rnn", lambda: rnn.IndRNNCell(6))
make("indy_gru", lambda: rnn.IndyGRUCell(6))
make("indy_lstm", lambda: rnn.IndyLSTMCell(6, forget_bias=0.7))
