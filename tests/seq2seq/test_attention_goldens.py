"""Attention of the real TensorFlow 1.15: outputs, alignments of all steps, states, gradients, through `from_tf1`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1, to_tf1
from jaxrnn.seq2seq import AttentionWrapper, AttentionWrapperState, LuongAttention, hardmax, monotonic_attention, safe_cumprod
from tests.contrib.test_goldens import CLOSE, cases, leaves, load, part
from tests.rows import fast_if
from tests.seq2seq.attention import ENCODED, GOLDENS

WALK = [(name, case) for name in GOLDENS for case in cases(name)]
ENCODER = jaxrnn.GRUCell(4, reset_after=False)


def whole_run(cell, params, inputs, start, lengths):
    """`(outputs, alignments of all steps, state)`."""
    cell = jaxrnn.StateOutputWrapper(cell)
    (outputs, states), state = jaxrnn.dynamic_rnn(
        cell, params, inputs, sequence_length=lengths, initial_state=start, chunk_size=2
    )
    return outputs, states.alignments, state


def compare(name, case, run, point):
    """`run(*point) -> (outputs, alignments of all steps, state)` and its gradients; where TF1's gradient is NaN it is zero."""
    data = load(name)

    def value(*point):
        outputs, alignments, state = run(*point)
        outputs = (outputs, *(alignments if isinstance(alignments, tuple) else (alignments,)))
        state = jax.tree.leaves((state.cell_state, state.attention, state.attention_state))
        total = sum(jnp.sum(y * data[f"wy/{i}"]) for i, y in enumerate(outputs))
        return total + sum(jnp.sum(s * data[f"ws/{i}"]) for i, s in enumerate(state)), (outputs, state)

    point = jax.tree.map(jnp.asarray, point)
    grads, (outputs, state) = jax.jit(jax.grad(value, tuple(range(len(point))), has_aux=True))(*point)
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(output, data[f"{case}/outputs/{i}"], **CLOSE, err_msg=f"outputs {i}")
    for i, leaf in enumerate(state):
        np.testing.assert_allclose(leaf, data[f"{case}/state/{i}"], **CLOSE, err_msg=f"state {i}")
    by_key = {f"variables/{key}": grad for key, grad in grads[0].items()}
    for prefix, tree in zip(("inputs", "initial"), grads[1:], strict=False):
        by_key |= {f"{prefix}/{i}": grad for i, grad in enumerate(jax.tree.leaves(tree))}
    wanted = part(name, f"{case}/grad")
    assert wanted.keys() <= by_key.keys()
    for key, grad in by_key.items():
        want = wanted.get(key, np.zeros_like(grad))
        np.testing.assert_allclose(grad, np.where(np.isnan(want), 0, want), **CLOSE, err_msg=key)


OF_A_KIND = ("luong_scaled", "bahdanau_normalized", "luong_monotonic_recursive", "attention_several")


@pytest.mark.parametrize(
    ("name", "case"),
    fast_if(lambda each: each[0] in OF_A_KIND and each[1] == cases(each[0])[0], WALK),
    ids=["-".join(each) for each in WALK],
)
def test_equals_tf1(name, case):
    cell, data = GOLDENS[name], load(name)
    of_second = "other_length" if name == "attention_several_contexts" else "memory_sequence_length"
    lengths = None if name == "luong_no_lengths" else cell.as_given([data["memory_sequence_length"], data[of_second]])

    def run(variables, inputs, initial):
        x, *memories = inputs
        params = cell.with_memory(from_tf1(cell, variables), cell.as_given(memories), lengths)
        start = cell.zero_state(params)
        structure = jax.tree.structure((start.cell_state, start.attention, start.attention_state))
        cell_state, attention, carried = jax.tree.unflatten(structure, initial)
        start = AttentionWrapperState(cell_state, attention, carried, carried)
        return whole_run(cell, params, x, start, data.get(f"{case}/sequence_length"))

    compare(name, case, run, (part(name, "variables"), leaves(name, "inputs"), leaves(name, "initial")))


@pytest.mark.parametrize("name", fast_if(lambda name: name == "encoder_luong", ENCODED))
def test_an_encoder_and_a_decoder_equal_tf1(name):
    cell, data = ENCODED[name], load(name)
    lengths = data["memory_sequence_length"]

    def run(variables, inputs):
        read, source = inputs
        of_encoder = {key: value for key, value in variables.items() if key.startswith("encoder/")}
        rest = {key: value for key, value in variables.items() if key not in of_encoder}
        memory, state = jaxrnn.dynamic_rnn(ENCODER, from_tf1(ENCODER, of_encoder), source, sequence_length=lengths)
        params = cell.with_memory(from_tf1(cell, rest), memory, lengths)
        start = cell.zero_state(params)._replace(cell_state=state)
        return whole_run(cell, params, read, start, data["mixed_initial/sequence_length"])

    compare(name, "mixed_initial", run, (part(name, "variables"), leaves(name, "inputs")))


@pytest.mark.parametrize("name", [*GOLDENS, *ENCODED])
def test_there_and_back(name):
    cell = {**GOLDENS, **ENCODED}[name]
    variables = {key: value for key, value in part(name, "variables").items() if not key.startswith("encoder/")}
    back = to_tf1(cell, from_tf1(cell, variables))
    renamed = lambda key: key.replace("decoder/", "rnn/").replace("/dense/", "/attention_layer/")
    assert back.keys() == {renamed(key) for key in variables}
    for key, value in variables.items():
        np.testing.assert_allclose(back[renamed(key)], value, rtol=1e-6, atol=1e-6, err_msg=key)


FUNCTIONS = {
    **{mode: lambda p, a, mode=mode: monotonic_attention(p, a, mode) for mode in ("recursive", "parallel", "hard")},
    "cumprod": lambda x: safe_cumprod(x, axis=1),
    "cumprod_exclusive": lambda x: safe_cumprod(x, axis=-1, exclusive=True),
    "cumprod_reverse": lambda x: safe_cumprod(x, axis=1, exclusive=True, reverse=True),
    "hardmax": hardmax,
}


@pytest.mark.parametrize("pair", [False, True])
def test_two_memories_have_names_of_their_own(pair):
    """TF1 numbers memory layers as they are made."""
    wrapped = AttentionWrapper(jaxrnn.GRUCell(3, reset_after=False), LuongAttention(3, 6), 3)
    cell = (wrapped, wrapped) if pair else jaxrnn.MultiRNNCell([wrapped, wrapped])
    keys = jax.random.split(jax.random.key(0))
    params = tuple(wrapped.init(key, 3) for key in keys) if pair else cell.init(keys[0], 3)
    variables = to_tf1(cell, params)
    assert {"memory_layer/kernel", "memory_layer_1/kernel"} < variables.keys()
    jax.tree.map(np.testing.assert_array_equal, from_tf1(cell, variables), params)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_tf1(name):
    data = load("attention_functions")
    args = [jnp.asarray(arg) for arg in leaves("attention_functions", f"{name}/args")]
    np.testing.assert_allclose(FUNCTIONS[name](*args), data[f"{name}/result"], **CLOSE)
    grads = jax.grad(lambda args: jnp.sum(FUNCTIONS[name](*args) * data["w"]))(args)
    for i, grad in enumerate(grads):
        want = data[f"{name}/grad/{i}"]
        np.testing.assert_allclose(grad, np.where(np.isnan(want), 0, want), **CLOSE, err_msg=f"argument {i}")
