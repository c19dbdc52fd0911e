"""The neural Turing machine. At time 0 TF1 starts from what is learnt. For its time jaxrnn's state has 0 or 1, row by row.
"ntm" and "ntm_shift" begin at time 3, "ntm_start" at time 0. See tf115.py."""

import tensorflow as tf
from tensorflow.contrib.rnn.python.ops.rnn_cell import NTMCell, NTMControllerState
from tf115 import BATCH, dynamic, make

rnn = tf.contrib.rnn


def begun_at(time):
    def run(cell, inputs, lengths, initial):
        started = tf.ones([BATCH])
        if initial is None:
            state = cell.zero_state(BATCH, tf.float32)
        else:
            controller, reads, addresses, memory, started = initial
            state = NTMControllerState(controller, tf.unstack(reads, axis=1), tf.unstack(addresses, axis=1), memory, None)
        outputs, state = dynamic(cell, inputs, lengths, state._replace(time=tf.constant(float(time))))
        started = tf.ones([BATCH]) if lengths is None else tf.where(tf.equal(lengths, 0), started, tf.ones([BATCH]))
        arrays = tf.stack(state.read_vector_list, axis=1), tf.stack(state.w_list, axis=1), state.M
        return outputs, (state.controller_state,) + arrays + (started,)

    return run


def initial(started):
    """Addresses are shares."""

    def array(rng, leaf, shape):
        if len(shape) == 1:
            return (started + 0 * rng.uniform(size=shape)).astype("float32")
        low = 0.05 if shape[-1] == 6 else -0.8
        return rng.uniform(low, 0.8, shape).astype("float32")

    return array


LSTM = lambda: NTMCell(rnn.LSTMCell(5), 6, 4, 2, 1, output_dim=7)
GRU = lambda: NTMCell(rnn.GRUCell(5), 6, 4, 1, 2, shift_range=2, output_dim=2, clip_value=0.5)
make("ntm", LSTM, run=begun_at(3), initial=initial(1), cases=("mixed",))
make("ntm_shift", GRU, run=begun_at(3), initial=initial(1), cases=("mixed",))
make("ntm_start", LSTM, run=begun_at(0), initial=initial(0), cases=("none",))
