"""What the real TensorFlow 1.15 computes with a cell of tf.contrib: the part that the makers of these goldens share.

A maker is a script of one family, `make_<family>.py`, that calls `make(name, cell_fn)` for each of its cells:

    python3.7 -m venv venv
    venv/bin/pip install "pip<24.1" && venv/bin/pip install "tensorflow==1.15.5" "protobuf<3.21" "numpy<1.19"
    venv/bin/python tests/goldens/contrib/make_gated.py [NAME ...]

Each file holds random inputs, weights and initial states, and for every case outputs, last states and gradients of

    loss = sum(outputs * wy) + sum over i of sum(state i * ws i)

under the keys that README.md in the folder above has. Of inputs that are a tuple the leaves are `inputs/0`, `inputs/1`; so
are those of outputs. A variable, or an initial state, whose gradient TF1 says is None has none in the file.
"""

import os
import pathlib
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

tf.logging.set_verbosity(tf.logging.ERROR)

FOLDER = pathlib.Path(__file__).parent
TIME, BATCH, INPUT_SIZE = 5, 4, 3
LENGTHS = {"none": None, "mixed": [3, 0, 5, 1]}


def dynamic(cell, inputs, lengths, initial):
    return tf.nn.dynamic_rnn(cell, inputs, lengths, initial, tf.float32)


def static(cell, inputs, lengths, initial):
    """Where dynamic_rnn refuses a cell."""
    outputs, state = tf.nn.static_rnn(cell, tf.unstack(inputs, axis=1), initial, tf.float32, lengths)
    return tf.stack(outputs, axis=1), state


def keyed(prefix, tree):
    """The leaves of a tree by their keys: `prefix` for a single array, else `prefix/0`, `prefix/1`."""
    leaves = tf.contrib.framework.nest.flatten(tree)
    return {prefix: tree} if leaves == [tree] else {"%s/%d" % (prefix, i): leaf for i, leaf in enumerate(leaves)}


def make(
    name,
    cell_fn,
    input_shape=(INPUT_SIZE,),
    inputs=None,
    run=dynamic,
    cases=("none", "mixed"),
    initial=None,
    limit=0.8,
    ranges={},
    **stored,
):
    """Writes `<name>.npz`.

    Args:
      name: of the file.
      cell_fn: `() -> cell`, called in a fresh graph each time.
      input_shape: of one example's step.
      inputs: the inputs themselves, an array or a tuple of arrays [B, T, ...], where they are not of that shape and uniform.
      run: `(cell, inputs, lengths, initial state) -> (outputs, state)`.
      cases: which lengths.
      initial: a function `(rng, leaf number, shape) -> array` for initial states that are not uniform within 0.8.
      limit: weights are uniform within it.
      ranges: the last part of a variable's name -> (low, high), where it is uniform between these instead.
      stored: other arrays that belong to the file.
    """
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    rng = np.random.RandomState(zlib.crc32(name.encode()) % 2**32)
    uniform = lambda shape, limit: rng.uniform(-limit, limit, shape).astype(np.float32)
    shapes = lambda tree: {key: tuple(leaf.shape.as_list()) for key, leaf in tree.items()}
    inputs = uniform((BATCH, TIME) + tuple(input_shape), 1.0) if inputs is None else inputs
    arrays = dict(stored, **keyed("inputs", inputs))
    with tf.Graph().as_default():
        outputs, state = run(cell_fn(), tf.contrib.framework.nest.map_structure(tf.constant, inputs), None, None)
        for key, shape in shapes(keyed("outputs", outputs)).items():
            arrays[key.replace("outputs", "wy")] = uniform(shape, 1.0)
        for i, leaf in enumerate(tf.contrib.framework.nest.flatten(state)):
            shape = tuple(leaf.shape.as_list())
            arrays["ws/%d" % i] = uniform(shape, 1.0)
            arrays["initial/%d" % i] = initial(rng, i, shape) if initial else uniform(shape, 0.8)
        structure = state
        for variable in tf.global_variables():
            low, high = ranges.get(variable.op.name.split("/")[-1], (-limit, limit))
            arrays["variables/" + variable.op.name] = rng.uniform(low, high, variable.shape.as_list()).astype(np.float32)
    for case in cases:
        arrays.update(
            {
                "%s_initial/%s" % (case, key): value
                for key, value in evaluate(cell_fn, run, arrays, inputs, structure, LENGTHS[case]).items()
            }
        )
        if LENGTHS[case] is not None:
            arrays[case + "_initial/sequence_length"] = np.array(LENGTHS[case], np.int32)
    np.savez_compressed(str(FOLDER / (name + ".npz")), **arrays)
    print(name, sum(value.nbytes for value in arrays.values()), "bytes")


def evaluate(cell_fn, run, arrays, inputs, structure, lengths):
    """Outputs, last states and gradients of one case."""
    nest = tf.contrib.framework.nest
    with tf.Graph().as_default(), tf.Session() as session:
        cell = cell_fn()
        read = nest.map_structure(tf.constant, inputs)
        count = len(nest.flatten(structure))
        leaves = [tf.constant(arrays["initial/%d" % i]) for i in range(count)]
        outputs, state = run(cell, read, lengths, nest.pack_sequence_as(structure, leaves))
        variables = {"variables/" + v.op.name: v for v in tf.global_variables()}
        sources = dict(keyed("inputs", read), **variables)
        sources.update({"initial/%d" % i: leaf for i, leaf in enumerate(leaves)})
        outputs, states = keyed("outputs", outputs), {"state/%d" % i: s for i, s in enumerate(nest.flatten(state))}
        loss = sum(tf.reduce_sum(y * arrays[k.replace("outputs", "wy")]) for k, y in outputs.items())
        loss += sum(tf.reduce_sum(tf.cast(s, tf.float32) * arrays[k.replace("state", "ws")]) for k, s in states.items())
        floating = {k: s for k, s in sources.items() if s.dtype.is_floating}
        grads = dict(zip(floating, tf.gradients(loss, list(floating.values()))))
        fetches = dict(outputs, **states)
        fetches.update({"grad/" + k: tf.convert_to_tensor(g) for k, g in grads.items() if g is not None})
        session.run(tf.global_variables_initializer())
        session.run([v.assign(arrays[key]) for key, v in variables.items()])
        return session.run(fetches)
