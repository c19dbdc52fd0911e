"""What the rows of normalized.py do not show: dropout, how params start, what is kept, half precision, odd parts of z."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrnn
from jaxrnn import contrib
from jaxrnn.contrib.layer_norm import normalize
from tests import oracle
from tests.contrib import normalized
from tests.rows import LENGTHS, Row, T, plain, problem


@pytest.mark.parametrize("layer_norm", [True, False])
def test_dropout_is_of_the_candidate_alone(layer_norm, x64):
    cell = contrib.LayerNormBasicLSTMCell(5, layer_norm=layer_norm, dropout_keep_prob=0.6)
    params, inputs, state = problem(Row("", cell, None))
    key = jax.random.key(7)
    masks = np.stack([cell.project(params, inputs[:, t], key=jaxrnn.step_key(key, t))[1] for t in range(T)])
    np.testing.assert_allclose(np.unique(masks), [0, 1 / 0.6])
    assert 0.5 < np.mean(masks > 0) < 0.7
    assert not np.array_equal(masks[0], masks[1])
    for mask, options in ((masks, {"key": key}), (np.ones_like(masks), {})):
        step = normalized.lstm(factors=lambda t, row, mask=mask: mask[t, row])
        want = oracle.rnn(step, params, inputs, plain(state), LENGTHS)
        got = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=LENGTHS, initial_state=state, **options)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), plain(got), want)


def test_shifts_start_from_what_the_biases_would():
    key, h = jax.random.key(0), slice(5, 10)
    params = contrib.LayerNormLSTMCell(5, layer_norm=True, forget_bias=0.7, norm_gain=0.9, norm_shift=0.1).init(key, 3)
    assert params.keys() == {"kernel", "recurrent_kernel", "gamma", "beta", "state_gamma", "state_beta"}
    np.testing.assert_allclose(params["beta"], np.repeat([0.1, 0.8, 0.1, 0.1], 5), rtol=1e-6)
    np.testing.assert_allclose(params["gamma"], 0.9)
    coupled = contrib.CoupledInputForgetGateLSTMCell(5, layer_norm=True, forget_bias=0.7).init(key, 3)
    np.testing.assert_allclose(coupled["beta"], np.repeat([0.7, 0, 0], 5))
    wrapped = contrib.LayerNormWrapper(jaxrnn.LSTMCell(5, forget_bias=0.7)).init(key, 3)
    np.testing.assert_allclose(wrapped["input_beta"][h], 0.7)
    assert not wrapped["state_beta"].any()


def test_the_derivative_keeps_the_result_and_one_number_a_block():
    a = jax.random.normal(jax.random.key(0), (4, 15))
    _, tangent = jax.linearize(lambda a: normalize(a, 5), a)
    assert {leaf.shape for leaf in jax.tree.leaves(tangent)} == {(4, 15), (4, 3, 1)}


def test_derivatives_of_the_normalisation(x64):
    check_grads(lambda a: normalize(a, 5), (np.random.default_rng(0).standard_normal((4, 15)),), order=2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_float32_inside(dtype):
    # In half precision the mean of so many is off by more than their spread.
    a = 100 + jax.random.normal(jax.random.key(0), (4, 512)).astype(dtype)
    got = normalize(a, 256, 1e-5)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(jnp.float32), normalize(a.astype(jnp.float32), 256, 1e-5), rtol=0.01, atol=0.01)


def test_a_row_without_variance_is_zeros():
    value, grad = jax.value_and_grad(lambda a: normalize(a, 5)[0, 0])(jnp.full((2, 5), 3.0))
    assert value == 0
    assert np.isfinite(grad).all()


@dataclasses.dataclass(frozen=True)
class Odd(jaxrnn.RNNCell):
    """A cell whose z holds a clock and a class, as inputs, beside the product."""

    num_units: int = 4
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key, input_size, dtype=jnp.float32):
        return {"kernel": jax.random.normal(key, (input_size, self.num_units), dtype)}

    def project(self, params, inputs):
        return inputs[:, :1], inputs @ params["kernel"], inputs[:, 0] > 0

    def recur(self, params, state):
        return ()

    def gates(self, params, z, r, state):
        clock, a, positive = z
        return jnp.where(positive[:, None], a, jnp.broadcast_to(clock, a.shape))

    def combine(self, params, g, state):
        return g, state + g


def test_the_wrapper_leaves_alone_what_is_no_gate():
    cell = contrib.LayerNormWrapper(Odd())
    params = cell.init(jax.random.key(0), 3)
    assert {name: params[name].shape for name in params if name != "cell"} == {
        "input_gamma": (4,), "input_beta": (4,), "state_gamma": (0,), "state_beta": (0,),
    }  # fmt: skip
    inputs = jnp.array([[1.0, 2, 3], [-1, 2, 3]])
    output, _ = cell(params, inputs, cell.initial_state(2))
    np.testing.assert_allclose(output[0], normalize(inputs @ params["cell"]["kernel"], 4, 1e-5)[0], rtol=1e-5)
    np.testing.assert_allclose(output[1], -1)
