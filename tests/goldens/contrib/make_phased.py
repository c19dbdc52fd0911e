"""The phased LSTM, at times with several cycles between them, before zero too. See tf115.py."""

import numpy as np
import tensorflow as tf
from tf115 import BATCH, INPUT_SIZE, TIME, make

rng = np.random.RandomState(0)
times = (np.cumsum(rng.uniform(0.2, 2.0, (BATCH, TIME, 1)), axis=1) - 3).astype(np.float32)
inputs = times, rng.uniform(-1, 1, (BATCH, TIME, INPUT_SIZE)).astype(np.float32)
ranges = {"period": (0.5, 3.0), "ratio_on": (0.3, 0.9)}
for name, peepholes in ("phased_lstm", False), ("phased_lstm_peephole", True):
    make(name, lambda: tf.contrib.rnn.PhasedLSTMCell(5, peepholes, leak=0.1), inputs=inputs, ranges=ranges)
