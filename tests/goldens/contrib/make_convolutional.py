"""Convolutional LSTMs. TF1's own loops cannot run one with a skip connection, whose state gets the inputs' channels: it is
stepped by hand, and the state goes on without them. See tf115.py."""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn


def without_skipped_channels(cell, inputs, lengths, initial):
    batch, time = inputs.shape.as_list()[:2]
    state, outputs = initial or cell.zero_state(batch, tf.float32), []
    with tf.variable_scope("rnn"):
        for t in range(time):
            output, state = cell(inputs[:, t], state)
            state = rnn.LSTMStateTuple(state.c, state.h[..., : state.c.shape[-1]])
            outputs.append(output)
    return tf.stack(outputs, axis=1), state


def conv(cls, shape, channels, window, **options):
    return lambda: cls(input_shape=shape, output_channels=channels, kernel_shape=window, **options)


skip = conv(rnn.Conv1DLSTMCell, [5, 3], 2, [3], skip_connection=True)
make("conv_1d_lstm", conv(rnn.Conv1DLSTMCell, [5, 3], 2, [4], forget_bias=0.7), input_shape=(5, 3))
make("conv_1d_lstm_skip", skip, input_shape=(5, 3), run=without_skipped_channels, cases=("none",))
make("conv_2d_lstm", conv(rnn.Conv2DLSTMCell, [3, 2, 3], 2, [3, 2]), input_shape=(3, 2, 3))
volume = conv(rnn.Conv3DLSTMCell, [2, 3, 2, 2], 1, [2, 3, 1], use_bias=False, forget_bias=0.7)
make("conv_3d_lstm", volume, input_shape=(2, 3, 2, 2))
