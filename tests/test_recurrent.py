"""The recurrent product of a few rows; that it changes no number is in test_contract, whose batches are as small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import recurrent

pytestmark = pytest.mark.usefixtures("one_device")


def products(cell, batch):
    """The rows of each product that `recur` makes."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    state = jax.eval_shape(lambda: cell.initial_state(batch))
    jaxpr = jax.make_jaxpr(lambda params, state: recurrent.recur(cell, params, state))(params, state)
    return [eqn.invars[0].aval.shape[0] for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]


@pytest.mark.parametrize(
    ("cell", "batch", "one_by_one"),
    [
        (jaxrnn.BasicRNNCell(64), 6, True),
        (jaxrnn.GRUCell(64), 4, True),
        (jaxrnn.LSTMCell(64), 4, False),  # much work
        (jaxrnn.LSTMCell(16), 7, False),  # many rows
        (jaxrnn.LSTMCell(16), 1, False),  # a vector as it is
    ],
    ids=repr,
)
def test_a_few_rows_are_vectors(cell, batch, one_by_one, monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    assert products(cell, batch) == ([1] * batch if one_by_one else [batch])


def test_not_where_it_gains_nothing(monkeypatch):
    for name, value in (("__version_info__", (0, 10, 2)), ("default_backend", lambda: "gpu"), ("device_count", lambda: 8)):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "__version_info__", (0, 12, 0))
            patch.setattr(jax, name, value)
            assert products(jaxrnn.GRUCell(16), 4) == [4]


def test_the_same_product_and_tangent(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    cell = jaxrnn.LSTMCell(5, num_proj=3)
    params, state = cell.init(jax.random.key(0), 2), cell.initial_state(4)
    state = jax.tree.map(lambda leaf: leaf + jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape) / 10, state)
    kernel = np.asarray(params["recurrent_kernel"], np.float64)
    np.testing.assert_allclose(recurrent.recur(cell, params, state), np.asarray(state.h) @ kernel, rtol=1e-5)
    move = jax.tree.map(jnp.cos, state)
    tangent = recurrent.recur_tangent(cell, params, 4)(state, move)
    np.testing.assert_allclose(tangent, np.asarray(move.h) @ kernel, rtol=1e-5, atol=1e-6)
