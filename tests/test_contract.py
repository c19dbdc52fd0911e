"""Every cell in every runner and memory mode against a float64 numpy loop: values, and gradients by finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests import oracle
from tests.rows import LENGTHS, ROWS, B, T, fast_if, loss, loss_weights, plain, problem

pytestmark = pytest.mark.usefixtures("one_device")

MODES = ("save", "recompute", "recursive", "offload")
PARTS = ("basic_relu", "lstm", "lstm_softsign", "lstm_peephole", "lstm_projected")  # like others, or parts of lstm_full
WRAPPERS = ("residual", "input_projection", "output_projection", "embedding", "dropout_without_key")
WHOLE = ("stack",)  # walks the whole product, an LSTM with all it has in it; the others leave out repetitions of it

KEPT_OTHERWISE = ("basic", "lstm_full", "gru", "gru_reset_before", "stack")


def time_of(row):
    """Seven steps, which chunks of three do not divide, or two whole chunks: the rest is the engine's, whatever the cell."""
    return T if row.name in WHOLE else 6


def lengths_of(row):
    return LENGTHS.clip(max=time_of(row))


def static(cell, params, inputs, **options):
    outputs, state = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(inputs.shape[1])], **options)
    return jnp.stack(outputs, 1), state


def dynamic(memory):
    # Chunks of two, for "recursive": its levels make blocks of them.
    memory, size = (jaxrnn.memory.recursive(2), 2) if memory == "recursive" else (memory, 3)
    return lambda *args, **options: jaxrnn.dynamic_rnn(*args, memory=memory, chunk_size=size, **options)


RUNNERS = {"static": static, **{mode: dynamic(mode) for mode in MODES}}


def walked(row, runner, lengths, reverse):
    """The whole product for one row. For the others what differs from row to row: the modes share their masks, "recursive" is
    "recompute" to a cell, and so is "offload" to one made of others."""
    if row.name in WHOLE:
        return True
    if lengths == "none":
        return runner == "save" and not reverse
    if row.name in PARTS and runner in ("recompute", "offload"):
        return False
    if row.name in WRAPPERS and runner == "offload":
        return False
    return runner == "save" or (runner != "recursive" and not reverse)


CASES = [case for case in itertools.product(ROWS, RUNNERS, ("none", "mixed"), (False, True)) if walked(*case)]


def is_fast(row, runner, lengths, reverse):
    """Of wrappers and of parts of other cells, and without lengths, one run each."""
    if row.name in (*PARTS, *WRAPPERS):
        return (runner, lengths, reverse) == ("save", "mixed", False)
    return runner == "save" or (lengths == "mixed" and not reverse and row.name in ("lstm_full", "stack"))


@pytest.fixture(scope="module")
def expected():
    """The oracle's value, and its derivatives along a random direction of every leaf alone."""
    known = {}

    def look_up(row, lengths, reverse):
        if (row.name, lengths, reverse) not in known:
            known[row.name, lengths, reverse] = _expected(row, lengths_of(row) if lengths == "mixed" else None, reverse)
        return known[row.name, lengths, reverse]

    return look_up


def _expected(row, lengths, reverse):
    point, weights = problem(row, time=time_of(row)), loss_weights(row, time=time_of(row))

    def run(point):
        params, inputs, state = point
        return oracle.rnn(row.step, params, inputs, plain(state), lengths, reverse=reverse)

    def scalar(point):
        outputs, state = run(point)
        return loss(outputs, state, weights)

    flat = tuple(plain(part) if isinstance(part, tuple) else part for part in point)
    directions = list(_one_leaf_directions(flat))
    return run(flat), [(d, oracle.directional(scalar, flat, d)) for d in directions]


def _one_leaf_directions(point):
    """For each floating leaf a random direction that moves it alone."""
    rng = np.random.default_rng(2)
    count = len(oracle.leaves(point))
    for k in range(count):
        numbers = iter(range(count))
        move = lambda a: rng.standard_normal(a.shape) if next(numbers) == k else np.zeros(a.shape, a.dtype)
        if np.issubdtype(oracle.leaves(point)[k].dtype, np.floating):
            yield oracle.tree_map(move, point)


@pytest.mark.parametrize(
    ("row", "runner", "lengths", "reverse"),
    fast_if(lambda case: is_fast(*case), CASES),
    ids=[f"{row.name}-{runner}-{lengths}-{'reverse' if reverse else 'forward'}" for row, runner, lengths, reverse in CASES],
)
def test_runner_equals_numpy(row, runner, lengths, reverse, expected, x64):
    equals_numpy(row, runner, lengths, reverse, expected)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in KEPT_OTHERWISE], ids=lambda row: row.name)
@pytest.mark.parametrize(
    ("runner", "lengths", "reverse"),
    fast_if(lambda case: case[1] == "mixed", [("save", "none", False), ("save", "mixed", True), ("recompute", "none", True)]),
)
def test_what_a_gpu_keeps_does_as_well(row, runner, lengths, reverse, expected, on_a_gpu, x64):
    equals_numpy(row, runner, lengths, reverse, expected)


TILED = [row for row in ROWS if row.name in ("lstm_full", "gru", "gru_reset_before", "stack")]


@pytest.mark.parametrize("row", TILED, ids=lambda row: row.name)
@pytest.mark.parametrize(("lengths", "reverse"), fast_if(lambda case: case[1] is False, [("none", True), ("mixed", False)]))
def test_tiles_of_a_batch_do_as_well(row, lengths, reverse, expected, as_if_large, x64):
    equals_numpy(row, "save", lengths, reverse, expected)


@pytest.mark.parametrize("row", TILED[::3], ids=lambda row: row.name)
def test_tiles_of_a_batch_start_again_as_well(row, as_if_large, x64):
    resets_equal_numpy(row, "save", lengths_of(row))


