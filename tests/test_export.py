"""Programs of `jax.export`, one for every batch, length and platform: run without jaxrnn, they give numpy's numbers."""

import dataclasses
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.tuning import current, using
from tests import oracle
from tests.rows import ROWS, B, D, T, fast_if, plain, problem

PLATFORMS = ("cpu", "cuda", "tpu")
ROW = {row.name: row for row in ROWS}
LSTM, GRU = ROW["lstm"], ROW["gru"]

pytestmark = pytest.mark.usefixtures("one_device")


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def float32(tree):
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == np.int32 else leaf.astype(np.float32), tree)


def arguments(row, batch, time, seed=0):
    """(params, inputs) in float32 and the lengths, 0 and T among them."""
    params, inputs, _ = problem(row, seed, batch, time)
    return *float32((params, inputs)), np.array([time, 0, 3, 1], np.int32)[:batch].clip(max=time)


def exported(f, arguments, dims="b, t"):
    """`f(params, inputs, lengths)` for any B and T (of inputs `[B, T, ...]`, and B of inputs `[B, ...]`) on all platforms."""
    b, *time = jax.export.symbolic_shape(dims)
    params, inputs, lengths = shapes(arguments)
    symbolic = lambda leaf, *dims: jax.ShapeDtypeStruct((*dims, *leaf.shape[len(dims) :]), leaf.dtype)
    args = params, symbolic(inputs, b, *time), jax.tree.map(lambda leaf: symbolic(leaf, b), lengths)
    return jax.export.export(jax.jit(f), platforms=PLATFORMS)(*args)


def run(cell, **options):
    return lambda params, inputs, lengths: jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths, **options)


def close(got, want, tolerance=2e-5):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- values, in a process of its own

CASES = [(B, T), (1, 1), (3, 2)]
# Of lstm_full, stack and embedding these are parts, or like them.
REPEATED = ("basic_relu", "lstm", "lstm_softsign", "lstm_peephole", "lstm_projected", "input_projection", "output_projection")
CELLS = [row for row in ROWS if row.name not in REPEATED]

ELSEWHERE = """
import dataclasses
import pickle, sys
from typing import Any, NamedTuple

sys.modules["jaxrnn"] = None  # to import it is an error

import jax, jax.export, jax.numpy as jnp


class State(NamedTuple):
    c: Any
    h: Any


jax.export.register_namedtuple_serialization(State, serialized_name="jaxrnn.LSTMStateTuple")


def step_by_step(program, params, inputs):
    (_, _, state), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    state = jax.tree.map(lambda leaf: jnp.zeros((len(inputs), *leaf.shape[1:]), leaf.dtype), state)
    step, outputs = jax.jit(program.call), []
    for t in range(inputs.shape[1]):
        output, state = step(params, inputs[:, t], state)
        outputs.append(output)
    return jnp.stack(outputs, 1), state


results = {}
for name, (step, sequence, cases) in pickle.load(sys.stdin.buffer).items():
    run = jax.jit(jax.export.deserialize(sequence).call)
    for params, inputs, lengths in cases:
        got = {"sequence": run(params, inputs, lengths), "all steps": run(params, inputs, 0 * lengths + inputs.shape[1])}
        if step:
            got["step by step"] = step_by_step(jax.export.deserialize(step), params, inputs)
        results[name, inputs.shape[:2]] = {k: [jax.device_get(leaf) for leaf in jax.tree.leaves(v)] for k, v in got.items()}
assert not [name for name in sys.modules if name.startswith("jaxrnn.")]
sys.stdout.buffer.write(pickle.dumps(results))
"""


def both_ways(params, inputs, lengths):
    cells = LSTM.cell, GRU.cell
    return jaxrnn.bidirectional_dynamic_rnn(*cells, params, inputs, sequence_length=lengths)


def two_params(arguments):
    (params, inputs, lengths), (other, *_) = arguments, problem(GRU)
    return (params, float32(other)), inputs, lengths


