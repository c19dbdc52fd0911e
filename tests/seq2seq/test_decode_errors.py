"""What does not fit a decoder, a helper or a loss is met by an error that says what was expected, what came and what to do."""
# ruff: noqa: E501  (a row a case)

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import seq2seq

CELL = jaxrnn.GRUCell(3)
PARAMS = CELL.init(jax.random.key(0), 3)
STATE, INPUTS, EMBEDDING = jnp.ones((4, 3)), jnp.ones((4, 5, 3)), jnp.ones((3, 3))
LENGTHS, START = np.array([5, 0, 2, 1]), np.array([1, 2, 0, 1])
LOGITS, TARGETS, WEIGHTS = jnp.ones((4, 5, 3)), jnp.ones((4, 5), int), jnp.ones((4, 5))
HOST = jax.sharding.SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
TRAINING = seq2seq.TrainingHelper(INPUTS, LENGTHS)
GREEDY = seq2seq.GreedyEmbeddingHelper(EMBEDDING, START, 0)


@dataclasses.dataclass
class NoTree:
    """A helper that JAX does not know."""

    initialize = sample = next_inputs = lambda self, *args: None


def decode(helper=TRAINING, decoder=seq2seq.BasicDecoder(CELL), params=PARAMS, state=STATE, **options):  # noqa: B008
    return lambda: seq2seq.dynamic_decode(decoder, params, helper, state, **{"maximum_iterations": 5, **options})


def training(inputs=INPUTS, lengths=LENGTHS, **options):
    return decode(seq2seq.TrainingHelper(inputs, lengths, **options))


def greedy(embedding=EMBEDDING, start=START, end=0):
    return decode(seq2seq.GreedyEmbeddingHelper(embedding, start, end))


def scheduled_outputs(**options):
    given = {"inputs": INPUTS, "sequence_length": LENGTHS, "sampling_probability": 0.5, **options}
    return decode(seq2seq.ScheduledOutputTrainingHelper(**given), key=jax.random.key(0))


def scheduled(probability):
    words = seq2seq.ScheduledEmbeddingTrainingHelper(INPUTS, LENGTHS, EMBEDDING, probability)
    return [scheduled_outputs(sampling_probability=probability), decode(words, key=jax.random.key(0))]


def custom(started=None, went_on=None, **functions):
    start, later = (jnp.zeros(4, bool), STATE), lambda time, outputs, state, sample_ids: (outputs[:, 0] > 9, outputs, state)
    given = {
        "initialize_fn": lambda: start if started is None else started,
        "sample_fn": lambda time, outputs, state: outputs,
        "next_inputs_fn": later if went_on is None else lambda time, outputs, state, sample_ids: went_on,
    }
    return decode(seq2seq.CustomHelper(**given | functions))


def beam(helper=GREEDY, width=2, state=None, **options):
    decoder = seq2seq.BeamSearchDecoder(CELL, width, **{k: v for k, v in options.items() if "penalty" in k})
    state = seq2seq.tile_batch(STATE, width) if state is None else state
    return decode(helper, decoder, state=state, **{k: v for k, v in options.items() if "penalty" not in k})


def loss(logits=LOGITS, targets=TARGETS, weights=WEIGHTS, **options):
    return lambda: seq2seq.sequence_loss(logits, targets, weights, **options)


