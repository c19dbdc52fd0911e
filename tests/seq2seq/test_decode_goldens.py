"""Decoding by the real TensorFlow 1.15, with every helper: outputs, samples, states, lengths and gradients."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1
from jaxrnn.seq2seq import (
    BasicDecoder,
    CustomHelper,
    Dense,
    GreedyEmbeddingHelper,
    InferenceHelper,
    ScheduledEmbeddingTrainingHelper,
    ScheduledOutputTrainingHelper,
    TrainingHelper,
    dynamic_decode,
)
from tests.rows import fast_if

FOLDER = pathlib.Path(__file__).parent.parent / "goldens" / "contrib"
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
LENGTHS = np.array([3, 0, 5, 1], np.int32)
KEY = jax.random.key(0)


def training(s):
    return TrainingHelper(s["inputs"], LENGTHS)


def scheduled_embedding(s):
    return ScheduledEmbeddingTrainingHelper(s["inputs"], LENGTHS, s["embedding"], 0.0)


def scheduled_output(s):
    read = jax.tree_util.Partial(lambda feedback, outputs: jnp.tanh(outputs @ feedback), s["feedback"])
    return ScheduledOutputTrainingHelper(s["inputs"], LENGTHS, 1.0, next_inputs_fn=read, auxiliary_inputs=s["auxiliary"])


def scheduled_plain(probability):
    return lambda s: ScheduledOutputTrainingHelper(s["inputs"], LENGTHS, probability)


def greedy(s):
    return GreedyEmbeddingHelper(s["embedding"], [1, 2, 3, 4], 0)


def inference(s):
    return InferenceHelper(jnp.tanh, s["start"], lambda ids: ids[:, 0] > 0.3)


def custom(s):
    return CustomHelper(
        lambda: (LENGTHS == 0, s["start"]),
        lambda time, outputs, state: jnp.argmax(outputs, -1).astype(jnp.int32),
        lambda time, outputs, state, sample_ids: (
            time + 1 >= LENGTHS,
            s["embedding"][sample_ids] * (time + 1).astype(jnp.float32),
            jax.tree.map(lambda leaf: 0.9 * leaf, state),
        ),
    )


LSTM = jaxrnn.LSTMCell(6)
LAYERS = jaxrnn.MultiRNNCell([LSTM, jaxrnn.GRUCell(5, reset_after=False)])
IMPUTE = {"maximum_iterations": 5, "impute_finished": True}
LONG = {"maximum_iterations": 8, "impute_finished": True}
CASES = {
    "decode_training": (LSTM, 7, training, IMPUTE),
    "decode_training_no_impute": (LSTM, 7, training, {"maximum_iterations": 5}),
    "decode_training_maximum": (LSTM, 7, training, {"maximum_iterations": 2, "impute_finished": True}),
    "decode_training_layers": (LAYERS, 7, training, IMPUTE),
    "decode_scheduled_embedding_never": (LSTM, 7, scheduled_embedding, IMPUTE),
    "decode_scheduled_output": (LSTM, 7, scheduled_output, IMPUTE),
    "decode_scheduled_output_plain": (LSTM, 3, scheduled_plain(1.0), {"maximum_iterations": 5}),
    "decode_scheduled_output_never": (LSTM, 3, scheduled_plain(0.0), IMPUTE),
    "decode_greedy": (LSTM, 7, greedy, LONG),
    "decode_greedy_no_impute": (LSTM, 7, greedy, {"maximum_iterations": 8}),
    "decode_greedy_time_major": (LSTM, 7, greedy, LONG | {"output_time_major": True}),
    "decode_inference": (LSTM, 3, inference, LONG),
    "decode_custom": (LSTM, 7, custom, LONG),
}
MODES = ({}, {"memory": "recompute", "chunk_size": 3}, {"memory": "recursive"}, {"swap_memory": True})
WALK = [(case, mode) for case in CASES for mode in MODES]


@functools.cache
def arrays(file, prefix=""):
    """The arrays of a file under a prefix, by what follows it."""
    with np.load(FOLDER / f"{file}.npz") as data:
        return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


def sources(data):
    return {key: value for key, value in data.items() if key.startswith(("source/", "variables/"))}


def params_of(cell, point):
    """The cell's variables are under `decoder/`; the output layer's are beside them."""
    variables = {key.removeprefix("variables/"): value for key, value in point.items() if key.startswith("variables/")}
    kernel = variables.pop("decoder/dense/kernel")
    return {"cell": from_tf1(cell, variables), "output_layer": {"kernel": kernel}}


def decode(case, point, **mode):
    cell, size, helper, options = CASES[case]
    source = {key.removeprefix("source/"): value for key, value in point.items() if key.startswith("source/")}
    structure = jax.tree.structure(jax.eval_shape(lambda: cell.initial_state(4)))
    initial = structure.unflatten([source[f"initial/{i}"] for i in range(structure.num_leaves)])
    decoder = BasicDecoder(cell, Dense(size, use_bias=False))
    return dynamic_decode(decoder, params_of(cell, point), helper(source), initial, key=KEY, **options, **mode)


def loss(case, point, **mode):
    data = arrays("decode", case + "/")
    outputs, state, _ = result = decode(case, point, **mode)
    total = jnp.sum(outputs.rnn_output * data["wy"])
    return total + sum(jnp.sum(leaf * data[f"ws/{i}"]) for i, leaf in enumerate(jax.tree.leaves(state))), result


@pytest.mark.parametrize(
    ("case", "mode"),
    fast_if(lambda row: row[1] == {} or row[0] == "decode_scheduled_output", WALK),
    ids=lambda part: part if isinstance(part, str) else "-".join(map(str, part.values())) or "save",
)
def test_equals_tf1(case, mode):
    data = arrays("decode", case + "/")
    run = jax.jit(jax.value_and_grad(functools.partial(loss, case, **mode), has_aux=True))
    (_, (outputs, state, lengths)), gradient = run(sources(data))
    time_major = CASES[case][3].get("output_time_major", False)
    steps = data["sample_id"].shape[0 if time_major else 1]  # as long as TF1's run was
    for got, want in ((outputs.rnn_output, data["rnn_output"]), (outputs.sample_id, data["sample_id"])):
        got = got if time_major else got.swapaxes(0, 1)
        np.testing.assert_allclose(got[:steps], want if time_major else want.swapaxes(0, 1), **CLOSE)
        assert not np.asarray(got[steps:]).any()
    assert outputs.alignments == ()
    np.testing.assert_array_equal(lengths, data["lengths"])
    assert lengths.dtype == outputs.sample_id.dtype == jnp.int32 or case == "decode_inference"
    for i, leaf in enumerate(jax.tree.leaves(state)):
        np.testing.assert_allclose(leaf, data[f"state/{i}"], **CLOSE, err_msg=f"state {i}")
    for key, got in gradient.items():
        # What TF1 has no gradient of has none here.
        np.testing.assert_allclose(got, data.get(f"grad/{key}", np.zeros_like(got)), **CLOSE, err_msg=key)


LOSS = arrays("sequence_loss")
FLAGS = ("average_across_timesteps", "average_across_batch", "sum_over_timesteps", "sum_over_batch")


def test_what_does_not_count_may_be_nan():
    logits = jnp.array([[[0.0, 1.0, 2.0], [0.0, -jnp.inf, jnp.nan]]])
    loss = lambda logits: jaxrnn.seq2seq.sequence_loss(logits, jnp.array([[2, 1]]), jnp.array([[1.0, 0.0]]))
    value, grad = jax.value_and_grad(loss)(logits)
    np.testing.assert_allclose(value, -jax.nn.log_softmax(logits[0, 0])[2], rtol=1e-6)
    assert np.isfinite(grad).all() and not grad[0, 1].any()


@pytest.mark.parametrize("key", [f"{number:04b}"[::-1] for number in range(16)])
def test_sequence_loss_equals_tf1(key):
    flags = dict(zip(FLAGS, (flag == "1" for flag in key), strict=True))
    run = functools.partial(jaxrnn.seq2seq.sequence_loss, **flags)
    if key not in LOSS:
        with pytest.raises(ValueError, match="sequence_loss: expected one of average_across_"):
            run(LOSS["logits"], LOSS["targets"], LOSS["weights"])
        return

    def value(logits, weights):
        losses = run(logits, LOSS["targets"], weights)
        wl = {0: 1.0, 1: LOSS["wl"][:, 0] if losses.shape == (4,) else LOSS["wl"][0], 2: LOSS["wl"]}[losses.ndim]
        return jnp.sum(losses * wl), losses

    (_, losses), gradients = jax.value_and_grad(value, (0, 1), has_aux=True)(LOSS["logits"], LOSS["weights"])
    np.testing.assert_allclose(losses, LOSS[key], **CLOSE)
    for name, got in zip(("logits", "weights"), gradients, strict=True):
        np.testing.assert_allclose(got, LOSS[f"{key}/grad/{name}"], **CLOSE, err_msg=name)
