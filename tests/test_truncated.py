"""Truncated back-propagation: the values of the whole stream, the gradient of windows that start from frozen states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests import oracle
from tests.rows import ROWS, B, fast_if, plain, problem

NAMED = {row.name: row for row in ROWS}
TIME = 12
RESETS = np.random.default_rng(3).random((B, TIME)) < 0.2
CASES = [
    *[("lstm_full", k1, k2, RESETS) for k1, k2 in [(3, 3), (3, 5), (2, 6), (4, 9), (12, 12)]],
    ("lstm_full", 3, 5, None),
    ("gru", 4, 7, RESETS),
]


def numpy_loss(row, point, frozen, k1, k2, resets, weights):
    """The outputs of every window, each run in numpy from the state k2 steps before its end, as `frozen` params give it."""
    params, inputs, initial = point
    total = 0.0
    for end in range(k1, TIME + 1, k1):
        begin = max(end - k2, 0)
        start = initial
        if begin:
            _, start = oracle.rnn(
                row.step, frozen[0], frozen[1][:, :begin], frozen[2], resets=head(resets, 0, begin), reset_state=frozen[2]
            )
        window = head(resets, begin, end)
        outputs, _ = oracle.rnn(row.step, params, inputs[:, begin:end], start, resets=window, reset_state=initial)
        total += (outputs[:, -k1:] * weights[:, end - k1 : end]).sum()
    return total


def head(resets, begin, end):
    return None if resets is None else resets[:, begin:end]


@pytest.mark.parametrize(("name", "k1", "k2", "resets"), fast_if(lambda case: case in CASES[::2], CASES))
def test_the_gradient_is_that_of_frozen_windows(name, k1, k2, resets, x64):
    row = NAMED[name]
    point = problem(row, time=TIME)
    point = (*point[:2], plain(point[2]))
    weights = np.random.default_rng(5).standard_normal((B, TIME, row.cell.output_size))
    like = lambda state: jax.tree.unflatten(jax.tree.structure(row.cell.initial_state(B)), oracle.leaves(state))

    @jax.jit
    def run(params, inputs, state):
        def loss(params, inputs, state):
            start, options = like(state), {"resets": resets, "chunk_size": 2}
            options |= {} if resets is None else {"reset_state": start}
            outputs, stream = jaxrnn.truncated_rnn(row.cell, params, inputs, k1=k1, k2=k2, initial_state=start, **options)
            return (outputs * weights).sum(), (outputs, stream)

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, inputs, state)

    (value, (outputs, stream)), grads = run(*point)
    whole, last = oracle.rnn(row.step, *point, resets=resets, reset_state=point[2])
    np.testing.assert_allclose(outputs, whole, rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(stream.state), oracle.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)
    assert int(stream.time) == TIME

    f = lambda moved: numpy_loss(row, moved, point, k1, k2, resets, weights)
    np.testing.assert_allclose(value, f(point), rtol=1e-9)
    for part in range(3):  # of params, inputs, state
        direction = [oracle.tree_map(np.zeros_like, p) for p in point]
        direction[part] = oracle.tree_map(lambda a: np.random.default_rng(6).standard_normal(a.shape), point[part])
        have = sum(np.vdot(g, d) for g, d in zip(oracle.leaves(grads[part]), oracle.leaves(direction[part]), strict=True))
        np.testing.assert_allclose(have, oracle.directional(f, point, tuple(direction)), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("k2", fast_if(lambda k2: k2 == 4, [4, 10]))
def test_pieces_of_a_stream_add_up(k2, x64):
    """Three calls give the values and the gradient with respect to params of one, at the same params."""
    row = NAMED["gru"]
    params, inputs, state = problem(row, time=24)
    resets = np.random.default_rng(4).random((B, 24)) < 0.1
    weights = np.random.default_rng(5).standard_normal((B, 24, row.cell.output_size))

    @jax.jit
    def run(params, inputs, resets, weights, stream):
        def loss(params):
            options = {"k1": 4, "k2": k2, "stream": stream, "initial_state": state, "resets": resets}
            outputs, new = jaxrnn.truncated_rnn(row.cell, params, inputs, **options)
            return (outputs * weights).sum(), (outputs, new)

        return jax.grad(loss, has_aux=True)(params)

    want, (outputs, end) = run(params, inputs, resets, weights, None)
    stream, total, parts = None, jax.tree.map(jnp.zeros_like, want), []
    for t in range(0, 24, 8):
        piece = slice(t, t + 8)
        grad, (part, stream) = run(params, inputs[:, piece], resets[:, piece], weights[:, piece], stream)
        total = jax.tree.map(jnp.add, total, grad)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, 1), outputs, rtol=1e-10, atol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), total, want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), stream, end)


@pytest.mark.parametrize("memory", fast_if(lambda memory: memory == "recompute", ["recompute", "recursive", "offload"]))
def test_no_mode_changes_it(memory, x64):
    row = NAMED["lstm_full"]
    params, inputs, state = problem(row, time=TIME)

    def grad(**options):
        run = lambda p, x: jaxrnn.truncated_rnn(row.cell, p, x, k1=4, k2=6, initial_state=state, **options)
        return jax.jit(jax.grad(lambda p, x: (run(p, x)[0] ** 2).sum(), (0, 1)))(params, inputs)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), grad(memory=memory, chunk_size=3), grad())


def test_one_window_is_dynamic_rnn(x64):
    row = NAMED["lstm"]
    point = problem(row, time=TIME)
    grad = lambda run: jax.grad(lambda *args: (run(*args)[0] ** 3).sum(), (0, 1, 2))(*point)
    truncated = grad(lambda p, x, s: jaxrnn.truncated_rnn(row.cell, p, x, k1=TIME, initial_state=s))
    whole = grad(lambda p, x, s: jaxrnn.dynamic_rnn(row.cell, p, x, initial_state=s))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), truncated, whole)


def test_masks_belong_to_the_steps_of_the_stream():
    """Pieces, and the k2 - k1 steps that are run again, see the masks of one run over the whole stream."""
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(5), 0.7, 0.7, 0.7)
    params, key = cell.init(jax.random.key(0), 3), jax.random.key(1)
    inputs = jax.random.normal(jax.random.key(2), (24, B, 3))
    want, _ = jaxrnn.dynamic_rnn(cell, params, inputs, time_major=True, key=key)
    stream, parts = None, []
    for piece in jnp.split(inputs, 4):
        outputs, stream = jaxrnn.truncated_rnn(cell, params, piece, k1=3, k2=8, stream=stream, time_major=True, key=key)
        parts.append(outputs)
    np.testing.assert_allclose(jnp.concatenate(parts), want, rtol=1e-6, atol=1e-6)


class Counted(jaxrnn.BasicRNNCell):
    calls = 0

    def gates(self, params, z, r, state):
        Counted.calls += 1
        return super().gates(params, z, r, state)


def test_one_compilation_serves_the_whole_stream():
    params, inputs = Counted(5).init(jax.random.key(0), 3), jnp.ones((B, 6, 3))
    run = lambda stream: jaxrnn.truncated_rnn(Counted(5), params, inputs, k1=3, k2=4, stream=stream)[1]
    stream = run(run(None))
    traced = Counted.calls
    for _ in range(3):
        stream = run(stream)
    assert Counted.calls == traced > 0
    assert int(stream.time) == 30


@pytest.mark.parametrize("k2", [2, 5])
def test_pieces_with_lengths_and_masks(k2, x64):
    """The values are those of the steps that are run, one after the other; NaN in the others reaches no gradient."""
    row = NAMED["gru"]
    params, inputs, state = problem(row, time=8)
    rng = np.random.default_rng(9)
    resets, mask = rng.random((B, 8)) < 0.3, rng.random((B, 8)) < 0.6
    lengths = rng.integers(0, 5, (2, B))
    again = rng.standard_normal(state.shape)
    within = np.concatenate([np.arange(4) < lengths[0][:, None], np.arange(4) < lengths[1][:, None]], 1)
    inputs = np.where((mask & within)[..., None], inputs, np.nan)

    def run(params, again):
        stream, outputs = None, []
        for i, piece in enumerate(np.split(inputs, 2, 1)):
            at = slice(4 * i, 4 * i + 4)
            options = {"sequence_length": lengths[i], "mask": mask[:, at], "resets": resets[:, at], "reset_state": again}
            of_piece, stream = jaxrnn.truncated_rnn(
                row.cell, params, piece, k1=2, k2=k2, initial_state=state, stream=stream, chunk_size=2, **options
            )
            outputs.append(of_piece)
        return (jnp.concatenate(outputs, 1) ** 2).sum(), (jnp.concatenate(outputs, 1), stream)

    (_, (outputs, stream)), grads = jax.value_and_grad(run, (0, 1), has_aux=True)(params, again)
    options = {"resets": resets & within, "reset_state": again, "mask": mask & within}
    want, last = oracle.rnn(row.step, params, np.nan_to_num(inputs), state, **options)
    np.testing.assert_allclose(outputs, want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(stream.state, last, rtol=1e-10, atol=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads)) and np.any(grads[1])


def test_a_window_without_holes_has_the_gradient_of_one_with_a_full_mask(x64):
    row = NAMED["gru"]
    params, inputs, state = problem(row, time=TIME)

    def value(params, mask):
        outputs, _ = jaxrnn.truncated_rnn(row.cell, params, inputs, k1=3, k2=5, initial_state=state, mask=mask)
        return (outputs**2).sum()

    got, want = jax.grad(value)(params, np.ones((B, TIME), bool)), jax.grad(value)(params, None)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12), got, want)


@pytest.mark.parametrize("name", ["gru", "lstm_full"])
def test_one_window_has_the_gradient_of_the_whole_run(name, x64):
    """With holes, lengths and resets, against `dynamic_rnn`, which test_contract.py compares with numpy."""
    row = NAMED[name]
    params, inputs, state = problem(row, time=6)
    rng = np.random.default_rng(9)
    options = {"resets": rng.random((B, 6)) < 0.3, "mask": rng.random((B, 6)) < 0.6, "sequence_length": np.array([6, 0, 3, 5])}
    again = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), state)
    weights = rng.standard_normal((B, 6, row.cell.output_size))

    def gradient(run):
        loss = lambda *args: (run(*args)[0] * weights).sum()
        return jax.jit(jax.grad(loss, (0, 1, 2, 3)))(params, inputs, state, again)

    keywords = lambda state, again: {"initial_state": state, "reset_state": again, "chunk_size": 2, **options}
    got = gradient(lambda p, x, *states: jaxrnn.truncated_rnn(row.cell, p, x, k1=6, **keywords(*states)))
    want = gradient(lambda p, x, *states: jaxrnn.dynamic_rnn(row.cell, p, x, **keywords(*states)))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12), got, want)
