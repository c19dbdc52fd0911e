"""Attention of tf.contrib.seq2seq. See tf115.py.

inputs/0 are the inputs, inputs/1 (and inputs/2) the memories. outputs/0 are the outputs, and after them come the alignments of
all steps, zeros past a row's length (TF1 goes on to write there). A state is (cell state, attention, attention state).
"""

import sys

import numpy as np
import tensorflow as tf
from tf115 import BATCH, FOLDER, INPUT_SIZE, LENGTHS, TIME, make

rnn, seq2seq, nest = tf.nn.rnn_cell, tf.contrib.seq2seq, tf.contrib.framework.nest
H, A, M, DM, U = 4, 2, 6, 5, 7
MEMORY_LENGTHS = [4, 6, 1, 5]
OTHER_LENGTHS = [2, 3, 3, 1]
gru = lambda: rnn.GRUCell(H)


def random(seed, *shape):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def history(state, lengths):
    """The alignments of all steps, [B, T, M], of each mechanism."""
    each = state.alignment_history if isinstance(state.alignment_history, tuple) else (state.alignment_history,)
    arrays = [tf.transpose(each_one.stack(), (1, 0, 2)) for each_one in each]
    if lengths is None:
        return arrays
    mask = tf.sequence_mask(lengths, TIME, tf.float32)[:, :, None]
    return [tf.reshape(array * mask, (BATCH, TIME, M)) for array in arrays]


def one_by_one(wrapper):
    """A run of `wrapper(memories)` over inputs."""

    def run(_, inputs, lengths, initial):
        inputs, memories = inputs[0], inputs[1:]
        cell = wrapper(*memories)
        state = cell.zero_state(BATCH, tf.float32)
        if initial is not None:
            cell_state, attention, attention_state = initial
            state = state.clone(cell_state=cell_state, attention=attention, attention_state=attention_state)
        outputs, state = tf.nn.dynamic_rnn(cell, inputs, lengths, state, tf.float32)
        alignments = [tf.reshape(each, (BATCH, TIME, M)) for each in history(state, lengths)]
        return (outputs,) + tuple(alignments), (state.cell_state, state.attention, state.attention_state)

    return run


def attention(name, wrapper, memories=1, initial=None, cases=("none",), limit=0.8):
    inputs = (random(1, BATCH, TIME, INPUT_SIZE),) + tuple(random(2 + i, BATCH, M, DM) for i in range(memories))
    stored = {"memory_sequence_length": np.array(MEMORY_LENGTHS, np.int32), "other_length": np.array(OTHER_LENGTHS, np.int32)}
    make(name, lambda: None, inputs=inputs, run=one_by_one(wrapper), initial=initial, cases=cases, limit=limit, **stored)


def wrapped(mechanism, **options):
    """An AttentionWrapper of a cell with one mechanism, and a linear layer if nothing else is said."""
    options.setdefault("attention_layer_size", A)
    return lambda memory: seq2seq.AttentionWrapper(gru(), mechanism(memory), alignment_history=True, **options)


def luong(lengths=tuple(MEMORY_LENGTHS), **options):
    return lambda memory: seq2seq.LuongAttention(H, memory, None if lengths is None else list(lengths), **options)


def bahdanau(**options):
    return lambda memory: seq2seq.BahdanauAttention(U, memory, MEMORY_LENGTHS, **options)


def luong_monotonic(**options):
    return lambda memory: seq2seq.LuongMonotonicAttention(H, memory, MEMORY_LENGTHS, **options)


def bahdanau_monotonic(**options):
    return lambda memory: seq2seq.BahdanauMonotonicAttention(U, memory, MEMORY_LENGTHS, **options)


def spread(rng, leaf, shape):
    """Initial states; the alignments, which have M columns, sum to about one."""
    low, high = (0, 0.4) if shape[1] == M else (-0.8, 0.8)
    return rng.uniform(low, high, shape).astype(np.float32)


def chosen(rng, leaf, shape):
    """Initial states; the alignments choose a position."""
    return np.eye(M, dtype=np.float32)[[0, 2, 0, 1]] if shape[1] == M else rng.uniform(-0.8, 0.8, shape).astype(np.float32)


both = ("none", "mixed")
attention("luong", wrapped(luong()), cases=both)
attention("luong_context", wrapped(luong(), attention_layer_size=None))
attention("luong_no_lengths", wrapped(luong(None)))
attention("luong_scaled", wrapped(luong(scale=True)))
attention("luong_hardmax", wrapped(luong(probability_fn=seq2seq.hardmax)))
attention("luong_mask_value", wrapped(luong(score_mask_value=-0.5)))
key_value = lambda keys, values: (2 * keys, tf.concat([values, keys[:, :, :2]], 2))
attention("luong_key_value", wrapped(luong(custom_key_value_fn=key_value), attention_layer_size=None))
attention("bahdanau", wrapped(bahdanau(), attention_layer_size=None, output_attention=False), cases=both)
attention("bahdanau_normalized", wrapped(bahdanau(normalize=True)))
attention("luong_monotonic", wrapped(luong_monotonic(scale=True)), initial=spread, cases=both)
attention("luong_monotonic_recursive", wrapped(luong_monotonic(mode="recursive")), initial=spread)
attention("luong_monotonic_hard", wrapped(luong_monotonic(mode="hard")), initial=chosen)
attention("bahdanau_monotonic", wrapped(bahdanau_monotonic()), initial=spread)
normalized = bahdanau_monotonic(normalize=True, score_bias_init=-0.5, mode="recursive")
attention("bahdanau_monotonic_normalized", wrapped(normalized), initial=spread)
attention("bahdanau_monotonic_hard", wrapped(bahdanau_monotonic(mode="hard")), initial=chosen)
times = lambda inputs, attention: tf.concat([inputs * attention[:, :1], attention], -1)
attention("attention_input_fn", wrapped(luong(), cell_input_fn=times))


