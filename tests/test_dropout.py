"""Dropout: TF1's order and places, and the same masks in every runner, in every memory mode and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import DropoutWrapper
from tests import oracle
from tests.rows import LENGTHS, B, D, T, fast_if, plain

KEY = jax.random.key(7)
STACK = jaxrnn.MultiRNNCell(
    [
        DropoutWrapper(jaxrnn.LSTMCell(5), 0.6, 0.7, 0.8, variational_recurrent=True),
        jaxrnn.GRUCell(4),
    ]
)
CELLS = [
    DropoutWrapper(jaxrnn.LSTMCell(5), 0.6, 0.7, 0.8),
    DropoutWrapper(jaxrnn.LSTMCell(5), 0.6, 0.7, 0.8, variational_recurrent=True),
    DropoutWrapper(STACK, output_keep_prob=0.9, state_keep_prob=0.9),
]


def problem(cell):
    params = cell.init(jax.random.key(0), D)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D))
    return params, inputs, jax.tree.map(lambda s: s + 0.3, cell.initial_state(B))


def by_hand(cell, params, inputs, state, key, reverse=False):
    outputs, step = [None] * T, jax.jit(cell)
    for t in range(T)[:: -1 if reverse else 1]:
        outputs[t], state = step(params, inputs[:, t], state, key=jaxrnn.step_key(key, t))
    return jnp.stack(outputs, 1), state


def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), got, want)


@pytest.mark.parametrize(
    ("cell", "reverse", "make_key"),
    fast_if(
        lambda case: case[0] is CELLS[2],
        zip(CELLS, (False, True, True), (jax.random.key, jax.random.PRNGKey, jax.random.key), strict=True),
    ),
    ids=["per step", "variational", "nested"],
)
def test_the_same_masks_everywhere(cell, reverse, make_key):
    key = make_key(7)
    params, inputs, state = problem(cell)
    want = by_hand(cell, params, inputs, state, key, reverse)
    options = {"initial_state": state, "key": key, "reverse": reverse}
    steps, last = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(T)], **options)
    close((jnp.stack(steps, 1), last), want)
    for memory in ("save", "offload"):
        close(jaxrnn.dynamic_rnn(cell, params, inputs, memory=memory, chunk_size=3, **options), want)
    assert np.any(want[0] != jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, reverse=reverse)[0])


def test_the_backward_pass_sees_the_same_masks():
    cell = CELLS[2]
    params, inputs, state = problem(cell)
    grad = lambda run: jax.jit(jax.grad(lambda p: sum((leaf**2).sum() for leaf in jax.tree.leaves(run(p)))))(params)
    want = grad(lambda p: by_hand(cell, p, inputs, state, KEY))
    for memory in ("save", "offload"):  # tests/test_memory.py compares the other modes with "save"
        options = {"initial_state": state, "key": KEY, "memory": memory, "chunk_size": 3}
        close(grad(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, **options)), want)


def test_plain_keys_when_stepping_by_hand():
    """fold_in(key, t) serves where no mask is variational, the run's key where all are."""
    for cell, step_key in ((CELLS[0], jax.random.fold_in), (CELLS[1], lambda key, t: key)):
        params, inputs, state = problem(cell)
        want, _ = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, key=KEY)
        for t in range(T):
            output, state = cell(params, inputs[:, t], state, key=step_key(KEY, t))
            close(output, want[:, t])


def test_order_places_and_scale_equal_numpy(x64):
    """The masks are read off the wrapper; where and in which order they act is numpy's."""
    keep = {"input_keep_prob": 0.6, "output_keep_prob": 0.7, "state_keep_prob": 0.8}
    cell = DropoutWrapper(jaxrnn.LSTMCell(5), **keep)
    params, inputs, state = jax.tree.map(lambda a: np.asarray(a, np.float64), problem(cell))
    masks = []
    for t in range(T):
        key = jaxrnn.step_key(KEY, t)
        h = cell.drop(state, key).h
        assert cell.drop(state, key).c is None
        factors = cell.before({}, np.ones((B, D)), key), h, cell.after({}, None, np.ones((B, 5)), key)
        for factor, probability in zip(factors, (0.6, 0.8, 0.7), strict=True):
            assert set(np.round(np.unique(factor), 6)) <= {0, np.round(1 / probability, 6)}
        on_input, on_state, on_output = map(np.asarray, factors)
        masks.append((on_input, (None, on_state), on_output))
    step = oracle.dropout(oracle.lstm(5), masks)
    outputs, last = oracle.rnn(step, params, inputs, plain(state), LENGTHS)
    got, end = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, key=KEY, sequence_length=LENGTHS, chunk_size=3)
    np.testing.assert_allclose(got, outputs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(end.c, last[0], rtol=1e-9)
    np.testing.assert_allclose(end.h, last[1], rtol=1e-9)


def test_what_shares_a_mask():
    ones = jnp.ones((64, 50, 8))
    masks = {}
    for variational in (False, True):
        cell = DropoutWrapper(jaxrnn.BasicRNNCell(2), input_keep_prob=0.5, variational_recurrent=variational)
        masks[variational] = np.stack([cell.before({}, ones[:, t], jaxrnn.step_key(KEY, t)) for t in range(50)], 1) > 0
    assert abs(masks[False].mean() - 0.5) < 0.02
    assert len({mask.tobytes() for mask in masks[False].reshape(-1, 8 * 50)}) == 64
    assert len({mask.tobytes() for mask in np.broadcast_to(masks[True], (64, 50, 8)).reshape(-1, 8)}) == 1


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_the_ends_of_the_range(keep):
    cell = DropoutWrapper(jaxrnn.GRUCell(5), keep, keep, keep)
    params, inputs, state = problem(cell)
    run = lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, initial_state=state, key=KEY)
    outputs, _ = run(params)
    grads = jax.grad(lambda p: run(p)[0].sum())(params)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    want = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state)[0] if keep else np.zeros_like(outputs)
    np.testing.assert_allclose(outputs, want)


def test_a_visitor_of_ones_own():
    cell = DropoutWrapper(
        jaxrnn.LSTMCell(5),
        state_keep_prob=0.5,
        dropout_state_filter_visitor=lambda part: jax.tree.map(lambda _: True, part),
    )
    _, _, state = problem(cell)
    factors = cell.drop(state, jaxrnn.step_key(KEY, 0))
    assert factors.c.shape == factors.h.shape == (B, 5)
