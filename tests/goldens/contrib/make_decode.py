"""What the real TensorFlow 1.15 decodes and loses: `decode.npz` and `sequence_loss.npz`. See tf115.py for how to run it.

Each case of `decode.npz` is a run of dynamic_decode with BasicDecoder. Under `<case>/`: `source/<name>` what it reads, with the
weights as `variables/<name>`; `rnn_output`, `sample_id`, `state/<i>`, `lengths` what it gives; `grad/<key>` the gradient of

    loss = sum(rnn_output * wy) + sum over i of sum(state i * ws i)

`<case>/wy` is as long as maximum_iterations; TF1's outputs end with the longest row. tests/seq2seq/decoding.py has the same
decoders in jaxrnn.
"""

import zlib

import numpy as np
import tensorflow as tf
from tf115 import FOLDER

s2s, nest = tf.contrib.seq2seq, tf.contrib.framework.nest
B, T, D, H, V, A = 4, 5, 3, 6, 7, 2
LENGTHS = np.array([3, 0, 5, 1], np.int32)
dense = lambda size: tf.layers.Dense(size, use_bias=False)
lstm = lambda: tf.nn.rnn_cell.LSTMCell(H)


def training(s):
    return s2s.TrainingHelper(s["inputs"], LENGTHS)


def greedy(s):
    return s2s.GreedyEmbeddingHelper(s["embedding"], [1, 2, 3, 4], 0)


def inference(s):
    return s2s.InferenceHelper(tf.tanh, [D], tf.float32, s["start"], lambda ids: ids[:, 0] > 0.3)


def custom(s):
    return s2s.CustomHelper(
        lambda: (tf.equal(LENGTHS, 0), s["start"]),
        lambda time, outputs, state: tf.cast(tf.argmax(outputs, -1), tf.int32),
        lambda time, outputs, state, sample_ids: (
            time + 1 >= LENGTHS,
            tf.gather(s["embedding"], sample_ids) * tf.cast(time + 1, tf.float32),
            nest.map_structure(lambda leaf: 0.9 * leaf, state),
        ),
    )


def scheduled_embedding(s):
    return s2s.ScheduledEmbeddingTrainingHelper(s["inputs"], LENGTHS, s["embedding"], 0.0)


def scheduled_output(s):
    return s2s.ScheduledOutputTrainingHelper(
        s["inputs"],
        LENGTHS,
        1.0,
        next_inputs_fn=lambda outputs: tf.tanh(outputs @ s["feedback"]),
        auxiliary_inputs=s["auxiliary"],
    )


def scheduled_plain(probability):
    return lambda s: s2s.ScheduledOutputTrainingHelper(s["inputs"], LENGTHS, probability)


TRUE, WORDS, START = {"inputs": (B, T, D)}, {"embedding": (V, D)}, {"start": (B, D)}
layers = lambda: tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(H), tf.nn.rnn_cell.GRUCell(H - 1)])
IMPUTE = {"maximum_iterations": T, "impute_finished": True}
LONG = {"maximum_iterations": 8, "impute_finished": True}
CASES = {  # cell, size of the output layer, helper, what it reads, options of dynamic_decode
    "decode_training": (lstm, V, training, TRUE, IMPUTE),
    "decode_training_no_impute": (lstm, V, training, TRUE, {"maximum_iterations": T}),
    "decode_training_maximum": (lstm, V, training, TRUE, {"maximum_iterations": 2, "impute_finished": True}),
    "decode_training_layers": (layers, V, training, TRUE, IMPUTE),
    "decode_scheduled_embedding_never": (lstm, V, scheduled_embedding, dict(TRUE, **WORDS), IMPUTE),
    "decode_scheduled_output": (
        lstm,
        V,
        scheduled_output,
        dict(TRUE, auxiliary=(B, T, A), feedback=(V, D)),
        IMPUTE,
    ),
    "decode_scheduled_output_plain": (lstm, D, scheduled_plain(1.0), TRUE, {"maximum_iterations": T}),
    "decode_scheduled_output_never": (lstm, D, scheduled_plain(0.0), TRUE, IMPUTE),
    "decode_greedy": (lstm, V, greedy, WORDS, LONG),
    "decode_greedy_no_impute": (lstm, V, greedy, WORDS, {"maximum_iterations": 8}),
    "decode_greedy_time_major": (lstm, V, greedy, WORDS, dict(LONG, output_time_major=True)),
    "decode_inference": (lstm, D, inference, START, LONG),
    "decode_custom": (lstm, V, custom, dict(WORDS, **START), LONG),
}