def layer(memory):
    dense = tf.layers.Dense(A, tf.tanh)
    return seq2seq.AttentionWrapper(gru(), luong()(memory), attention_layer=dense, alignment_history=True)


attention("attention_layer", layer)


def several(memory, other):
    mechanisms = [luong(scale=True)(memory), bahdanau()(other)]
    return seq2seq.AttentionWrapper(rnn.LSTMCell(H), mechanisms, [2, 1], alignment_history=True)


def several_contexts(memory, other):
    mechanisms = [luong(scale=True)(memory), luong(tuple(OTHER_LENGTHS), scale=True)(other)]
    return seq2seq.AttentionWrapper(gru(), mechanisms, alignment_history=True)


attention("attention_several", several, memories=2)
attention("attention_several_contexts", several_contexts, memories=2)


def encoded(mechanism):
    """An encoder over inputs/1, and a decoder over inputs/0 that starts from its last state."""

    def run(_, inputs, lengths, initial):
        read, source = inputs
        with tf.variable_scope("encoder"):
            memory, state = tf.nn.dynamic_rnn(rnn.GRUCell(H), source, MEMORY_LENGTHS, dtype=tf.float32)
        cell = wrapped(mechanism)(memory)
        start = cell.zero_state(BATCH, tf.float32).clone(cell_state=state)
        helper = seq2seq.TrainingHelper(read, LENGTHS["mixed"])
        result, state, _ = seq2seq.dynamic_decode(seq2seq.BasicDecoder(cell, helper, start), impute_finished=True)
        outputs = tf.reshape(result.rnn_output, (BATCH, TIME, A))
        alignments = [tf.reshape(each, (BATCH, TIME, M)) for each in history(state, LENGTHS["mixed"])]
        return (outputs,) + tuple(alignments), (state.cell_state, state.attention, state.attention_state)

    return run


lengths = {"memory_sequence_length": np.array(MEMORY_LENGTHS, np.int32)}
inputs = random(1, BATCH, TIME, INPUT_SIZE), random(2, BATCH, M, DM)
for name, mechanism in [
    ("encoder_luong", luong()),
    ("encoder_bahdanau", bahdanau(normalize=True)),
    ("encoder_monotonic", luong_monotonic(scale=True)),
]:
    make(name, lambda: None, inputs=inputs, run=encoded(mechanism), cases=("mixed",), **lengths)


def functions():
    """Small functions, at bounds and past them, with gradients of sum(result * w)."""
    rng = np.random.RandomState(0)
    p = rng.uniform(0, 1, (3, M)).astype(np.float32)
    p[0, 2], p[0, 4], p[1, 0], p[1, 5] = 1, 0, 0, 1
    previous = rng.uniform(0, 0.4, (3, M)).astype(np.float32)
    hard, at = (p > 0.6).astype(np.float32), np.eye(M, dtype=np.float32)[[0, 3, 5]]
    x, w = rng.uniform(-0.1, 1.2, (3, M)).astype(np.float32), rng.uniform(-1, 1, (3, M)).astype(np.float32)
    x[0, 1], x[2, 2] = 1, 0
    cases = {
        "recursive": (lambda p, a: seq2seq.monotonic_attention(p, a, "recursive"), (p, previous)),
        "parallel": (lambda p, a: seq2seq.monotonic_attention(p, a, "parallel"), (p, previous)),
        "hard": (lambda p, a: seq2seq.monotonic_attention(p, a, "hard"), (hard, at)),
        "cumprod": (lambda x: seq2seq.safe_cumprod(x, axis=1), (x,)),
        "cumprod_exclusive": (lambda x: seq2seq.safe_cumprod(x, axis=1, exclusive=True), (x,)),
        "cumprod_reverse": (lambda x: seq2seq.safe_cumprod(x, axis=1, exclusive=True, reverse=True), (x,)),
        "hardmax": (lambda x: seq2seq.hardmax(x) + 0 * x, (np.round(x * 3),)),
    }
    arrays = {"w": w}
    for name, (function, args) in cases.items():
        with tf.Graph().as_default(), tf.Session() as session:
            sources = [tf.constant(arg) for arg in args]
            result = function(*sources)
            grads = tf.gradients(tf.reduce_sum(result * w), sources)
            value, grads = session.run([result, grads])
        arrays[name + "/result"] = value
        for i, (arg, grad) in enumerate(zip(args, grads)):
            arrays["%s/args/%d" % (name, i)], arrays["%s/grad/%d" % (name, i)] = arg, grad
    np.savez_compressed(str(FOLDER / "attention_functions.npz"), **arrays)


if not sys.argv[1:] or "attention_functions" in sys.argv[1:]:
    functions()
