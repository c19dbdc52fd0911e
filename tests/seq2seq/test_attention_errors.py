"""Bad attention is met by an error that says what was expected, what came and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1
from jaxrnn.seq2seq import (
    AttentionMechanism,
    AttentionWrapper,
    BahdanauAttention,
    Dense,
    LuongAttention,
    LuongMonotonicAttention,
    monotonic_attention,
)

GRU, KEY = jaxrnn.GRUCell(5), jax.random.key(0)
LUONG = LuongAttention(5, 6)
CELL, BOTH = AttentionWrapper(GRU, LUONG, 3), AttentionWrapper(GRU, (LUONG, BahdanauAttention(4, 6)))
WEIGHTS, OF_BOTH = CELL.init(KEY, 2), BOTH.init(KEY, 2)
MEMORY, INPUTS = jnp.ones((4, 9, 6)), jnp.ones((4, 7, 2))
PARAMS = CELL.with_memory(WEIGHTS, MEMORY)
STATE = CELL.zero_state(PARAMS)
PAIRS = jaxrnn.StateOutputWrapper(GRU)  # puts out a pair


class Other(AttentionMechanism):
    """A mechanism that TF1 has not."""

    num_units = memory_size = 3


def built(mechanism=LUONG, cell=GRU, **options):
    return lambda: AttentionWrapper(cell, mechanism, **options)


def memory(memory=MEMORY, lengths=None, cell=CELL, params=WEIGHTS):
    return lambda: cell.with_memory(params, memory, lengths)


def step(params=PARAMS, inputs=INPUTS[:, 0], state=STATE, cell=CELL):
    return lambda: cell(params, inputs, state)


def run(cell=CELL, params=PARAMS, **options):
    return lambda: jaxrnn.dynamic_rnn(cell, params, INPUTS, **options)


def attend(p=(2, 3), previous=(2, 3), mode="hard"):
    return lambda: monotonic_attention(jnp.ones(p), jnp.ones(previous), mode)


def valued(result):
    mechanism = LuongAttention(5, 6, custom_key_value_fn=lambda keys, values: result(keys, values))
    return lambda: AttentionWrapper(GRU, mechanism, 3).with_memory(WEIGHTS, MEMORY)


class Layer(Dense):
    """A layer that TF1 has not."""

    def __init__(self):
        super().__init__(3)


BASIC = jaxrnn.BasicRNNCell(5)
RESETS = np.zeros((4, 7), bool)
CASES = [
    (lambda: LuongAttention(0, 6), ValueError, r"LuongAttention: expected num_units to be at least 1, got 0"),
    (lambda: BahdanauAttention(5, 0), ValueError, r"BahdanauAttention: expected memory_size to be at least 1, got 0"),
    (lambda: LuongAttention(5, 6, scale=1), TypeError, r"LuongAttention: scale: expected True or False, got a int: 1"),
    (lambda: BahdanauAttention(5, 6, normalize=1), TypeError, r"BahdanauAttention: normalize: expected True or False"),
    (lambda: LuongAttention(5, 6, probability_fn=1), TypeError, r"LuongAttention: expected probability_fn to be a function"),
    (lambda: LuongAttention(5, 6, custom_key_value_fn=1), TypeError, r"expected custom_key_value_fn to be a function"),
    (lambda: LuongAttention(5, 6, score_mask_value="low"), TypeError, r"expected score_mask_value to be a number, or None"),
    (
        lambda: LuongMonotonicAttention(5, 6, mode="soft"),
        ValueError,
        r"mode to be one of 'recursive', 'parallel', 'hard', got 's",
    ),
    (
        lambda: LuongMonotonicAttention(5, 6, sigmoid_noise=-1),
        ValueError,
        r"sigmoid_noise to be a number from 0, got a int: -1",
    ),
    (lambda: LuongMonotonicAttention(5, 6, score_bias_init=np.inf), ValueError, r"score_bias_init to be finite, got inf"),
    (lambda: Dense(0), ValueError, r"Dense: expected units to be at least 1, got 0"),
    (attend(mode="soft"), ValueError, r"monotonic_attention: expected mode to be one of"),
    (
        attend(previous=(2, 4)),
        ValueError,
        r"to be floating \[B, M\], of one shape and dtype, got float32\[2, 3\] and float32\[2, 4",
    ),
    (
        attend((3,), (3,)),
        ValueError,
        r"monotonic_attention: expected p_choose_i and previous_attention to be floating \[B, M\]",
    ),
    (
        built(cell=lambda p, x, s: (x, s)),
        TypeError,
        r"AttentionWrapper: expected a cell with init and initial_state, got a func",
    ),
    (built(()), ValueError, r"AttentionWrapper: expected at least one mechanism, got an empty tuple"),
    (
        built(GRU),
        TypeError,
        r"AttentionWrapper: expected an attention mechanism, such as LuongAttention\(num_units, memory_size",
    ),
    (built(LuongAttention), TypeError, r"AttentionWrapper: expected an attention mechanism"),
    (built((LUONG, LUONG), attention_layer_size=3), ValueError, r"attention_layer_size to be a tuple with one for each of 2"),
    (built((LUONG, LUONG), attention_layer_size=[3]), ValueError, r"with one for each of 2 mechanisms, got 1"),
    (built(attention_layer_size=0), ValueError, r"Dense: expected units to be at least 1, got 0"),
    (built(attention_layer=jnp.tanh), TypeError, r"AttentionWrapper: expected attention_layer to be a layer, such as Dense"),
    (built(attention_layer=Dense(3), attention_layer_size=3), ValueError, r"attention_layer_size or attention_layer, got both"),
    (built(cell_input_fn=3), TypeError, r"AttentionWrapper: expected cell_input_fn to be a function"),
    (built(output_attention=None), TypeError, r"AttentionWrapper: output_attention: expected True or False"),
    (
        lambda: AttentionWrapper(GRU, LuongAttention(4, 6)).init(KEY, 2),
        ValueError,
        r"of size num_units=4, got size 5. Make num",
    ),
    (
        lambda: AttentionWrapper(PAIRS, LUONG).init(KEY, 2),
        ValueError,
        r"the inner cell's output to be one array \[B, H\], got the",
    ),
    (lambda: CELL.init(KEY, (2, 2)), TypeError, r"input_size: expected an int, the D of inputs \[B, D\]"),
    (
        memory(jnp.ones((4, 9, 5))),
        ValueError,
        r"LuongAttention: expected a memory \[B, M, 6\], as memory_size says.*got float32\[4, 9, 5",
    ),
    (memory(jnp.ones((4, 0, 6))), ValueError, r"with one position or more, got float32\[4, 0, 6\]"),
    (memory(jnp.ones((4, 6))), ValueError, r"LuongAttention: expected a memory \[B, M, 6\]"),
    (
        memory(MEMORY.astype(jnp.bfloat16)),
        TypeError,
        r"a memory of the weights' dtype, float32, got bfloat16\[4, 9, 6\]. Convert",
    ),
    (memory(lengths=jnp.ones(4)), TypeError, r"memory_sequence_length: expected integers, got float32\[4\]"),
    (memory(lengths=np.array([1, 2])), ValueError, r"memory_sequence_length must be a vector \[B\].*expected shape \(4,\)"),
    (memory(lengths=np.array([1, 2, 3, 10])), ValueError, r"memory_sequence_length: expected lengths in \[0, M\] = \[0, 9\]"),
    (
        memory(cell=BOTH, params=OF_BOTH),
        ValueError,
        r"expected memory to be a tuple with one for each of 2 mechanisms, got float32",
    ),
    (memory((MEMORY,), cell=BOTH, params=OF_BOTH), ValueError, r"expected memory to be a tuple with one for each of 2.*got 1"),
    (
        memory((MEMORY, MEMORY), [3], BOTH, OF_BOTH),
        ValueError,
        r"expected memory_sequence_length to be a tuple with one for each",
    ),
    (
        memory(params=GRU.init(KEY, 2)),
        ValueError,
        r"expected params of cell.init\(key, input_size\), got params with 'bias', 'kernel'",
    ),
    (
        valued(lambda keys, values: keys),
        ValueError,
        r"LuongAttention: expected custom_key_value_fn to return keys like float32\[4, 9, 5",
    ),
    (
        valued(lambda keys, values: (values, keys)),
        ValueError,
        r"and values \[4, 9, any\], got float32\[4, 9, 6\], float32\[4, 9, 5\]",
    ),
    (
        step(WEIGHTS),
        ValueError,
        r"expected params with a memory, got params with 'cell', .* params = cell.with_memory\(params, mem",
    ),
    (lambda: CELL.zero_state(WEIGHTS), ValueError, r"expected params with a memory"),
    (
        lambda: CELL.initial_state(4),
        ValueError,
        r"expected zero_state\(params\), got initial_state\(4\). The state has a place",
    ),
    (step(inputs=INPUTS[:2, 0]), ValueError, r"expected \[B, ...\] with B = 2"),
    (
        step(inputs=INPUTS[:2, 0], state=jax.tree.map(lambda s: s[:2], STATE)),
        ValueError,
        r"as many rows as the memory has, 4, got 2",
    ),
    (step(inputs=jnp.ones((4, 3))), ValueError, r"expected params\['cell'\]\['kernel'\] of shape"),
    (step(inputs=jnp.ones((4, 2), int)), TypeError, r"AttentionWrapper\(.*: expected floating inputs"),
    (step(state=STATE.cell_state), ValueError, r"expected a state of the structure .*Build it with cell.zero_state\(params\)"),
    (
        step(state=STATE._replace(alignments=jnp.ones((4, 8)))),
        ValueError,
        r"expected state.alignments of shape \(4, 9\), got shape",
    ),
    (
        run(),
        ValueError,
        r"expected an initial_state, got None. The AttentionWrapper's state depends on its memory: give zero_state",
    ),
    (run(jaxrnn.StateOutputWrapper(CELL)), ValueError, r"expected an initial_state, got None. The AttentionWrapper's state"),
    (run(jaxrnn.MultiRNNCell([CELL, GRU])), ValueError, r"expected an initial_state, got None. The AttentionWrapper's state"),
    (
        run(initial_state=STATE, resets=RESETS),
        ValueError,
        r"a reset_state beside resets, got None. The AttentionWrapper's state",
    ),
    (run(params=WEIGHTS, initial_state=STATE), ValueError, r"expected params with a memory"),
    (lambda: from_tf1(AttentionWrapper(BASIC, Other()), {}), TypeError, r"expected a mechanism that TF1 has too, got"),
    (
        lambda: from_tf1(AttentionWrapper(BASIC, LUONG, attention_layer=Layer()), {}),
        TypeError,
        r"an attention_layer that is a Dense",
    ),
]


@pytest.mark.parametrize(("call", "kind", "text"), CASES, ids=[f"{i}: {text:.60}" for i, (*_, text) in enumerate(CASES)])
def test_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_plain_tuples_stand_for_the_state():
    output, _ = CELL(PARAMS, INPUTS[:, 0], tuple(STATE))
    assert output.shape == (4, 3)


def test_names_of_tf1_that_are_missing():
    cell = AttentionWrapper(BASIC, LUONG, 3)
    variables = jaxrnn.interop.to_tf1(cell, cell.init(KEY, 2))
    del variables["memory_layer/kernel"]
    with pytest.raises(ValueError, match=r"Missing: '//memory_layer/kernel'"):
        from_tf1(cell, variables)