def draw(case):
    """Sources, initial states, variables and the weights of the loss."""
    cell_fn, size, helper, sources, options = CASES[case]
    seed = case.replace("_no_impute", "").replace("_time_major", "").replace("_maximum", "")
    rng = np.random.RandomState(zlib.crc32(seed.encode()) % 2**32)
    uniform = lambda shape, limit: rng.uniform(-limit, limit, shape).astype(np.float32)
    arrays = {"source/" + name: uniform(shape, 1.0) for name, shape in sorted(sources.items())}
    with tf.Graph().as_default():
        cell = cell_fn()
        sizes = nest.flatten(cell.state_size)
        arrays.update({"source/initial/%d" % i: uniform((B, size), 0.8) for i, size in enumerate(sizes)})
        run(case, arrays)
        for variable in sorted(tf.global_variables(), key=lambda v: v.op.name):
            arrays["variables/" + variable.op.name] = uniform(tuple(variable.shape.as_list()), 1.5)
    steps = options["maximum_iterations"]
    arrays["wy"] = uniform((steps, B, size) if options.get("output_time_major") else (B, steps, size), 1.0)
    arrays.update({"ws/%d" % i: uniform((B, size), 1.0) for i, size in enumerate(sizes)})
    return arrays


def run(case, arrays):
    cell_fn, size, helper, _, options = CASES[case]
    sources = {key[len("source/") :]: tf.constant(a) for key, a in arrays.items() if key.startswith("source/")}
    cell = cell_fn()
    leaves = [sources["initial/%d" % i] for i in range(len(nest.flatten(cell.state_size)))]
    decoder = s2s.BasicDecoder(cell, helper(sources), nest.pack_sequence_as(cell.state_size, leaves), dense(size))
    return sources, s2s.dynamic_decode(decoder, **options)


def evaluate(case, arrays):
    with tf.Graph().as_default(), tf.Session() as session:
        sources, (outputs, state, lengths) = run(case, arrays)
        variables = {"variables/" + v.op.name: v for v in tf.global_variables()}
        sources = dict(variables, **{"source/" + key: source for key, source in sources.items()})
        wy = tf.constant(arrays["wy"])
        steps = tf.shape(outputs.rnn_output)
        wy = wy[: steps[0]] if CASES[case][4].get("output_time_major") else wy[:, : steps[1]]
        states = {"state/%d" % i: leaf for i, leaf in enumerate(nest.flatten(state))}
        loss = tf.reduce_sum(outputs.rnn_output * wy)
        loss += sum(tf.reduce_sum(leaf * arrays[key.replace("state", "ws")]) for key, leaf in states.items())
        gradients = dict(zip(sources, tf.gradients(loss, list(sources.values()))))
        fetches = dict(states, rnn_output=outputs.rnn_output, sample_id=outputs.sample_id, lengths=lengths)
        fetches.update({"grad/" + key: tf.convert_to_tensor(g) for key, g in gradients.items() if g is not None})
        session.run([v.assign(arrays[key]) for key, v in variables.items()])
        return session.run(fetches)


def losses():
    """sequence_loss with all 16 flags, keyed by them; and its gradients."""
    rng = np.random.RandomState(5)
    weights = rng.uniform(0.5, 1.5, (B, T)).astype(np.float32)
    weights[1], weights[:, 3] = 0, 0
    arrays = {
        "logits": rng.uniform(-2, 2, (B, T, V)).astype(np.float32),
        "targets": rng.randint(0, V, (B, T)).astype(np.int32),
        "weights": weights,
        "wl": rng.uniform(-1, 1, (B, T)).astype(np.float32),
    }
    for number in range(16):
        flags = [bool(number >> bit & 1) for bit in range(4)]
        key = "".join("01"[flag] for flag in flags)
        with tf.Graph().as_default(), tf.Session() as session:
            logits, weights = tf.constant(arrays["logits"]), tf.constant(arrays["weights"])
            try:
                loss = s2s.sequence_loss(logits, tf.constant(arrays["targets"]), weights, *flags)
            except ValueError:
                continue
            shape = loss.shape.as_list()
            # The weight of each loss: a row or a column of wl, where one axis is gone.
            wl = arrays["wl"] if len(shape) == 2 else arrays["wl"][:, 0] if shape == [B] else arrays["wl"][0]
            gradients = tf.gradients(tf.reduce_sum(loss * (wl if shape else 1.0)), [logits, weights])
            arrays[key], arrays[key + "/grad/logits"], arrays[key + "/grad/weights"] = session.run([loss] + gradients)
    return arrays


if __name__ == "__main__":
    results = {}
    for case in CASES:
        arrays = draw(case)
        arrays.update(evaluate(case, arrays))
        print(case, arrays["lengths"], arrays["sample_id"].shape)
        results.update({case + "/" + key: value for key, value in arrays.items()})
    np.savez_compressed(str(FOLDER / "decode.npz"), **results)
    np.savez_compressed(str(FOLDER / "sequence_loss.npz"), **losses())
