"""Makes tf1_<name>.npz: what TF1's RNN runners and cells really compute.

Each file holds one cell configuration with random weights, inputs and initial
state, and for every case of lengths the outputs, the final state and the
gradients that tf.compat.v1.nn.dynamic_rnn (or bidirectional_dynamic_rnn) gives
in graph mode. The static runner must agree, or the script stops. README.md
lists the keys. To remake, with tensorflow-cpu==2.15.1 on Python 3.11:

    python tests/goldens/make_tf1.py
"""

import json
import pathlib
import zlib

import numpy as np
import tensorflow.compat.v1 as tf

FOLDER = pathlib.Path(__file__).parent
TIME, BATCH, INPUT_SIZE = 5, 4, 3
LENGTHS = {
    "none": None,
    "mixed": [3, 0, 5, 1],
    "short": [2, 3, 1, 3],
    "above": [7, 2, 5, 6],
    "zero": [0, 0, 0, 0],
}
INITIAL = "_initial"  # ends the name of a case with a given initial state
CASES = [*LENGTHS, "none" + INITIAL, "mixed" + INITIAL]
CELL_CLIP, PROJ_CLIP = 0.3, 0.16


def cell_config(class_name, **arguments):
    return {"class": class_name, "arguments": arguments}


def unidirectional(class_name, **arguments):
    return {"runner": "dynamic_rnn", "cell": cell_config(class_name, **arguments)}


CONFIGS = {
    "basic": unidirectional("BasicRNNCell", num_units=6),
    "lstm": unidirectional("LSTMCell", num_units=6, forget_bias=0.7),
    "lstm_full": unidirectional(
        "LSTMCell",
        num_units=6,
        use_peepholes=True,
        cell_clip=CELL_CLIP,
        num_proj=2,
        proj_clip=PROJ_CLIP,
        forget_bias=1.0,
    ),
    "lstm_peephole": unidirectional("LSTMCell", num_units=6, use_peepholes=True),
    "gru": unidirectional("GRUCell", num_units=6),
    "multi": unidirectional(
        "MultiRNNCell",
        cells=[
            cell_config("LSTMCell", num_units=6, num_proj=2),
            cell_config("GRUCell", num_units=3),
            cell_config("BasicRNNCell", num_units=7),
        ],
    ),
    "residual": unidirectional("ResidualWrapper", cell=cell_config("GRUCell", num_units=INPUT_SIZE)),
    "bidirectional": {
        "runner": "bidirectional_dynamic_rnn",
        "cell_fw": cell_config("LSTMCell", num_units=6, use_peepholes=True),
        "cell_bw": cell_config("GRUCell", num_units=7),
    },
}


def build(value):
    """Replaces every cell configuration in an argument by the cell itself."""
    if isinstance(value, list):
        return [build(item) for item in value]
    if isinstance(value, dict):
        cell_class = getattr(tf.nn.rnn_cell, value["class"])
        return cell_class(**{k: build(v) for k, v in value["arguments"].items()})
    return value


# A runner takes (cells, inputs, lengths, initial states), where a direction has
# one cell and one initial state, and gives a dict of batch-major outputs by the
# suffix of their key, and the final state.


def run_dynamic(cells, inputs, lengths, initial):
    outputs, state = tf.nn.dynamic_rnn(*cells, inputs, lengths, *initial, tf.float32)
    return {"": outputs}, state


def run_static(cells, inputs, lengths, initial):
    steps = tf.unstack(inputs, axis=1)
    outputs, state = tf.nn.static_rnn(*cells, steps, *initial, tf.float32, lengths)
    return {"": tf.stack(outputs, axis=1)}, state


def run_bidirectional_dynamic(cells, inputs, lengths, initial):
    (fw, bw), state = tf.nn.bidirectional_dynamic_rnn(*cells, inputs, lengths, *initial, tf.float32)
    return {"/fw": fw, "/bw": bw}, state


def run_bidirectional_static(cells, inputs, lengths, initial):
    steps = tf.unstack(inputs, axis=1)
    outputs, state_fw, state_bw = tf.nn.static_bidirectional_rnn(*cells, steps, *initial, tf.float32, lengths)
    sizes = [cell.output_size for cell in cells]
    fw, bw = tf.split(tf.stack(outputs, axis=1), sizes, axis=-1)
    return {"/fw": fw, "/bw": bw}, (state_fw, state_bw)