def equals_numpy(row, runner, lengths, reverse, expected):
    (outputs, state), derivatives = expected(row, lengths, reverse)
    weights = loss_weights(row, time=time_of(row))

    def run(params, inputs, initial_state):
        options = {"sequence_length": jnp.asarray(lengths_of(row))} if lengths == "mixed" else {}
        result = RUNNERS[runner](row.cell, params, inputs, initial_state=initial_state, reverse=reverse, **options)
        return loss(*result, weights), result

    args = problem(row, time=time_of(row))
    wrt = (0, 2) if row.ids else (0, 1, 2)
    (_, got), grads = jax.jit(jax.value_and_grad(run, wrt, has_aux=True))(*args)
    np.testing.assert_allclose(got[0], outputs, rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(got[1]), oracle.leaves(state), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)

    assert len(derivatives) == len(jax.tree.leaves(grads))
    for direction, want in derivatives:
        moves = oracle.leaves(tuple(direction[i] for i in wrt))
        have = sum(np.vdot(g, d) for g, d in zip(map(np.asarray, jax.tree.leaves(grads)), moves, strict=True))
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_stepping_by_hand_equals_numpy(row, x64):
    params, inputs, state = problem(row)
    outputs, last = oracle.rnn(row.step, params, inputs, plain(state))
    step = jax.jit(row.cell)
    for t in range(T):
        output, state = step(params, inputs[:, t], state)
        np.testing.assert_allclose(output, outputs[:, t], rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(state), oracle.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("row", fast_if(lambda row: row.name not in PARTS, ROWS), ids=lambda row: row.name)
def test_resets_equal_numpy(row, x64):
    """An episode starts from the state of resets, which the gradient sees each time."""
    resets_equal_numpy(row, "offload" if row.name in WHOLE else "save", lengths_of(row))


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in ("basic", "lstm", "stack")], ids=lambda row: row.name)
def test_resets_alone_where_a_gpu_keeps_states(row, on_a_gpu, x64):
    """A state is then not what the step before put out."""
    resets_equal_numpy(row, "save", None)


MASK = np.random.default_rng(7).random((B, T)) < 0.6
MASK[1] = False  # a row without a step
TWO_WAYS = [("save", "none", False), ("recompute", "mixed", True)]
MASKED = [
    (row, *way)
    for row in ROWS
    for way in itertools.product(RUNNERS, ("none", "mixed"), (False, True))
    if row.name in WHOLE or way in TWO_WAYS
]


@pytest.mark.parametrize(
    ("row", "runner", "lengths", "reverse"),
    fast_if(lambda case: case[0].name in ("lstm_full", "gru", "stack") and case[1:] in TWO_WAYS, MASKED),
    ids=[f"{row.name}-{runner}-{lengths}-{'reverse' if reverse else 'forward'}" for row, runner, lengths, reverse in MASKED],
)
def test_masks_and_resets_equal_numpy(row, runner, lengths, reverse, x64):
    lengths = None if lengths == "none" else lengths_of(row)
    resets_equal_numpy(row, runner, lengths, mask=MASK[:, : time_of(row)], reverse=reverse)


@pytest.mark.parametrize("row", fast_if(lambda row: row.name == "lstm_full", TILED), ids=lambda row: row.name)
def test_tiles_of_a_batch_have_holes_as_well(row, as_if_large, x64):
    resets_equal_numpy(row, "save", None, mask=MASK[:, : time_of(row)])


def resets_equal_numpy(row, runner, lengths, mask=None, reverse=False):
    time = time_of(row)
    resets = np.random.default_rng(3).random((B, time)) < 0.4
    params, inputs, state = problem(row, time=time)
    again = jax.tree.map(lambda s: np.random.default_rng(6).standard_normal(s.shape), state)
    weights = loss_weights(row, time=time)
    given = {"reverse": reverse, **({} if mask is None else {"mask": mask})}

    def scalar(states):
        state, again = states
        return loss(*oracle.rnn(row.step, params, inputs, state, lengths, resets, reset_state=again, **given), weights)

    states = state, again
    direction = jax.tree.map(lambda s: np.random.default_rng(4).standard_normal(s.shape), states)
    both = tuple(map(plain, states)), tuple(map(plain, direction))
    want = oracle.directional(scalar, *both)
    if mask is not None and not row.ids:
        inputs = np.where(mask[(...,) + (None,) * (inputs.ndim - 2)], inputs, np.nan)

    def run(states):
        state, again = states
        options = {"sequence_length": None if lengths is None else jnp.asarray(lengths), "resets": jnp.asarray(resets)}
        result = RUNNERS[runner](row.cell, params, inputs, initial_state=state, reset_state=again, **options, **given)
        return loss(*result, weights)

    value, grad = jax.jit(jax.value_and_grad(run))(states)
    np.testing.assert_allclose(value, scalar(both[0]), rtol=1e-9)
    have = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grad), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in ("lstm", "stack")], ids=lambda row: row.name)
def test_resets_go_back_to_the_cells_own_state(row, x64):
    """Not to the state that is carried from the piece before."""
    params, inputs, state = problem(row)
    resets = np.random.default_rng(3).random((B, T)) < 0.4
    want, last = oracle.rnn(row.step, params, inputs, plain(state), resets=resets)
    for run in (static, dynamic("save"), dynamic("recompute")):
        outputs, end = run(row.cell, params, inputs, initial_state=state, resets=resets)
        np.testing.assert_allclose(outputs, want, rtol=1e-10, atol=1e-10)
        for leaf, of_oracle in zip(jax.tree.leaves(end), oracle.leaves(last), strict=True):
            np.testing.assert_allclose(leaf, of_oracle, rtol=1e-10, atol=1e-10)
