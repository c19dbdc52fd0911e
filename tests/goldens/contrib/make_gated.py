"""Cells of one or two gates. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("ugrnn", lambda: rnn.UGRNNCell(6, forget_bias=0.7))
make("intersection", lambda: rnn.IntersectionRNNCell(3))
make("intersection_projected", lambda: rnn.IntersectionRNNCell(5, num_in_proj=5, forget_bias=0.7))