ROWS = [
    # what is run
    ([decode(decoder=CELL), decode(decoder=seq2seq.BasicDecoder)], TypeError,
     r"dynamic_decode: expected a decoder, got a .*Make one of a cell: jaxrnn.seq2seq.BasicDecoder\(cell\)"),
    ([lambda: seq2seq.BasicDecoder(7)], TypeError, r"BasicDecoder: expected a cell, got a int: 7"),
    ([lambda: seq2seq.BasicDecoder(CELL, "dense")], TypeError, r"BasicDecoder: expected output_layer to be a function"),
    ([decode(decoder=seq2seq.BasicDecoder(CELL, jnp.dot)), decode(decoder=seq2seq.BasicDecoder(CELL, jnp.dot), params=STATE)],
     TypeError, r"BasicDecoder: expected params \{'cell': ..., 'output_layer': ...\}, for there is an output_layer, got"),
    ([decode(maximum_iterations=None), decode(maximum_iterations=2.0), decode(maximum_iterations=True)], TypeError,
     r"maximum_iterations: expected an int, got a (NoneType|float|bool): .* XLA's arrays are of fixed sizes: it is the T of the out"),
    ([decode(maximum_iterations=-1)], ValueError, r"maximum_iterations: expected 0 or more, got -1"),
    ([lambda: seq2seq.dynamic_decode(seq2seq.BasicDecoder(CELL), PARAMS, TRAINING, STATE)], TypeError, r"maximum_iterations"),
    ([decode(impute_finished=1), decode(output_time_major=None)], TypeError, r"(impute_finished|output_time_major): expected True or"),
    ([decode(memory="disk")], ValueError, r"memory: expected one of 'save'"),
    ([decode(key=7)], TypeError, r"key: expected one PRNG key, got a int: 7"),
    ([decode(state=jnp.ones((3, 3)))], ValueError, r"GRUCell.*expected state of shape \(4, 3\), got shape \(3, 3\)"),
    ([decode(params=jax.device_put(PARAMS, HOST))], ValueError, r"params: expected arrays in the device's memory"),
    ([decode(seq2seq.TrainingHelper(jax.device_put(INPUTS, HOST), LENGTHS))], ValueError, r"helper: expected arrays in the device's"),
    # helpers
    ([decode(7), decode(seq2seq.TrainingHelper)], TypeError,
     r"BasicDecoder: expected a helper with initialize, sample, next_inputs, got .*Make one, such as jaxrnn.seq2seq.TrainingHelper"),
    ([decode(NoTree())], TypeError, r"NoTree: expected a helper that is a pytree, .*register it with jax.tree_util.register_datac"),
    ([training(lengths=LENGTHS[:3])], ValueError, r"sequence_length must be a vector \[B\].*expected shape \(4,\), got int64\[3\]|int32"),
    ([training(lengths=LENGTHS + 1)], ValueError, r"expected lengths in \[0, T\] = \[0, 5\], got values from 1 to 6. Clip them"),
    ([training(lengths=LENGTHS * 1.0)], TypeError, r"sequence_length: expected integers, got float32\[4\]"),
    ([training(lengths=None)], TypeError, r"TrainingHelper: expected sequence_length to be integers \[B\], got None. Give T for rows"),
    ([training(inputs=STATE[0])], ValueError, r"inputs: expected \[B, T, ...\], got float32\[3\]"),
    ([training(time_major=1)], TypeError, r"time_major: expected True or False, got a int: 1"),
    ([training(inputs=INPUTS[..., :2])], ValueError, r"GRUCell.*expected params\['kernel'\] of shape \(2, 9\)"),
    ([greedy(embedding=jnp.ones(3)), greedy(embedding=[[1.0]]), greedy(embedding=jnp.ones((3, 3), int))], TypeError,
     r"GreedyEmbeddingHelper: expected embedding to be a matrix \[V, E\] of floating numbers or a function of ids, got"),
    ([greedy(start=START * 1.0), greedy(start=1), greedy(start=START[None])], TypeError, r"expected start_tokens to be integers \[B\]"),
    ([greedy(end=START), greedy(end=0.0)], TypeError, r"GreedyEmbeddingHelper: expected end_token to be one integer, got"),
    ([greedy(end=3), greedy(end=-1), greedy(start=START + 2), greedy(start=START - 1)], ValueError,
     r"expected (end_token|start_tokens) to be from 0 and below 3, got values from"),
    ([greedy(embedding=lambda ids: EMBEDDING[ids], end=-1)], ValueError, r"end_token to be from 0 and below the vocabulary's size"),
    ([greedy(embedding=EMBEDDING[:2], start=START % 2)], ValueError, r"expected logits \[B, V\] with V <= 2, .* got float32\[4, 3\]"),
    ([decode(decoder=seq2seq.BasicDecoder(lambda p, x, s: ((x, x), s))),
      decode(decoder=seq2seq.BasicDecoder(lambda p, x, s: (x.astype(int), s)))], TypeError,
     r"TrainingHelper: expected the outputs to be logits, one floating array \[B, V\], got .*Give the decoder an output_layer"),
    ([decode(seq2seq.SampleEmbeddingHelper(EMBEDDING, START, 0))], ValueError,
     r"SampleEmbeddingHelper: expected a key, got None. It draws: call dynamic_decode\(..., key=jax.random.key\(seed\)\)"),
    ([decode(seq2seq.SampleEmbeddingHelper(EMBEDDING, START, 0, t)) for t in (0.0, -1, jnp.float32(0))], ValueError,
     r"SampleEmbeddingHelper: expected softmax_temperature to be above 0, got .*At 0 it is GreedyEmbeddingHelper"),
    ([decode(seq2seq.SampleEmbeddingHelper(EMBEDDING, START, 0, STATE))], ValueError, r"expected softmax_temperature to be one number"),
    ([decode(seq2seq.ScheduledOutputTrainingHelper(INPUTS, LENGTHS, 0.5))], ValueError, r"TrainingHelper: expected a key, got None"),
    (scheduled(1.5) + scheduled(-0.1), ValueError,
     r"TrainingHelper: expected sampling_probability to be in \[0, 1\], got values from .* the probability to read what the model"),
    (scheduled(np.ones(3)), ValueError, r"to be one number or one for each of the 4 rows, got float64\[3\]"),
    (scheduled("half"), TypeError, r"sampling_probability: expected an array of numbers, got a str: 'half'"),
    ([scheduled_outputs(next_inputs_fn=lambda outputs: outputs[:, :2])], ValueError,
     r"ScheduledOutputTrainingHelper: expected inputs made of the outputs to be float32\[4, 3\], as .*, got float32\[4, 2\]. Make"),
    ([scheduled_outputs(auxiliary_inputs=INPUTS[:, :4])], ValueError, r"inputs\[1\]: expected the same time steps T in every leaf, 5 as in"),
    ([custom(sample_fn=None)], TypeError, r"CustomHelper: expected sample_fn to be a function, got a NoneType"),
    ([decode(seq2seq.InferenceHelper("greedy", STATE, jnp.any))], TypeError, r"InferenceHelper: expected sample_fn to be a function"),
    ([custom(started=STATE), custom(started=(STATE,) * 3)], TypeError,
     r"CustomHelper: expected initialize to return the pair \(finished, inputs\), got (float32\[4, 3\]|3 things)"),
    ([custom(started=(STATE, STATE)), custom(started=(np.zeros(3, bool), STATE))], TypeError,
     r"CustomHelper: expected finished to be bool\[4\], one for each row of inputs, got"),
    ([custom(went_on=(STATE, STATE))], TypeError, r"CustomHelper: expected next_inputs to return \(finished, next_inputs, next_state\)"),
    ([custom(went_on=(jnp.zeros(4, bool), (STATE,), STATE))], ValueError,
     r"BasicDecoder with CustomHelper: expected the next inputs to have the structure that they start with, .*All steps return"),
    ([custom(went_on=(jnp.zeros(4, bool), STATE[:, :2], STATE))], ValueError,
     r"BasicDecoder with CustomHelper: expected the next inputs to be float32\[4, 3\], as at the start, got float32\[4, 2\]"),
    ([custom(went_on=(jnp.zeros(4, bool), STATE, STATE[:2]))], ValueError, r"expected the next state to be float32\[4, 3\], as at"),
    ([custom(went_on=(jnp.zeros(4), STATE, STATE))], ValueError, r"expected finished to be bool\[4\], as at the start, got float32"),
    # beams
    ([lambda: seq2seq.BeamSearchDecoder(CELL, 0)], ValueError, r"BeamSearchDecoder: expected beam_width to be at least 1, got 0"),
    ([lambda: seq2seq.BeamSearchDecoder(CELL, 2.0)], TypeError, r"BeamSearchDecoder: expected beam_width to be an int"),
    ([lambda: seq2seq.BeamSearchDecoder(CELL, 2, length_penalty_weight=np.inf)], ValueError, r"BeamSearchDecoder: expected length_penalty_weight to be finite"),
    ([beam(state=STATE)], ValueError,
     r"expected initial_state to have 4 x 2 = 8 rows, one for each beam, got float32\[4, 3\]. Make them with .*tile_batch\(init"),
    ([beam(TRAINING), beam(seq2seq.SampleEmbeddingHelper(EMBEDDING, START, 0))], TypeError,
     r"BeamSearchDecoder: expected a GreedyEmbeddingHelper as its helper, got a (Training|SampleEmbedding)Helper"),
    ([beam(seq2seq.GreedyEmbeddingHelper(EMBEDDING, START, 3))], ValueError, r"expected end_token to be from 0 and below 3, got"),
    ([beam(coverage_penalty_weight=0.2)], ValueError,
     r"BeamSearchDecoder: expected a state with alignments beside a coverage_penalty_weight, got none. Wrap the cell in an Atten"),
    ([beam(impute_finished=True)], ValueError, r"BeamSearchDecoder: expected impute_finished=False, got True. Beams change places"),
    ([lambda: seq2seq.tile_batch(STATE, 0)], ValueError, r"tile_batch: expected multiplier to be at least 1, got 0"),
    ([lambda: seq2seq.tile_batch(STATE, 2.0)], TypeError, r"tile_batch: expected multiplier to be an int, got a float"),
    ([lambda: seq2seq.gather_tree(TARGETS, TARGETS, LENGTHS, 0), lambda: seq2seq.gather_tree(LOGITS, LOGITS, LENGTHS, 0)], TypeError,
     r"gather_tree: expected step_ids to be integers \[T, B, K\], got"),
    ([lambda: seq2seq.gather_tree(TARGETS[None], TARGETS[None, :, :3], LENGTHS, 0)], ValueError, r"expected parent_ids of the shape of"),
    ([lambda: seq2seq.gather_tree(TARGETS[None], TARGETS[None], LENGTHS[:3], 0)], TypeError, r"max_sequence_lengths to be integers \[B\]"),
    ([lambda: seq2seq.gather_tree(TARGETS[None], TARGETS[None], LENGTHS, 0.5)], TypeError, r"gather_tree: expected end_token to be one"),
    # losses
    ([loss(logits=WEIGHTS), loss(logits=LOGITS.astype(int))], TypeError, r"sequence_loss: expected logits to be floating \[B, T, V\]"),
    ([loss(targets=WEIGHTS), loss(targets=TARGETS[:, :4])], TypeError, r"expected targets to be integers \[B, T\] = \[4, 5\], got"),
    ([loss(weights=TARGETS), loss(weights=WEIGHTS[:3])], TypeError, r"expected weights to be floating \[B, T\] = \[4, 5\], got"),
    ([loss(sum_over_batch=True), loss(sum_over_timesteps=True)], ValueError,
     r"expected one of average_across_(\w+) and sum_over_\1, got both. Pass average_across_\1=False beside sum_over_\1=True"),
    ([loss(average_across_batch=1)], TypeError, r"average_across_batch: expected True or False, got a int: 1"),
    ([loss(softmax_loss_function=lambda labels, logits: logits)], ValueError,
     r"sequence_loss: expected softmax_loss_function to return \[B T\] = \[20\], got float32\[20, 3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "error", "text"), ROWS, ids=[f"{i}-{row[2][:30]}" for i, row in enumerate(ROWS)])
def test_bad_input_is_named(calls, error, text):
    for call in calls:
        with pytest.raises(error, match=text):
            call()


def test_good_input_is_not():
    for call in [decode(), greedy(), beam(), custom(), loss(), *scheduled(0.5)]:
        call()
