"""Decoding beside dynamic_rnn, finite differences and itself under JAX's transformations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.seq2seq import (
    AttentionWrapper,
    BahdanauAttention,
    BasicDecoder,
    CustomHelper,
    Decoder,
    Dense,
    GreedyEmbeddingHelper,
    ScheduledOutputTrainingHelper,
    TrainingHelper,
    dynamic_decode,
    sequence_loss,
)

B, T, D, H, V = 4, 6, 3, 5, 7
LENGTHS = np.array([4, 0, 6, 1], np.int32)
CELL = jaxrnn.GRUCell(H)
KEY = jax.random.key(3)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def random(seed, *shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def close(got, want, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **{**CLOSE, **tolerance}), got, want)


def training(params, inputs, state, cell=CELL, lengths=LENGTHS, **options):
    helper = TrainingHelper(inputs, lengths)
    return dynamic_decode(BasicDecoder(cell), params, helper, state, **{"maximum_iterations": T, **options})


@pytest.mark.parametrize("options", [{}, {"memory": "recompute", "chunk_size": 4}], ids=["save", "recompute"])
def test_training_is_dynamic_rnn(options):
    """Imputed, dropout included: the helper's draws leave the cell's alone."""
    cell = jaxrnn.DropoutWrapper(CELL, 0.7, 0.7, 0.7)
    params, inputs, state = cell.init(jax.random.key(0), D), random(1, B, T, D), random(2, B, H)
    outputs, last, lengths = training(params, inputs, state, cell, impute_finished=True, key=KEY, **options)
    want = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=LENGTHS, initial_state=state, key=KEY)
    close((outputs.rnn_output, last), want)
    np.testing.assert_array_equal(lengths, LENGTHS)
    rows = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_array_equal(outputs.sample_id, np.where(rows, np.argmax(want[0], -1), 0))


def test_finished_rows_go_on_if_not_imputed():
    """As if no row were to end before the longest."""
    params, inputs, state = CELL.init(jax.random.key(0), D), random(1, B, T, D), random(2, B, H)
    outputs, last, lengths = training(params, inputs, state, lengths=np.array([4, 0, 5, 1]))
    want, state = jaxrnn.dynamic_rnn(CELL, params, inputs[:, :5], initial_state=state)
    close((outputs.rnn_output[:, :5], last), (want, state))
    assert not outputs.rnn_output[:, 5:].any()
    assert lengths.tolist() == [4, 0, 5, 1]


def test_nan_in_the_padding_reaches_nothing():
    inputs = random(1, B, T, D)
    padded = jnp.asarray(np.where(np.arange(T)[:, None] < LENGTHS[:, None, None], inputs, np.nan))
    params, state = CELL.init(jax.random.key(0), D), random(2, B, H)

    def loss(params, inputs, state):
        outputs, last, _ = training(params, inputs, state, impute_finished=True)
        return jnp.sum(jnp.sin(outputs.rnn_output)) + jnp.sum(last)

    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, (weights, of_inputs, of_state) = run(params, padded, state)
    want, (weights_, of_inputs_, of_state_) = run(params, inputs, state)
    close((value, weights, of_inputs, of_state), (want, weights_, of_inputs_, of_state_))


@pytest.mark.parametrize(
    ("time", "lengths", "steps", "run"),
    [
        (T, [0, 0, 0, 0], 4, 0),
        (0, [0, 0, 0, 0], 3, 0),
        (T, [4, 0, 6, 1], 0, 0),
        (T, [4, 0, 6, 1], 9, 6),
        (T, [4, 0, 6, 1], 2, 2),
    ],
)
def test_how_many_steps_are_run(time, lengths, steps, run):
    params, state = CELL.init(jax.random.key(0), D), random(2, B, H)
    outputs, last, got = training(params, random(1, B, time, D), state, lengths=np.array(lengths), maximum_iterations=steps)
    assert outputs.rnn_output.shape == (B, steps, H)
    assert got.tolist() == np.minimum(lengths, steps).tolist()
    assert not outputs.rnn_output[:, run:].any()
    assert jnp.all(outputs.rnn_output[:, :run] != 0)
    if not run:
        np.testing.assert_array_equal(last, state)


def test_lengths_above_the_inputs_count_as_their_own_under_jit():
    params, inputs, state = CELL.init(jax.random.key(0), D), random(1, B, T, D), random(2, B, H)
    run = jax.jit(lambda lengths: training(params, inputs, state, lengths=lengths, maximum_iterations=9))
    close(run(jnp.array([4, -1, 60, 1])), run(LENGTHS))


# ---- derivatives


def words(point, **options):
    """The sampled outputs are what the next step reads, in half of the rows and steps."""
    read = jax.tree_util.Partial(lambda kernel, outputs: jnp.tanh(outputs @ kernel), point["feedback"])
    helper = ScheduledOutputTrainingHelper(point["inputs"], LENGTHS, 0.5, next_inputs_fn=read)
    decoder = BasicDecoder(CELL, Dense(V))
    return dynamic_decode(decoder, point["params"], helper, point["state"], maximum_iterations=T, key=KEY, **options)


def translation(point, **options):
    """An encoder, and a decoder with attention that is given the true words."""
    encoded, state = jaxrnn.dynamic_rnn(CELL, point["encoder"], point["source"], sequence_length=np.array([5, 2, 3, 0]))
    attentive = AttentionWrapper(CELL, BahdanauAttention(4, memory_size=H), attention_layer_size=2)
    params = attentive.with_memory(point["params"]["cell"], encoded, np.array([5, 2, 3, 0]))
    state = attentive.zero_state(params)._replace(cell_state=state)
    params = {"cell": params, "output_layer": point["params"]["output_layer"]}
    decoder, helper = BasicDecoder(attentive, Dense(V)), TrainingHelper(point["inputs"], LENGTHS)
    return dynamic_decode(decoder, params, helper, state, maximum_iterations=T, impute_finished=True, **options)


def point_of(decode, dtype=jnp.float64):
    cell = CELL if decode is words else AttentionWrapper(CELL, BahdanauAttention(4, H), attention_layer_size=2)
    point = {
        "params": {
            "cell": cell.init(jax.random.key(0), D, dtype),
            "output_layer": Dense(V).init(jax.random.key(1), H if decode is words else 2, dtype),
        },
        "inputs": random(2, B, T, D, dtype=dtype),
    }
    if decode is words:
        return point | {"state": random(3, B, H, dtype=dtype), "feedback": random(4, V, D, dtype=dtype)}
    return point | {"encoder": CELL.init(jax.random.key(5), 2, dtype), "source": random(6, B, 5, 2, dtype=dtype)}


def loss(decode, point, **options):
    outputs, state, lengths = decode(point, **options)
    weights = jax.vmap(lambda length: jnp.arange(T, dtype=jnp.int32) < length)(lengths).astype(outputs.rnn_output.dtype)
    total = sequence_loss(outputs.rnn_output, jnp.arange(B * T).reshape(B, T) % V, weights)
    return total + sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    "decode", [pytest.param(words, marks=pytest.mark.slow), translation], ids=lambda decode: decode.__name__
)
def test_gradients_are_those_of_finite_differences(decode, x64):
    """Leaf by leaf; forward mode agrees."""
    point = point_of(decode)
    value = functools.partial(loss, decode)
    gradient = jax.jit(jax.grad(value))(point)
    at = jax.jit(value)
    leaves, structure = jax.tree.flatten(point)
    rng = np.random.default_rng(1)
    direction = [rng.standard_normal(leaf.shape) for leaf in leaves]
    for i, (path, got) in enumerate(jax.tree_util.tree_leaves_with_path(gradient)):
        moved = lambda h: structure.unflatten([*leaves[:i], leaves[i] + h * direction[i], *leaves[i + 1 :]])
        want = (at(moved(1e-6)) - at(moved(-1e-6))) / 2e-6
        np.testing.assert_allclose(np.vdot(got, direction[i]), want, rtol=1e-5, atol=1e-8, err_msg=str(path))
    _, slope = jax.jit(lambda: jax.jvp(value, (point,), (structure.unflatten(direction),)))()
    np.testing.assert_allclose(slope, sum(map(np.vdot, jax.tree.leaves(gradient), direction)), rtol=1e-9)


MODES = ({"memory": "recompute", "chunk_size": 4}, {"memory": "recursive", "chunk_size": 2}, {"swap_memory": True})


@pytest.mark.slow
@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("decode", [words, translation], ids=lambda decode: decode.__name__)
def test_memory_modes_change_nothing(decode, options):
    point = point_of(decode, jnp.float32)
    run = lambda **options: jax.jit(jax.value_and_grad(functools.partial(loss, decode, **options)))(point)
    close(run(**options), run(), rtol=1e-4, atol=1e-5)


def test_alignments_are_in_the_outputs():
    outputs, state, _ = jax.jit(translation)(point_of(translation, jnp.float32))
    assert outputs.alignments.shape == (B, T, 5)
    within = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_allclose(outputs.alignments.sum(-1)[:3], within[:3], rtol=1e-6)
    assert not outputs.alignments[3].any()  # that row has no memory
    assert not outputs.alignments[1, :, 2:].any()
    np.testing.assert_array_equal(outputs.alignments[2, -1], state.alignments[2])


# ---- transformations


def greedy(params, helper, state, **options):
    return dynamic_decode(BasicDecoder(CELL, Dense(V)), params, helper, state, maximum_iterations=T, **options)


def point_of_words(seed=0):
    params = {"cell": CELL.init(jax.random.key(seed), D), "output_layer": Dense(V).init(jax.random.key(1), H)}
    return params, GreedyEmbeddingHelper(random(2 + seed, V, D), jnp.array([1, 2, 3, 4]), 0), random(3, B, H)


def test_a_helper_is_an_argument_like_any_other():
    """Of jit, vmap, grad and export."""
    point, other = point_of_words(), point_of_words(seed=7)
    want = greedy(*point)
    close(jax.jit(greedy)(*point), want)
    both = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), point, other)
    many = jax.jit(jax.vmap(greedy))(*both)
    for i, one in enumerate((want, greedy(*other))):
        close(jax.tree.map(lambda leaf: leaf[i], many), one)
    value = lambda helper: jnp.sum(greedy(point[0], helper, point[2])[0].rnn_output)
    gradient = jax.grad(value, allow_int=True)(point[1])
    assert gradient.embedding.shape == (V, D)
    assert jnp.any(gradient.embedding != 0)


def test_export_for_any_batch():
    params, helper, state = point_of_words()
    b = jax.export.symbolic_shape("b")[0]
    struct = lambda leaf, *shape: jax.ShapeDtypeStruct(shape or leaf.shape, leaf.dtype)

    def run(params, embedding, start, state):
        outputs, state, lengths = greedy(params, GreedyEmbeddingHelper(embedding, start, 0), state, impute_finished=True)
        return outputs, state, lengths

    args = params, helper.embedding, helper.start_tokens, state
    structs = jax.tree.map(struct, params), struct(args[1]), struct(args[2], b), struct(state, b, H)
    program = jax.export.export(jax.jit(run), platforms=("cpu", "cuda", "tpu"))(*structs)
    close(jax.export.deserialize(program.serialize()).call(*args), run(*args))


TRACES = []


@dataclasses.dataclass(frozen=True)
class Counted(jaxrnn.GRUCell):
    """A cell that knows how often it is traced."""

    def combine(self, params, g, state):
        TRACES.append(1)
        return super().combine(params, g, state)


def test_equal_decoders_and_helpers_are_traced_once():
    params, _, state = point_of_words()
    helper = lambda seed: GreedyEmbeddingHelper(random(seed, V, D), [1, 2, 3, 4], 0)
    run = lambda seed: dynamic_decode(BasicDecoder(Counted(H), Dense(V)), params, helper(seed), state, maximum_iterations=3)
    run(2)
    count = len(TRACES)
    run(3)
    assert count == len(TRACES) > 0


def test_bfloat16_stays():
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, tree)
    params, helper, state = point_of_words()
    helper = dataclasses.replace(helper, embedding=half(helper.embedding))
    outputs, state, _ = greedy(half(params), helper, half(state))
    assert outputs.rnn_output.dtype == state.dtype == jnp.bfloat16


# ---- decoders of one's own


@dataclasses.dataclass(frozen=True)
class Halving(Decoder):
    """Halves a number until it is below 1, and says how often; its helper is where to start."""

    def initialize(self, params, helper, initial_state):
        return helper < 1, helper, initial_state

    def step(self, params, helper, time, inputs, state, key):
        half = inputs / params
        return {"half": half}, state + 1, half, half < 1

    def finalize(self, helper, outputs, state, lengths):
        return outputs["half"], state, lengths


def test_a_decoder_of_ones_own():
    outputs, state, lengths = dynamic_decode(
        Halving(), 2.0, jnp.array([5.0, 0.5, 2.0]), jnp.zeros(3, int), maximum_iterations=4, impute_finished=True
    )
    np.testing.assert_array_equal(outputs, [[2.5, 1.25, 0.625, 0], [0, 0, 0, 0], [1, 0.5, 0, 0]])
    assert state.tolist() == lengths.tolist() == [3, 0, 2]


def test_functions_around_a_helper_may_read_what_is_differentiated():
    """As in TF1, without a pytree of arrays."""
    params, _, state = point_of_words()

    def value(embedding):
        helper = CustomHelper(
            lambda: (jnp.zeros(B, bool), jnp.broadcast_to(embedding[0], (B, D))),
            lambda time, outputs, state: jnp.argmax(outputs, -1),
            lambda time, outputs, state, sample_ids: (sample_ids == 0, embedding[sample_ids], state),
        )
        return jnp.sum(greedy(params, helper, state)[0].rnn_output)

    def same(embedding):
        helper = GreedyEmbeddingHelper(embedding, jnp.zeros(B, int), 0)
        return jnp.sum(greedy(params, helper, state)[0].rnn_output)

    embedding = random(2, V, D)
    close(jax.value_and_grad(value)(embedding), jax.value_and_grad(same)(embedding))
