"""UGRNNCell alone so far: the pattern for the others. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("ugrnn", lambda: rnn.UGRNNCell(6, forget_bias=0.7))
