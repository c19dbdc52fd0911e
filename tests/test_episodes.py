"""Reinforcement learning: resets from dones, acting and learning, burn-in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxrnn

B, T, D, H = 3, 9, 2, 4
DONES = np.random.default_rng(0).random((B, T)) < 0.3


@pytest.mark.parametrize("time_major", [False, True])
def test_a_step_starts_again_after_a_done(time_major):
    last = np.array([True, False, True])
    want = [[last[b] if t == 0 else DONES[b, t - 1] for t in range(T)] for b in range(B)]
    turn = np.transpose if time_major else np.asarray
    got = jaxrnn.resets_from_dones(turn(DONES), last, time_major=time_major)
    np.testing.assert_array_equal(turn(got), want)
    of_new = turn(jaxrnn.resets_from_dones(jnp.asarray(turn(DONES)), time_major=time_major))
    assert of_new[:, 0].all() and (of_new[:, 1:] == np.asarray(want)[:, 1:]).all()


@pytest.mark.parametrize("cell", [jaxrnn.GRUCell(H), jaxrnn.LSTMCell(H)], ids=repr)
def test_acting_equals_learning(cell, x64):
    """A rollout in a scan of steps, the state carried over two rollouts; then the same by `dynamic_rnn`."""
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64)
    own = cell.initial_state(B, jnp.float64)

    def act(carry, item):
        state, done = carry
        x, ends = item
        state = jax.tree.map(lambda s, o: jnp.where(done[:, None], o, s), state, own)
        output, state = cell(params, x, state)
        return (state, ends), output

    state, done, stored = own, jnp.ones(B, bool), []
    for at in (slice(0, 5), slice(5, T)):
        stored.append((state, done))
        items = inputs[:, at].swapaxes(0, 1), jnp.asarray(DONES[:, at].T)
        (state, done), outputs = lax.scan(act, (state, done), items)
        carry, last_done = stored[-1]
        resets = jaxrnn.resets_from_dones(DONES[:, at], last_done)
        learned, end = jaxrnn.dynamic_rnn(cell, params, inputs[:, at], initial_state=carry, resets=resets)
        np.testing.assert_allclose(learned.swapaxes(0, 1), outputs, rtol=1e-12, atol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), end, state)


def test_burn_in_warms_the_state_without_a_gradient(x64):
    cell = jaxrnn.GRUCell(H)
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64)

    def loss(params, frozen):
        _, warm = jaxrnn.dynamic_rnn(cell, frozen, inputs[:, :4])
        outputs, _ = jaxrnn.dynamic_rnn(cell, params, inputs[:, 4:], initial_state=warm)
        return (outputs**2).sum()

    burned_in = lambda params: loss(params, lax.stop_gradient(params))
    got, want = jax.grad(burned_in)(params), jax.grad(loss)(params, params)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-12), got, want)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: jaxrnn.resets_from_dones(np.zeros((B, T))), TypeError, r"dones: expected booleans \[B, T\], got float32"),
        (lambda: jaxrnn.resets_from_dones(np.zeros(T, bool)), ValueError, r"dones: expected booleans \[B, T\], got bool\[9\]"),
        (
            lambda: jaxrnn.resets_from_dones(DONES, np.zeros(2, bool)),
            ValueError,
            "last_done: expected one for each of the 3 rows",
        ),
        (lambda: jaxrnn.resets_from_dones(DONES, time_major=1), TypeError, "time_major"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
