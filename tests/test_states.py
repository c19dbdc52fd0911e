"""Every step's state as an output: the right numbers, in every mode, with gradients through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests import oracle
from tests.rows import LENGTHS, ROWS, T, fast_if, plain, problem

CHOSEN = [row for row in ROWS if row.name in ("basic", "lstm_full", "gru", "stack")]
MODES = ["save", "recompute", "recursive", "static"]
CASES = [(row, mode) for row in CHOSEN for mode in MODES]


def run(cell, mode, params, inputs, **options):
    if mode == "static":
        outputs, last = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(T)], **options)
        return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), last
    return jaxrnn.dynamic_rnn(cell, params, inputs, memory=mode, chunk_size=2, **options)


@pytest.mark.parametrize(
    ("row", "mode"),
    fast_if(lambda case: case[1] == "save" or case[0].name == "lstm_full", CASES),
    ids=[f"{row.name}-{mode}" for row, mode in CASES],
)
def test_states_of_all_steps(row, mode, x64, one_device):
    params, inputs, start = problem(row)
    lengths = {"sequence_length": jnp.asarray(LENGTHS)}
    cell = jaxrnn.StateOutputWrapper(row.cell)
    (outputs, states), last = run(cell, mode, params, inputs, initial_state=start, **lengths)
    plain_outputs, plain_last = run(row.cell, mode, params, inputs, initial_state=start, **lengths)
    np.testing.assert_allclose(outputs, plain_outputs, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), last, plain_last)
    for t in range(T):
        _, want = oracle.rnn(row.step, params, inputs[:, : t + 1], plain(start), LENGTHS)
        runs = (t < LENGTHS)[:, None]
        for got, of_oracle in zip(jax.tree.leaves(states), oracle.leaves(want), strict=True):
            np.testing.assert_allclose(got[:, t], np.where(runs, of_oracle, 0), rtol=1e-10, atol=1e-12)

    weights = jax.tree.map(lambda leaf: np.random.default_rng(1).standard_normal(leaf.shape), states)

    def value(params, mode):
        (_, states), _ = run(cell, mode, params, inputs, initial_state=start, **lengths)
        return sum((leaf * w).sum() for leaf, w in zip(jax.tree.leaves(states), jax.tree.leaves(weights), strict=True))

    def of_oracle(params):
        total, by_hand = 0.0, jax.tree.leaves(weights)
        for t in range(T):
            _, state = oracle.rnn(row.step, params, inputs[:, : t + 1], plain(start), LENGTHS)
            runs = (t < LENGTHS)[:, None]
            total += sum((s * w[:, t] * runs).sum() for s, w in zip(oracle.leaves(state), by_hand, strict=True))
        return total

    grads = jax.jit(jax.grad(value), static_argnums=1)(params, mode)
    direction = oracle.tree_map(lambda a: np.random.default_rng(2).standard_normal(a.shape), params)
    have = sum(np.vdot(g, d) for g, d in zip(oracle.leaves(grads), oracle.leaves(direction), strict=True))
    np.testing.assert_allclose(have, oracle.directional(of_oracle, params, direction), rtol=1e-6)


def test_a_cell_in_four_functions_keeps_its_memory():
    """As much as without the states, but for these themselves and their cotangents."""
    inner = jaxrnn.LSTMCell(16)
    params, inputs = inner.init(jax.random.key(0), 4), jnp.zeros((2, 512, 4))
    temporary = lambda loss: jax.jit(jax.grad(loss)).lower(params, inputs).compile().memory_analysis().temp_size_in_bytes
    of_states = temporary(
        lambda p, x: jnp.sum(jnp.sin(jaxrnn.dynamic_rnn(jaxrnn.StateOutputWrapper(inner), p, x, memory="recompute")[0][1].c))
    )
    of_outputs = temporary(lambda p, x: jnp.sum(jnp.sin(jaxrnn.dynamic_rnn(inner, p, x, memory="recompute")[0])))
    assert of_states <= of_outputs + 2 * inputs.shape[0] * 512 * (3 * 16) * 4


def test_not_a_cell():
    with pytest.raises(TypeError, match="StateOutputWrapper"):
        jaxrnn.StateOutputWrapper(3)
    assert jaxrnn.StateOutputWrapper(jaxrnn.GRUCell(3)).output_size == (3, 3)
