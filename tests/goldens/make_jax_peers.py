"""Makes keras_*, flax_*, haiku_* and equinox_*.npz: what the recurrent layers of JAX's other libraries really compute.

Each file holds one layer's configuration with random weights, inputs and initial
state, and for every case of lengths the outputs, the final state and the
gradients, all batch first; Haiku and Equinox know no lengths. README.md lists the
keys. To remake, with keras==3.15.1, flax==0.12.12, dm-haiku==0.0.17 and
equinox==0.13.8 on jax==0.12.0.1 (CPU):

    python tests/goldens/make_jax_peers.py
"""

import functools
import json
import operator
import os
import pathlib
import zlib

os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")  # both are read on import

import equinox
import flax
import haiku
import jax
import jax.numpy as jnp
import keras
import numpy as np
from flax import linen, nnx

FOLDER = pathlib.Path(__file__).parent
TIME, BATCH, INPUT_SIZE, HIDDEN_SIZE = 5, 4, 3, 6
LENGTHS = {"none_initial": None, "mixed_initial": np.array([3, 1, 5, 2], np.int32)}
ZEROS = jnp.zeros([BATCH, TIME, INPUT_SIZE])


def part(class_name, **arguments):
    return {"class": class_name, "arguments": arguments}


def keras_layer(class_name, **arguments):
    options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
    return part(class_name, **arguments, **options)


def keras_stack():
    cells = [part("LSTMCell", units=HIDDEN_SIZE), part("GRUCell", units=4), part("SimpleRNNCell", units=5, activation="relu")]
    return keras_layer("RNN", cell=part("StackedRNNCells", cells=cells))


def linen_bidirectional():
    rnn = part("linen.RNN", cell=part("linen.GRUCell", features=HIDDEN_SIZE))
    return part("linen.Bidirectional", forward_rnn=rnn, backward_rnn=rnn)


def nnx_cell(class_name):
    return part(class_name, in_features=INPUT_SIZE, hidden_features=HIDDEN_SIZE)


def equinox_cell(class_name, use_bias=True):
    return part(class_name, input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE, use_bias=use_bias)


CONFIGS = {
    "keras_simple": keras_layer("SimpleRNN", units=HIDDEN_SIZE, activation="tanh"),
    "keras_simple_relu": keras_layer("SimpleRNN", units=HIDDEN_SIZE, activation="relu"),
    "keras_lstm": keras_layer("LSTM", units=HIDDEN_SIZE),
    "keras_lstm_nobias": keras_layer("LSTM", units=HIDDEN_SIZE, use_bias=False),
    "keras_gru": keras_layer("GRU", units=HIDDEN_SIZE, reset_after=True),
    "keras_gru_before": keras_layer("GRU", units=HIDDEN_SIZE, reset_after=False),
    "keras_bidirectional": part("Bidirectional", layer=keras_layer("LSTM", units=HIDDEN_SIZE)),
    "keras_stack": keras_stack(),
    "flax_linen_simple": part("linen.SimpleCell", features=HIDDEN_SIZE),
    "flax_linen_lstm": part("linen.LSTMCell", features=HIDDEN_SIZE),
    "flax_linen_optimized_lstm": part("linen.OptimizedLSTMCell", features=HIDDEN_SIZE),
    "flax_linen_gru": part("linen.GRUCell", features=HIDDEN_SIZE),
    "flax_linen_bidirectional": linen_bidirectional(),
    "flax_nnx_simple": nnx_cell("nnx.SimpleCell"),
    "flax_nnx_lstm": nnx_cell("nnx.LSTMCell"),
    "flax_nnx_optimized_lstm": nnx_cell("nnx.OptimizedLSTMCell"),
    "flax_nnx_gru": nnx_cell("nnx.GRUCell"),
    "haiku_vanilla": part("VanillaRNN", hidden_size=HIDDEN_SIZE, double_bias=True),
    "haiku_vanilla_single_bias": part("VanillaRNN", hidden_size=HIDDEN_SIZE, double_bias=False),
    "haiku_lstm": part("LSTM", hidden_size=HIDDEN_SIZE),
    "haiku_gru": part("GRU", hidden_size=HIDDEN_SIZE),
    "haiku_deep": part("DeepRNN", layers=[part("LSTM", hidden_size=HIDDEN_SIZE), part("GRU", hidden_size=4)]),
    "equinox_lstm": equinox_cell("LSTMCell"),
    "equinox_gru": equinox_cell("GRUCell"),
    "equinox_gru_nobias": equinox_cell("GRUCell", use_bias=False),
}


def build(library, config, **keys):
    """The object of a configuration, whose arguments may hold configurations themselves; `keys` go to the outermost."""
    if isinstance(config, list):
        return [build(library, item) for item in config]
    if not isinstance(config, dict):
        return config
    arguments = {name: build(library, value) for name, value in config["arguments"].items()}
    return operator.attrgetter(config["class"])(library)(**arguments, **keys)


# Each of the *_peer functions gives an example of the weights, one of the state, and
# run(weights, inputs, initial state, lengths) -> (outputs, final state), all in the library's own trees.


def length_mask(lengths):
    return jnp.arange(TIME) < lengths[:, None]


