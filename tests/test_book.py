"""The worked example of the book: its table, its padded batch, in both runners."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

BOOK = json.loads((pathlib.Path(__file__).parent / "goldens" / "book.json").read_text())
CELL = jaxrnn.BasicRNNCell(num_units=5)
PARAMS = {name: jnp.array(BOOK[name], jnp.float32) for name in ("kernel", "recurrent_kernel", "bias")}
X_BATCH = jnp.array(BOOK["X_batch"], jnp.float32)
OUTPUTS = np.array(BOOK["outputs"])


def static(**options):
    outputs, state = jaxrnn.static_rnn(CELL, PARAMS, [X_BATCH[:, 0], X_BATCH[:, 1]], **options)
    return jnp.stack(outputs, 1), state


def dynamic(**options):
    return jaxrnn.dynamic_rnn(CELL, PARAMS, X_BATCH, **options)


@pytest.mark.parametrize("runner", [static, dynamic, jax.jit(static), jax.jit(dynamic)])
def test_the_books_table(runner):
    outputs, state = runner()
    np.testing.assert_allclose(outputs, OUTPUTS, atol=1e-6)
    np.testing.assert_allclose(state, OUTPUTS[:, 1], atol=1e-6)


@pytest.mark.parametrize("runner", [static, dynamic])
def test_the_books_padded_batch(runner):
    lengths = np.array(BOOK["sequence_length"])
    assert lengths.tolist() == [2, 1, 2, 2]
    outputs, state = runner(sequence_length=lengths)
    np.testing.assert_array_equal(outputs[1, 1], np.zeros(5))
    np.testing.assert_allclose(state[1], OUTPUTS[1, 0], atol=1e-6)
    np.testing.assert_allclose(outputs[:, 0], OUTPUTS[:, 0], atol=1e-6)
    rows = [0, 2, 3]
    np.testing.assert_allclose(outputs[jnp.array(rows), 1], OUTPUTS[rows, 1], atol=1e-6)
    np.testing.assert_allclose(state[jnp.array(rows)], OUTPUTS[rows, 1], atol=1e-6)
