"""Cells whose candidate is made of the inputs alone. See tf115.py."""

from tensorflow.contrib.rnn.python.ops import rnn_cell  # tf.contrib.rnn does not export these two
from tf115 import make

make("minimal_rnn", lambda: rnn_cell.MinimalRNNCell(5))
make("cfn", lambda: rnn_cell.CFNCell(5))
