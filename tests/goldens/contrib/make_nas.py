"""The cell that a search has found. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("nas", lambda: rnn.NASCell(4))
make("nas_full", lambda: rnn.NASCell(5, num_proj=2, use_bias=True))
