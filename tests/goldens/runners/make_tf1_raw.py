"""Makes raw_rnn.npz: what TF1's raw_rnn really computes where rows end at steps of their own.

A peephole LSTM reads tanh(its own output times `feedback`) plus `inputs`. Row b ends at `sequence_length[b]`, or, in the case
"output", when its first output is above a threshold. It emits its output and the mean of its new cell state. The loop state
counts steps, adds up the outputs of rows that had not ended, and has which rows have. Keys are as in README.md of the folder
above; `wy`, `wm`, `ws/<i>`, `wl` weigh outputs, means, last state and sum of outputs in the loss. To remake, with
tensorflow-cpu==2.15.1 on Python 3.11:

    python tests/goldens/runners/make_tf1_raw.py
"""

import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

FOLDER = pathlib.Path(__file__).parent
BATCH, INPUT_SIZE, UNITS, STEPS = 4, 3, 6, 8
THRESHOLD = 0.02
CASES = {"mixed": [3, 0, 5, 1], "zero": [0, 0, 0, 0], "equal": [4, 4, 4, 4], "output": None}


def draw():
    rng = np.random.default_rng(0)
    uniform = lambda *shape: rng.uniform(-0.8, 0.8, shape).astype(np.float32)
    return {
        "inputs": uniform(BATCH, INPUT_SIZE),
        "feedback": uniform(UNITS, INPUT_SIZE),
        "initial/0": uniform(BATCH, UNITS),
        "initial/1": uniform(BATCH, UNITS),
        "variables/rnn/lstm_cell/kernel": uniform(INPUT_SIZE + UNITS, 4 * UNITS),
        "variables/rnn/lstm_cell/bias": uniform(4 * UNITS),
        "variables/rnn/lstm_cell/w_i_diag": uniform(UNITS),
        "variables/rnn/lstm_cell/w_f_diag": uniform(UNITS),
        "variables/rnn/lstm_cell/w_o_diag": uniform(UNITS),
        "wy": uniform(STEPS, BATCH, UNITS),
        "wm": uniform(STEPS, BATCH),
        "ws/0": uniform(BATCH, UNITS),
        "ws/1": uniform(BATCH, UNITS),
        "wl": uniform(BATCH, UNITS),
    }


def evaluate(arrays, lengths):
    with tf.Graph().as_default(), tf.Session() as session:
        names = ["inputs", "feedback", "initial/0", "initial/1"]
        sources = {name: tf.constant(arrays[name]) for name in names}
        cell = tf.nn.rnn_cell.LSTMCell(UNITS, use_peepholes=True)
        initial = tf.nn.rnn_cell.LSTMStateTuple(sources["initial/0"], sources["initial/1"])

        def loop_fn(time, output, state, loop_state):
            if output is None:
                ended = tf.zeros([BATCH], tf.bool) if lengths is None else time >= lengths
                emit = (tf.zeros([UNITS]), tf.zeros([]))
                return ended, sources["inputs"], initial, emit, (tf.constant(0), tf.zeros([BATCH, UNITS]), ended)
            ended = (output[:, 0] > THRESHOLD) | (time >= STEPS) if lengths is None else time >= lengths
            fed = tf.tanh(output @ sources["feedback"]) + sources["inputs"]
            count, total, had_ended = loop_state
            total += tf.where(had_ended, tf.zeros_like(output), output)
            return ended, fed, state, (output, tf.reduce_mean(state.c, 1)), (count + 1, total, had_ended | ended)

        (outputs, means), state, (count, total, _) = tf.nn.raw_rnn(cell, loop_fn)
        outputs, means = outputs.stack(), means.stack()
        variables = {f"variables/{v.op.name}": v for v in tf.global_variables()}
        sources.update(variables)
        loss = tf.reduce_sum(outputs * tf.constant(arrays["wy"])[: tf.shape(outputs)[0]])
        loss += tf.reduce_sum(means * tf.constant(arrays["wm"])[: tf.shape(means)[0]])
        loss += tf.reduce_sum(state.c * arrays["ws/0"]) + tf.reduce_sum(state.h * arrays["ws/1"])
        loss += tf.reduce_sum(total * arrays["wl"])
        gradients = tf.gradients(loss, list(sources.values()), unconnected_gradients="zero")
        fetches = {"outputs": outputs, "means": means, "state/0": state.c, "state/1": state.h, "count": count, "total": total}
        fetches.update({f"grad/{name}": gradient for name, gradient in zip(sources, gradients, strict=True)})
        session.run([v.assign(arrays[key]) for key, v in variables.items()])
        return session.run(fetches)


if __name__ == "__main__":
    tf.disable_v2_behavior()
    arrays = draw()
    for case, lengths in CASES.items():
        results = evaluate(arrays, lengths)
        arrays |= {f"{case}/{key}": value for key, value in results.items()}
        if lengths is not None:
            arrays[f"{case}/sequence_length"] = np.array(lengths, np.int32)
        print(case, results["count"], results["outputs"][:, :, 0])
    np.savez_compressed(FOLDER / "raw_rnn.npz", **arrays)
