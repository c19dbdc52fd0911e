"""The group LSTM. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
make("glstm", lambda: rnn.GLSTMCell(5))
make(
    "glstm_projected",
    lambda: rnn.GLSTMCell(9, num_proj=6, number_of_groups=3, forget_bias=0.7, activation=tf.nn.softsign),
    input_shape=(12,),
)
