"""The largest Lyapunov exponent, beside spectra that are known and numpy's own Jacobians, by finite differences and QR."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.analysis import lyapunov
from tests import oracle
from tests.rows import ROWS, fast_if, plain, problem

pytestmark = pytest.mark.usefixtures("x64")

ROW = {row.name: row for row in ROWS}


def linear(params, inputs, state):
    """s' = s W, whatever the inputs are."""
    new = state @ params
    return inputs, new


def benettin(step, params, inputs, state, count, resets=None, mask=None, eps=1e-6):
    """The mean of log R[0, 0] of a QR of each step's Jacobian times Q, of one row, over the last `count` steps that are run."""
    flat = lambda state: np.concatenate([np.ravel(leaf) for leaf in oracle.leaves(state)])

    def unflat(vector, like):
        if not isinstance(like, tuple):
            return vector.reshape(np.shape(like))
        sizes = np.cumsum([flat(part).size for part in like])[:-1]
        return tuple(unflat(part, like) for part, like in zip(np.split(vector, sizes), like, strict=True))

    start, growth = state, []
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((flat(state).size,) * 2))[0]
    for t, x in enumerate(inputs):
        if resets is not None and resets[t]:
            state = oracle.tree_map(np.zeros_like, start)
        if mask is not None and not mask[t]:
            continue
        new = lambda vector, x=x, like=state, t=t: flat(step(params, x, unflat(vector, like), t, 0)[1])
        at, moves = flat(state), eps * np.eye(flat(state).size)
        jacobian = np.stack([(new(at + move) - new(at - move)) / (2 * eps) for move in moves], 1)
        q, r = np.linalg.qr(jacobian @ q)
        growth.append(np.log(abs(r[0, 0])))
        state = unflat(new(at), state)
    return np.mean(growth[-count:])


def test_a_linear_map_grows_by_its_largest_eigenvalue():
    rng = np.random.default_rng(0)
    basis, values = rng.standard_normal((5, 5)), np.array([1.3, -0.9, 0.5, 0.2, -0.1])
    w = basis @ np.diag(values) @ np.linalg.inv(basis)
    run = lambda w: lyapunov(linear, w, np.zeros((2, 400, 1)), initial_state=np.zeros((2, 5)), discard=200)
    np.testing.assert_allclose(run(w), np.log(1.3), atol=1e-10)
    np.testing.assert_allclose(run(w / 2.6), np.log(0.5), atol=1e-10)


def test_a_rotation_keeps_lengths_and_zero_forgets_at_once():
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    run = lambda w: lyapunov(linear, w, np.zeros((1, 50, 1)), initial_state=np.ones((1, 2)))
    np.testing.assert_allclose(run(turn), 0, atol=1e-12)
    np.testing.assert_array_equal(run(0 * turn), -np.inf)


@pytest.mark.parametrize("name", fast_if(lambda name: name == "lstm_projected", ["basic", "lstm_projected", "gru", "stack"]))
@pytest.mark.parametrize(("scale", "time"), [(1, 360), (3, 160)])  # a chaotic state can be told in advance for so long only
def test_beside_qr_of_jacobians_by_finite_differences(name, scale, time):
    row, discard = ROW[name], 60
    params, inputs, state = problem(row, time=time, batch=2)
    large = lambda path, leaf: leaf * scale if "recurrent_kernel" in jax.tree_util.keystr(path) else leaf
    params = jax.tree_util.tree_map_with_path(large, params)
    got = lyapunov(row.cell, params, inputs, initial_state=state, discard=discard)
    for b in range(2):
        start = oracle.tree_map(lambda leaf, b=b: leaf[b], plain(state))
        want = benettin(row.step, params, inputs[b], start, time - discard)
        np.testing.assert_allclose(got[b], want, atol=2 / (time - discard))  # their directions begin and end apart


def test_lengths_masks_and_resets():
    row, time = ROW["gru"], 40
    params, inputs, _ = problem(row, time=time, batch=3)
    rng, lengths = np.random.default_rng(2), np.array([40, 25, 0])
    resets, mask = rng.random((3, time)) < 0.1, rng.random((3, time)) < 0.8
    inputs = np.where((mask & (np.arange(time) < lengths[:, None]))[..., None], inputs, np.nan)
    got = lyapunov(row.cell, params, inputs, sequence_length=lengths, mask=mask, resets=resets)
    assert np.isnan(got[2])
    for b in range(2):
        whole = lyapunov_by_hand(row, params, inputs[b], lengths[b], mask[b], resets[b], b)
        np.testing.assert_allclose(got[b], whole, rtol=1e-9)
    swapped = lyapunov(row.cell, params, jnp.swapaxes(inputs, 0, 1), time_major=True, sequence_length=lengths,
                       mask=mask.T, resets=resets.T)  # fmt: skip
    np.testing.assert_allclose(swapped[:2], got[:2], rtol=1e-12)


def lyapunov_by_hand(row, params, inputs, length, mask, resets, b):
    """The mean over the steps that are run, each episode by itself: what the exponents of its own run say."""
    bounds, total, count = [0, *(t for t in range(1, length) if resets[t]), length], 0, 0
    for first, last in itertools.pairwise(bounds):
        steps = [t for t in range(first, last) if mask[t]]
        if steps:
            total += len(steps) * lyapunov(row.cell, params, np.stack([inputs[steps]] * 3))[b]  # whose direction is that row's
            count += len(steps)
    return total / count


def test_the_first_steps_can_be_left_out():
    row = ROW["basic"]
    params, inputs, _ = problem(row, time=30, batch=1)
    run = lambda time, discard: lyapunov(row.cell, params, inputs[:, :time], discard=discard)[0]
    np.testing.assert_allclose(30 * run(30, 0), 10 * run(10, 0) + 20 * run(30, 10), rtol=1e-10)
    assert np.isnan(run(10, 10))


def test_jit_vmap_and_dropout():
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(9), state_keep_prob=0.8)
    params = cell.init(jax.random.key(0), 3, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (2, 20, 3))
    run = lambda key: lyapunov(cell, params, inputs, key=key)
    keys = jax.random.split(jax.random.key(2), 2)
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(keys), [run(key) for key in keys], rtol=1e-10)
    assert (run(keys[0]) != run(keys[1])).all()


def test_a_part_of_the_state_may_be_a_counter():
    def counting(params, inputs, state):
        steps, h = state
        return h, (steps + 1, h @ params)

    state = np.zeros(2, np.int32), np.zeros((2, 3))
    got = lyapunov(counting, 0.5 * np.eye(3), np.zeros((2, 9, 1)), initial_state=state)
    np.testing.assert_allclose(got, np.log(0.5))


@pytest.mark.parametrize(
    ("discard", "error", "text"),
    [(-1, ValueError, "discard: expected 0 steps or more, got -1"), (1.0, TypeError, "discard: expected a number of steps")],
)
def test_what_discard_is(discard, error, text):
    with pytest.raises(error, match=text):
        lyapunov(linear, np.eye(2), np.zeros((1, 5, 1)), initial_state=np.zeros((1, 2)), discard=discard)