@pytest.fixture(scope="module")
def elsewhere():
    """What another process computes from the serialised programs, by name and (B, T)."""
    pytest.importorskip("flatbuffers", reason="JAX serialises with it")
    programs = {}
    with using(dataclasses.replace(current(), sharded=False)):
        for row in CELLS:
            cases = [arguments(row, *size) for size in CASES]
            params, inputs, _ = cases[0]
            state = jax.eval_shape(lambda row=row: row.cell.initial_state(B))
            step = exported(row.cell, (params, inputs[:, 0], state), dims="b")
            programs[row.name] = step.serialize(), exported(run(row.cell), cases[0]).serialize(), cases
        cases = [two_params(arguments(LSTM, *size)) for size in CASES]
        programs["bidirectional"] = None, exported(both_ways, cases[0]).serialize(), cases
    command = [sys.executable, "-W", "error", "-c", ELSEWHERE]
    done = subprocess.run(command, input=pickle.dumps(programs), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def numpys(row, args, reverse=False):
    """The oracle's `(outputs, state)`, in float64 from the initial state zero."""
    params, inputs, lengths = args
    state = plain(jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(lambda: row.cell.initial_state(len(inputs)))))
    return oracle.rnn(row.step, params, inputs, state, lengths, reverse=reverse)


@pytest.mark.parametrize("size", CASES, ids=str)
@pytest.mark.parametrize("row", CELLS, ids=lambda row: row.name)
def test_steps_and_sequences_run_without_jaxrnn(elsewhere, row, size):
    params, inputs, lengths = arguments(row, *size)
    got = elsewhere[row.name, size]
    close(got["sequence"], numpys(row, (params, inputs, lengths)))
    close(got["step by step"], numpys(row, (params, inputs, None)))
    close(got["all steps"], got["step by step"], 1e-6)


@pytest.mark.parametrize("name", ["lstm_full", "gru_reset_before", "stack"])
def test_the_numbers_are_those_of_the_call(elsewhere, name):
    close(elsewhere[name, CASES[0]]["sequence"], run(ROW[name].cell)(*arguments(ROW[name], *CASES[0])), 1e-6)


@pytest.mark.parametrize("size", CASES, ids=str)
def test_both_directions_run_without_jaxrnn(elsewhere, size):
    (params_fw, params_bw), inputs, lengths = two_params(arguments(LSTM, *size))
    fw, state_fw = numpys(LSTM, (params_fw, inputs, lengths))
    bw, state_bw = numpys(GRU, (params_bw, inputs, lengths), reverse=True)
    close(elsewhere["bidirectional", size]["sequence"], (fw, bw, state_fw, state_bw))


# ---- modes, gradients


MODES = [
    ("lstm", {}),
    ("lstm", {"memory": "recompute", "time_major": True, "reverse": True}),
    ("lstm", {"swap_memory": True}),
    ("stack", {"memory": "recursive", "reverse": True}),
]


def expected_gradient(cell, args, reverse=False):
    """The sum of squares of all outputs and the last state, and its gradients, by a Python loop over steps."""

    def loss(params, inputs, lengths):
        state, total = cell.initial_state(len(inputs)), 0.0
        for t in range(inputs.shape[1])[:: -1 if reverse else 1]:
            output, new = cell(params, inputs[:, t], state)
            valid = (t < lengths)[:, None]
            state = jax.tree.map(lambda n, s, valid=valid: jnp.where(valid, n, s), new, state)
            total += (jnp.where(valid, output, 0) ** 2).sum()
        return total + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(*args)


def loss_of(cell, time_major=False, **options):
    """The same loss, of a run."""

    def loss(params, inputs, lengths):
        inputs = jnp.swapaxes(inputs, 0, 1) if time_major else inputs
        results = run(cell, time_major=time_major, **options)(params, inputs, lengths)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(results))

    return loss


@pytest.mark.parametrize(("name", "options"), fast_if(lambda case: case in MODES[::3], MODES), ids=str)
def test_gradients_are_exported_too(name, options):
    row = ROW[name]
    program = exported(jax.value_and_grad(loss_of(row.cell, **options), (0, 1)), arguments(row, B, T))
    assert ("annotate_device_placement" in program.mlir_module()) == ("swap_memory" in options)
    args = arguments(row, 2, 3, seed=1)
    close(jax.jit(program.call)(*args), expected_gradient(row.cell, args, options.get("reverse", False)), 1e-4)