RUNNERS = {
    "dynamic_rnn": (run_dynamic, run_static),
    "bidirectional_dynamic_rnn": (run_bidirectional_dynamic, run_bidirectional_static),
}


def build_cells(config):
    return tuple(build(v) for k, v in config.items() if k.startswith("cell"))


def draw(config, rng):
    """Random inputs, weights, initial state and loss weights of one file."""

    def uniform(shape, limit):
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    arrays = {"inputs": uniform([BATCH, TIME, INPUT_SIZE], 1.0)}
    with tf.Graph().as_default():
        cells = build_cells(config)
        run, _ = RUNNERS[config["runner"]]
        outputs, state = run(cells, arrays["inputs"], None, [None] * len(cells))
        for suffix, output in outputs.items():
            arrays["wy" + suffix] = uniform(output.shape, 1.0)
        for i, leaf in enumerate(tf.nest.flatten(state)):
            arrays[f"ws/{i}"] = uniform(leaf.shape, 1.0)
            arrays[f"initial/{i}"] = uniform(leaf.shape, 0.8)
        for variable in tf.global_variables():
            arrays[f"variables/{variable.op.name}"] = uniform(variable.shape, 0.8)
    return arrays


def evaluate(config, run, arrays, case):
    """Outputs, final state and gradients of one case by one runner."""
    with tf.Graph().as_default(), tf.Session() as session:
        cells = build_cells(config)
        sources = {"inputs": tf.constant(arrays["inputs"])}
        initial = [None] * len(cells)
        if case.endswith(INITIAL):
            keys = [key for key in arrays if key.startswith("initial/")]
            leaves = {key: tf.constant(arrays[key]) for key in keys}
            sizes = [cell.state_size for cell in cells]
            initial = tf.nest.pack_sequence_as(sizes, list(leaves.values()))
            sources.update(leaves)
        lengths = LENGTHS[case.removesuffix(INITIAL)]
        outputs, state = run(cells, sources["inputs"], lengths, initial)
        variables = {f"variables/{v.op.name}": v for v in tf.global_variables()}
        sources.update(variables)

        state = dict(enumerate(tf.nest.flatten(state)))
        loss = sum(tf.reduce_sum(y * arrays["wy" + k]) for k, y in outputs.items())
        loss += sum(tf.reduce_sum(s * arrays[f"ws/{i}"]) for i, s in state.items())
        gradients = tf.gradients(loss, list(sources.values()))

        fetches = {f"outputs{k}": y for k, y in outputs.items()}
        fetches.update({f"state/{i}": s for i, s in state.items()})
        fetches.update({f"grad/{k}": g for k, g in zip(sources, gradients, strict=True)})
        session.run([v.assign(arrays[key]) for key, v in variables.items()])
        return session.run(fetches)


def check_same(dynamic, static):
    assert dynamic.keys() == static.keys()
    for key in dynamic:
        np.testing.assert_allclose(static[key], dynamic[key], rtol=1e-6, atol=1e-6, err_msg=key)


def check_clips(arrays):
    """Both clips of lstm_full must act on some elements and spare others."""
    cell_clipped = np.abs(arrays["none/state/0"]) == np.float32(CELL_CLIP)
    proj_clipped = np.abs(arrays["none/outputs"]) == np.float32(PROJ_CLIP)
    for clipped in (cell_clipped, proj_clipped):
        assert clipped.any() and not clipped.all()


def make(name):
    config = CONFIGS[name]
    dynamic, static = RUNNERS[config["runner"]]
    arrays = draw(config, np.random.default_rng(zlib.crc32(name.encode())))
    sizes = {"time": TIME, "batch": BATCH, "input_size": INPUT_SIZE}
    arrays["config"] = np.array(json.dumps({**config, **sizes}))
    for case in CASES:
        if name == "bidirectional" and case == "above":
            continue  # reverse_sequence rejects a length above the time
        results = evaluate(config, dynamic, arrays, case)
        check_same(results, evaluate(config, static, arrays, case))
        arrays.update({f"{case}/{key}": value for key, value in results.items()})
        lengths = LENGTHS[case.removesuffix(INITIAL)]
        if lengths is not None:
            arrays[f"{case}/sequence_length"] = np.array(lengths, np.int32)
    if name == "lstm_full":
        check_clips(arrays)
    np.savez_compressed(FOLDER / f"tf1_{name}.npz", **arrays)


if __name__ == "__main__":
    tf.disable_v2_behavior()
    for name in CONFIGS:
        make(name)
