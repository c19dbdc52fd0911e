"""TimeFreqLSTMCell. See tf115.py."""

import tensorflow as tf
from tf115 import dynamic, make, static

rnn = tf.contrib.rnn


def in_parts(count, run):
    """TF1's flat state as its parts `[B, H]`, c and m of each window."""

    def run_in_parts(cell, inputs, lengths, initial):
        if initial is None:
            initial = [tf.zeros([int(inputs.shape[0]), cell.output_size])] * count
        outputs, state = run(cell, inputs, lengths, tf.concat(initial, axis=1))
        return outputs, tuple(tf.split(state, count, axis=1))

    return run_in_parts


make("time_freq", lambda: rnn.TimeFreqLSTMCell(4, forget_bias=0.7, feature_size=3), run=in_parts(2, dynamic))
make(
    "time_freq_windows",
    lambda: rnn.TimeFreqLSTMCell(2, use_peepholes=True, cell_clip=0.5, feature_size=3, frequency_skip=2),
    input_shape=(8,),
    run=in_parts(6, static),  # dynamic_rnn and lengths want one window, as state_size says
    cases=("none",),
)
