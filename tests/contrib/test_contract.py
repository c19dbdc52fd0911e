"""Every cell of jaxrnn.contrib against a float64 numpy loop: values, and gradients by finite differences.

What tests/test_contract.py walks for the cells of the core, with the runs that differ from cell to cell.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests import oracle
from tests.contrib.families import ROWS
from tests.rows import LENGTHS, B, T, fast_if, loss, loss_weights, plain, problem

pytestmark = pytest.mark.usefixtures("one_device")

RESETS = np.random.default_rng(3).random((B, T)) < 0.3
MASK = np.random.default_rng(7).random((B, T)) < 0.7
WITH = {
    "nothing": {},
    "lengths": {"sequence_length": LENGTHS},
    "all": {"sequence_length": LENGTHS, "resets": RESETS, "mask": MASK},
}


def static(cell, params, inputs, **options):
    steps = [jax.tree.map(lambda leaf: leaf[:, t], inputs) for t in range(T)]
    outputs, state = jaxrnn.static_rnn(cell, params, steps, **options)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *outputs), state


def dynamic(memory):
    return lambda *args, **options: jaxrnn.dynamic_rnn(*args, memory=memory, chunk_size=3, **options)


RUNNERS = {"static": static, "save": dynamic("save"), "recompute": dynamic("recompute")}
# Each runner with lengths, resets and holes, or backwards; the rest is the engine's, whatever the cell.
WAYS = [("save", "all", False), ("recompute", "lengths", True), ("static", "all", False)]
CASES = list(itertools.product(ROWS, WAYS))
FAST = ("nas", "conv_2d_lstm", "phased_lstm")  # test_goldens.py has all classes


@pytest.mark.parametrize(
    ("row", "way"),
    fast_if(lambda case: case[0].name in FAST and case[1] == WAYS[0], CASES),
    ids=[f"{row.name}-{runner}-{given}-{'reverse' if back else 'forward'}" for row, (runner, given, back) in CASES],
)
def test_runner_equals_numpy(row, way, x64):
    runner, given, reverse = way
    point, weights = problem(row), loss_weights(row)
    options = WITH[given]
    flat = oracle.tree_map(np.asarray, (point[0], point[1], plain(point[2])))

    def by_hand(point):
        kwargs = {"lengths": options.get("sequence_length"), "resets": options.get("resets"), "mask": options.get("mask")}
        params, inputs, state = point
        return oracle.rnn(row.step, params, inputs, state, reverse=reverse, reset_state=again(state), **kwargs)

    def run(params, inputs, state):
        given = {name: jnp.asarray(value) for name, value in options.items()}
        if "resets" in given:
            given["reset_state"] = again(state)
        result = RUNNERS[runner](row.cell, params, inputs, initial_state=state, reverse=reverse, **given)
        return loss(*result, weights), result

    if "mask" in options:
        point = point[0], spoilt(point[1]), point[2]
    wrt = (0, 2) if row.ids else (0, 1, 2)
    (_, got), grads = jax.jit(jax.value_and_grad(run, wrt, has_aux=True, allow_int=True))(*point)
    outputs, state = by_hand(flat)
    np.testing.assert_allclose(got[0], outputs, rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(got[1]), oracle.leaves(state), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)

    grads = dict(zip(wrt, grads, strict=True))
    for k in wrt:
        for i, grad in enumerate(jax.tree.leaves(grads[k])):
            if not jnp.issubdtype(grad.dtype, jnp.floating):
                continue
            direction = along(flat, k, i)
            want = oracle.directional(lambda p: loss(*by_hand(p), weights), flat, direction)
            have = np.vdot(grad, oracle.leaves(direction[k])[i])
            np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8, err_msg=f"argument {k}, leaf {i}")


def spoilt(inputs):
    """NaN at the steps that no row runs."""
    run = MASK & (np.arange(T) < LENGTHS[:, None])
    nan = lambda leaf: np.where(run[(...,) + (None,) * (leaf.ndim - 2)], leaf, np.nan)
    return jax.tree.map(lambda leaf: nan(leaf) if np.issubdtype(leaf.dtype, np.floating) else leaf, inputs)


def again(state):
    """What a reset goes back to."""
    ours = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    sine = lambda leaf: (jnp if ours else np).sin(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else 1 - leaf
    return (jax.tree.map if ours else oracle.tree_map)(sine, state)


def along(point, k, i):
    """A random direction that moves leaf i of argument k alone."""
    rng, numbers = np.random.default_rng(2), itertools.count()
    move = lambda leaf: rng.standard_normal(leaf.shape) if next(numbers) == i else np.zeros_like(leaf)
    still = lambda tree: oracle.tree_map(np.zeros_like, tree)
    return tuple(oracle.tree_map(move, part) if at == k else still(part) for at, part in enumerate(point))


@pytest.mark.parametrize("row", fast_if(lambda row: row.name in FAST, ROWS), ids=lambda row: row.name)
def test_stepping_by_hand_equals_numpy(row, x64):
    params, inputs, state = problem(row)
    outputs, last = oracle.rnn(row.step, params, inputs, plain(state))
    step = jax.jit(row.cell)
    for t in range(T):
        output, state = step(params, jax.tree.map(lambda leaf: leaf[:, t], inputs), state)
        np.testing.assert_allclose(output, outputs[:, t], rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(state), oracle.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("row", fast_if(lambda row: row.name == "nas", ROWS), ids=lambda row: row.name)
def test_bfloat16(row):
    """All stays in it, and is what float32 gives but for its rounding."""
    params = row.cell.init(jax.random.key(0), row.input_size)
    inputs = jax.tree.map(jnp.asarray, row.inputs(np.random.default_rng(0)))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, inputs)
    half = lambda tree: jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )
    outputs, state = jaxrnn.dynamic_rnn(row.cell, half(params), half(single), sequence_length=jnp.asarray(LENGTHS))
    kinds = {leaf.dtype for leaf in jax.tree.leaves((outputs, state)) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert kinds == {jnp.dtype(jnp.bfloat16)}
    want, _ = jaxrnn.dynamic_rnn(row.cell, params, single, sequence_length=jnp.asarray(LENGTHS))
    np.testing.assert_allclose(outputs.astype(jnp.float32), want, rtol=0.1, atol=0.1)
