"""What the grids have beside the contract: outputs as a tuple, a state that is not read, sizes of windows, export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import contrib

KEY = jax.random.key(0)
INPUTS = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5, 6)), jnp.float32)


def test_a_tuple_of_outputs_is_the_joined_one_in_parts():
    cell = functools.partial(contrib.GridRNNCell, 3, 2, input_dims=0, output_dims=[0, 1])
    params = cell().init(KEY, 6)
    parts, state = jaxrnn.dynamic_rnn(cell(), params, INPUTS)
    joined, other = jaxrnn.dynamic_rnn(cell(output_is_tuple=False), params, INPUTS)
    np.testing.assert_array_equal(jnp.concatenate(parts, -1), joined)
    jax.tree.map(np.testing.assert_array_equal, state, other)


@pytest.mark.parametrize("kind", [contrib.Grid1BasicRNNCell, contrib.Grid1BasicLSTMCell, contrib.Grid1LSTMCell])
def test_a_grid_of_one_dimension_does_not_read_its_state(kind):
    cell = kind(3, output_is_tuple=False)
    params, zeros = cell.init(KEY, 6), cell.initial_state(4)
    ones = jax.tree.map(jnp.ones_like, zeros)
    np.testing.assert_array_equal(*(cell(params, INPUTS[:, 0], state)[0] for state in (zeros, ones)))


def test_a_grid_without_inputs_goes_by_its_state_alone():
    cell = contrib.GridRNNCell(3, 2, output_dims=0, cell_fn=jaxrnn.GRUCell, output_is_tuple=False)
    params, state = cell.init(KEY, 6), jax.tree.map(jnp.ones_like, cell.initial_state(4))
    outputs, _ = jaxrnn.dynamic_rnn(cell, params, INPUTS, initial_state=state)
    np.testing.assert_array_equal(outputs, jaxrnn.dynamic_rnn(cell, params, 0 * INPUTS, initial_state=state)[0])
    assert not np.allclose(outputs[:, 0], outputs[:, 1])


def test_features_behind_the_last_whole_window_are_not_read():
    cell = contrib.TimeFreqLSTMCell(3, feature_size=3, frequency_skip=2, input_size=6)
    assert (cell.output_size, len(cell.state_size)) == (6, 2)
    assert (contrib.TimeFreqLSTMCell(3, feature_size=6, input_size=6).output_size) == 3
    params = cell.init(KEY, 6)
    grads = jax.grad(lambda x: jnp.sum(jaxrnn.dynamic_rnn(cell, params, x)[0]))(INPUTS)
    assert not grads[..., 5].any()
    assert grads[..., :5].all()


def test_exported():
    """States of tuples in tuples."""
    cell = contrib.BidirectionalGridLSTMCell(2, feature_size=3, frequency_skip=3, num_frequency_blocks=[2])
    params = cell.init(KEY, 6)
    run = jax.jit(lambda params, inputs: jaxrnn.dynamic_rnn(cell, params, inputs))
    program = jax.export.deserialize(jax.export.export(run)(params, INPUTS).serialize())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), program.call(params, INPUTS), run(params, INPUTS))