def test_a_program_has_a_gradient():
    args = arguments(LSTM, 3, 5)
    program = exported(loss_of(LSTM.cell), args)
    close(jax.jit(jax.value_and_grad(program.call, (0, 1)))(*args), expected_gradient(LSTM.cell, args), 1e-4)


@pytest.mark.parametrize(
    ("dims", "options"),
    [("b, 4*n", {"memory": "recompute", "chunk_size": 4}), ("b, 4*n", {"memory": "recursive", "chunk_size": 4}), ("b, 8", {})],
    ids=str,
)
def test_multiples_and_known_lengths_have_longer_chunks(dims, options):
    program = exported(jax.value_and_grad(loss_of(GRU.cell, **options), (0, 1)), arguments(GRU, B, 8), dims)
    args = arguments(GRU, 2, 8, seed=1)
    close(jax.jit(program.call)(*args), expected_gradient(GRU.cell, args), 1e-4)


def counting(params, inputs, state):
    """A function as a cell; a part of its state belongs to no row."""
    steps, h = state
    h = jnp.tanh(inputs @ params + h)
    return h, (steps + 1, h)


def test_a_function_counts_its_steps():
    f = lambda w, inputs, h: jaxrnn.dynamic_rnn(counting, w, inputs, initial_state=(jnp.int32(0), h))
    _, inputs, _ = arguments(GRU, 2, 5)
    args = np.eye(D, dtype=np.float32), inputs, np.zeros((2, D), np.float32)
    params = {"kernel": args[0], "recurrent_kernel": np.eye(D), "bias": 0}
    outputs, h = oracle.rnn(oracle.basic(), params, inputs, args[2])
    close(jax.jit(exported(f, args).call)(*args), (outputs, (5, h)))


def test_resets_and_masks():
    def f(params, inputs, begins):
        resets = begins[:, None] == jnp.arange(inputs.shape[1])[None]
        mask = begins[:, None] - 2 != jnp.arange(inputs.shape[1])[None]
        return jaxrnn.dynamic_rnn(GRU.cell, params, inputs, resets=resets, mask=mask)

    args = *arguments(GRU, 2, 5)[:2], np.array([3, 9], np.int32)
    at = lambda t: args[2][:, None] - t == np.arange(5)
    want = oracle.rnn(GRU.step, *args[:2], np.zeros((2, 5)), resets=at(0), mask=~at(2))
    close(jax.jit(exported(f, args).call)(*args), want)


def test_dropout_draws_the_same_masks():
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(5), 0.5, 0.5, 0.5)
    f = lambda params, inputs, lengths: run(cell, key=jax.random.key(1))(params, inputs, lengths)
    args = arguments(GRU, 3, 5)
    close(jax.jit(exported(f, args).call)(*args), f(*args), 1e-6)


def test_a_long_sequence_needs_no_memory_beside_its_outputs():
    program = exported(lambda *args: run(LSTM.cell)(*args)[0], arguments(LSTM, B, T))
    args = shapes(arguments(LSTM, 2, 4096))
    assert jax.jit(program.call).lower(*args).compile().memory_analysis().temp_size_in_bytes < 4096 * 2 * 5 * 4


@pytest.mark.parametrize("dims", ["b, 7", "b, t"])
def test_bytes_of_unknown_sizes_are_not_counted(dims):
    with pytest.raises(ValueError, match=r"memory: expected known sizes to count bytes for, got T = [7t], B = b. Name a mode"):
        exported(run(LSTM.cell, memory=10**9), arguments(LSTM, B, T), dims)


def test_a_chunk_has_to_divide_a_symbolic_length():
    with pytest.raises(
        ValueError, match=r"chunk_size: expected a divisor of the symbolic T = t, got 4. Leave it .*symbolic_shape\('4\*n'\)"
    ):
        exported(run(LSTM.cell, chunk_size=4), arguments(LSTM, B, T))
