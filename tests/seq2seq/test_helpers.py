"""What helpers draw: from the right distributions, by the key alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.seq2seq import (
    BasicDecoder,
    CustomHelper,
    GreedyEmbeddingHelper,
    InferenceHelper,
    SampleEmbeddingHelper,
    ScheduledEmbeddingTrainingHelper,
    ScheduledOutputTrainingHelper,
    TrainingHelper,
    dynamic_decode,
)

MANY, STEPS, V = 4000, 5, 4
LOGITS = np.array([0.5, -1.0, 1.5, 0.0], np.float32)
EMBEDDING = jax.random.normal(jax.random.key(9), (V, V))
KEY = jax.random.key(0)


def same_logits(params, inputs, state):
    """A cell whose outputs are params, whatever it reads; its state is what it read last."""
    return jnp.broadcast_to(params, (len(inputs), V)), inputs


def run(helper, key=KEY, cell=same_logits, params=LOGITS, rows=MANY, **options):
    state = jnp.zeros((rows, V))
    return dynamic_decode(BasicDecoder(cell), params, helper, state, maximum_iterations=STEPS, key=key, **options)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def frequencies_are(ids, probabilities):
    """Within 4.5 standard deviations."""
    n = ids.size
    for value, p in enumerate(probabilities):
        assert abs(np.mean(ids == value) - p) < 4.5 * np.sqrt(p * (1 - p) / n) + 1e-9, value


def one_after_the_other_are(ids, probabilities):
    """Steps are independent: of pairs of them as well."""
    pairs = np.asarray(ids[:, :-1]) * len(probabilities) + np.asarray(ids[:, 1:])
    frequencies_are(pairs[:, ::2], np.outer(probabilities, probabilities).ravel())


@pytest.mark.parametrize("temperature", [None, 0.5, jnp.float32(3.0)])
def test_words_are_drawn_from_the_softmax(temperature):
    helper = SampleEmbeddingHelper(EMBEDDING, jnp.zeros(MANY, int), V - 1, softmax_temperature=temperature)
    outputs, _, lengths = run(helper)
    probabilities = softmax(LOGITS / (temperature or 1.0))
    frequencies_are(outputs.sample_id, probabilities)
    one_after_the_other_are(outputs.sample_id, probabilities)
    ended = np.asarray(outputs.sample_id == V - 1)
    np.testing.assert_array_equal(lengths, np.where(ended.any(1), ended.argmax(1) + 1, STEPS))


def test_draws_are_those_of_the_key():
    helper = SampleEmbeddingHelper(EMBEDDING, jnp.zeros(MANY, int), V - 1)
    ids = lambda key, **options: run(helper, key, **options)[0].sample_id
    np.testing.assert_array_equal(ids(KEY), ids(KEY, memory="recompute", chunk_size=2))
    np.testing.assert_array_equal(ids(KEY), jax.jit(ids)(KEY))
    assert jnp.mean(ids(KEY) == ids(jax.random.key(1))) < 0.6


def test_a_low_temperature_is_greedy():
    sampled, *_ = run(SampleEmbeddingHelper(EMBEDDING, jnp.zeros(5, int), 0, 1e-4), rows=5)
    greedy, *_ = run(GreedyEmbeddingHelper(EMBEDDING, jnp.zeros(5, int), 0), rows=5)
    np.testing.assert_array_equal(sampled.sample_id, greedy.sample_id)
    assert (greedy.sample_id == 2).all()


def test_of_equal_logits_the_first_is_best():
    outputs, *_ = run(GreedyEmbeddingHelper(EMBEDDING, jnp.zeros(2, int), 0), params=jnp.array([0.0, 1.0, 1.0, 1.0]), rows=2)
    assert (outputs.sample_id == 1).all()


INPUTS = jax.random.normal(jax.random.key(8), (MANY, STEPS, V))
FULL = jnp.full(MANY, STEPS)


def scheduled_embedding(probability):
    return ScheduledEmbeddingTrainingHelper(INPUTS, FULL, EMBEDDING, probability)


def test_scheduled_words_are_drawn_with_their_probability():
    outputs, read, _ = run(scheduled_embedding(0.3))
    frequencies_are(outputs.sample_id + 1, [0.7, *(0.3 * softmax(LOGITS))])
    one_after_the_other_are(outputs.sample_id + 1, [0.7, *(0.3 * softmax(LOGITS))])
    ids = np.asarray(outputs.sample_id[:, -2])  # what was drawn, or not, for the last step
    np.testing.assert_array_equal(read, np.where(ids[:, None] >= 0, EMBEDDING[np.maximum(ids, 0)], INPUTS[:, -1]))


def test_scheduled_outputs_are_read_with_their_probability():
    rows = jnp.where(jnp.arange(MANY) % 2 == 0, 0.2, 0.9)
    outputs, read, _ = run(ScheduledOutputTrainingHelper(INPUTS, FULL, rows))
    frequencies_are(outputs.sample_id[::2], [0.8, 0.2])
    frequencies_are(outputs.sample_id[1::2], [0.1, 0.9])
    np.testing.assert_array_equal(read, np.where(outputs.sample_id[:, -2:-1] == 1, LOGITS, INPUTS[:, -1]))


@pytest.mark.parametrize("kind", [scheduled_embedding, functools.partial(ScheduledOutputTrainingHelper, INPUTS, FULL)])
def test_probabilities_of_0_and_1_are_exact(kind):
    never, read, _ = run(kind(0))
    assert (never.sample_id == (0 if isinstance(kind, functools.partial) else -1)).all()
    np.testing.assert_array_equal(read, INPUTS[:, -1])
    always, _, _ = run(kind(jnp.ones(MANY)))
    assert (always.sample_id >= (1 if isinstance(kind, functools.partial) else 0)).all()


def test_scheduled_words_of_certain_logits_are_greedy():
    """With probability 1, and one word that is far above the others."""
    cell, rows = jaxrnn.GRUCell(V), 6
    params = cell.init(jax.random.key(1), V)

    def sharp(params, inputs, state):
        output, state = cell(params, inputs, state)
        return 1e5 * jax.nn.one_hot(jnp.argmax(output, -1), V), state

    decode = functools.partial(run, cell=sharp, params=params, rows=rows)
    embedding = 8 * EMBEDDING
    greedy, _, _ = decode(GreedyEmbeddingHelper(embedding, jnp.arange(rows) % V, 0))
    inputs = jnp.broadcast_to(embedding[jnp.arange(rows) % V][:, None], (rows, STEPS, V))
    drawn, _, _ = decode(ScheduledEmbeddingTrainingHelper(inputs, jnp.full(rows, STEPS), embedding, 1.0))
    np.testing.assert_array_equal(drawn.sample_id, greedy.sample_id)
    assert len(np.unique(greedy.sample_id)) > 1


def test_functions_with_a_key_are_given_one():
    draw = lambda outputs, key: jax.random.categorical(key, outputs)
    helper = InferenceHelper(draw, jnp.zeros((MANY, V)), lambda ids: ids < 0, lambda ids: EMBEDDING[ids])
    outputs, _, _ = run(helper)
    frequencies_are(outputs.sample_id, softmax(LOGITS))
    one_after_the_other_are(outputs.sample_id, softmax(LOGITS))
    seen = []

    def read(time, outputs, state, sample_ids, key):
        seen.append(key)
        return sample_ids < 0, outputs, state

    start = lambda: (jnp.zeros(3, bool), jnp.zeros((3, V)))
    custom = CustomHelper(start, lambda time, outputs, state, key: jnp.argmax(outputs, -1), read)
    run(custom, rows=3)
    run(custom, key=None, rows=3)
    assert seen[0] is not None
    assert seen[-1] is None


def test_inputs_may_be_time_major_and_a_pytree():
    def cell(params, inputs, state):
        return inputs["a"] * params + inputs["b"], state + inputs["a"]

    inputs = {"a": INPUTS[:3], "b": 2 * INPUTS[3:6]}
    lengths = np.array([5, 2, 0])
    major = TrainingHelper(jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), inputs), lengths, time_major=True)
    got = run(major, cell=cell, params=jnp.float32(3), rows=3)
    want = run(TrainingHelper(inputs, lengths), cell=cell, params=jnp.float32(3), rows=3)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    np.testing.assert_allclose(got[0].rnn_output, inputs["a"] * 3 + inputs["b"], rtol=1e-6)


def test_an_embedding_may_be_a_function_with_arrays_of_its_own():
    def value(embedding):
        _, state, _ = run(GreedyEmbeddingHelper(embedding, jnp.full(3, 1), 0), rows=3)
        return jnp.sum(state**2)

    of_function = jax.jit(jax.grad(value))(jax.tree_util.Partial(lambda matrix, ids: matrix[ids], EMBEDDING))
    np.testing.assert_array_equal(of_function.args[0], jax.grad(value)(EMBEDDING))
    assert value(lambda ids: EMBEDDING[ids]) == value(EMBEDDING)
