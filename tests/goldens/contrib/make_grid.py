"""GridLSTMCell and BidirectionalGridLSTMCell. See tf115.py.

`num_unit_shards` is 1: with more, TF1 has a kernel in pieces.
"""

import tensorflow as tf
from tf115 import make

rnn = tf.contrib.rnn
BLOCKS = {
    "feature_size": 3,
    "frequency_skip": 2,
    "num_frequency_blocks": [2, 1],
    "start_freqindex_list": [0, 4],
    "end_freqindex_list": [5, 7],
}
WINDOWS = {"feature_size": 3, "frequency_skip": 2, "num_frequency_blocks": [2]}
grid, both_ways = rnn.GridLSTMCell, rnn.BidirectionalGridLSTMCell
cells = [
    ("grid", 6, lambda: grid(4, forget_bias=0.7, **WINDOWS)),
    ("grid_blocks", 8, lambda: grid(2, use_peepholes=True, cell_clip=0.5, forget_bias=0.7, **BLOCKS)),
    ("grid_shared", 5, lambda: grid(2, use_peepholes=True, share_time_frequency_weights=True, **WINDOWS)),
    ("grid_coupled", 5, lambda: grid(2, use_peepholes=True, couple_input_forget_gates=True, **WINDOWS)),
    ("grid_after", 5, lambda: both_ways(2, backward_slice_offset=1, forget_bias=0.7, **WINDOWS)),
    ("grid_before", 8, lambda: both_ways(2, backward_slice_offset=-1, **BLOCKS)),
]
for name, size, cell_fn in cells:
    make(name, cell_fn, input_shape=(size,), cases=("mixed",))