def keras_peer(config):
    layer = build(keras.layers, config)
    layer.build(ZEROS.shape)
    assert [id(v) for v in layer.trainable_variables] == [id(v) for v in layer.weights]  # the order of get_weights
    _, *state = layer(ZEROS)

    def run(weights, inputs, initial, lengths):
        mask = None if lengths is None else length_mask(lengths)
        values = list(weights.values()), [v.value for v in layer.non_trainable_variables]
        (outputs, *state), _ = layer.stateless_call(*values, inputs, initial_state=initial, mask=mask)
        return outputs, state

    return {f"{i:02}": jnp.array(w) for i, w in enumerate(layer.get_weights())}, state, run


def run_flax(call, inputs, initial, lengths):
    """One call of linen's or nnx's RNN, which runs on over the padding: the outputs there become zeros here."""
    state, outputs = call(inputs, initial_carry=initial, return_carry=True, seq_lengths=lengths)
    return outputs if lengths is None else outputs * length_mask(lengths)[..., None], state


def linen_peer(config):
    layer = build(flax, config)
    is_cell = isinstance(layer, linen.RNNCellBase)
    rnn = linen.RNN(layer) if is_cell else layer
    (state, _), variables = rnn.init_with_output(jax.random.key(0), ZEROS, return_carry=True)

    def run(weights, *args):
        params = {"cell": weights} if is_cell else weights
        return run_flax(functools.partial(rnn.apply, {"params": params}), *args)

    return variables["params"]["cell"] if is_cell else variables["params"], state, run


def nnx_peer(config):
    def rnn():
        return nnx.RNN(build(flax, config, rngs=nnx.Rngs(0)))

    def run(weights, *args):
        layer = rnn()  # a new one, as update changes it in place
        nnx.update(layer.cell, weights)
        return run_flax(layer, *args)

    state, _ = rnn()(ZEROS, return_carry=True)
    return nnx.to_pure_dict(nnx.state(rnn().cell, nnx.Param)), state, run


def haiku_peer(config):
    @haiku.transform
    def unroll(inputs, initial):
        core = build(haiku, config)
        initial = core.initial_state(BATCH) if initial is None else initial
        return haiku.dynamic_unroll(core, inputs, initial, time_major=False)

    def run(weights, inputs, initial, lengths):
        return unroll.apply(weights, None, inputs, initial)

    weights = unroll.init(jax.random.key(0), ZEROS, None)
    _, state = run(weights, ZEROS, None, None)
    return weights, state, run


def equinox_peer(config):
    def run(cell, inputs, initial, lengths):
        def step(state, x):
            state = jax.vmap(cell)(x, state)
            return state, jax.tree.leaves(state)[0]  # h is an LSTM's first leaf and a GRU's only one

        state, outputs = jax.lax.scan(step, initial, jnp.swapaxes(inputs, 0, 1))
        return jnp.swapaxes(outputs, 0, 1), state

    h = jnp.zeros([BATCH, HIDDEN_SIZE])
    cell = build(equinox.nn, config, key=jax.random.key(0))  # its own weights: a tree whose leaves are its arrays
    return cell, (h, h) if config["class"] == "LSTMCell" else h, run


PEERS = {"keras": keras_peer, "flax_linen": linen_peer, "flax_nnx": nnx_peer, "haiku": haiku_peer, "equinox": equinox_peer}


def draw(rng, tree, limit):
    """Random float32 arrays of the shapes in a tree."""
    return jax.tree.map(lambda leaf: rng.uniform(-limit, limit, leaf.shape).astype(np.float32), tree)


def by_name(tree):
    """Its leaves by the path to each, such as `grad/weights/hi/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def make(name):
    peer = next(peer for peer in PEERS if name.startswith(peer))
    config = {"framework": peer.split("_")[0], **CONFIGS[name], "time": TIME, "batch": BATCH}
    weights, state, run = PEERS[peer](CONFIGS[name])
    leaves, structure = jax.tree.flatten(state)

    def results(point, lengths):
        outputs, state = run(point["weights"], point["inputs"], jax.tree.unflatten(structure, point["initial"]), lengths)
        return {"outputs": outputs, "state": jax.tree.leaves(state)}

    def loss(point, lengths):
        got = results(point, lengths)
        return sum(jax.tree.leaves(jax.tree.map(lambda a, w: jnp.sum(a * w), got, loss_weights))), got

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    point = {"inputs": draw(rng, ZEROS, 1.0), **draw(rng, {"initial": leaves, "weights": weights}, 0.8)}
    loss_weights = draw(rng, jax.eval_shape(lambda p: results(p, None), point), 1.0)
    golden = {"config": np.array(json.dumps(config)), **by_name(point)}
    golden.update(by_name({"wy": loss_weights["outputs"], "ws": loss_weights["state"]}))
    for case in ["none_initial"] if peer in ("haiku", "equinox") else LENGTHS:
        lengths = LENGTHS[case]
        if lengths is not None:
            golden[f"{case}/sequence_length"] = lengths
        gradient, got = jax.grad(lambda p: loss(p, lengths), has_aux=True)(point)
        golden.update(by_name({case: {**got, "grad": gradient}}))
    np.savez_compressed(FOLDER / f"{name}.npz", **golden)


if __name__ == "__main__":
    for name in CONFIGS:
        make(name)
