"""Layers over time: the real TF1's numbers, and any function as a fused cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.contrib import FusedRNNCellAdaptor, LSTMBlockFusedCell, TimeReversedFusedRNN
from jaxrnn.interop import from_tf1, to_tf1
from tests.contrib.test_goldens import CLOSE, cases, load, part

LSTM = LSTMBlockFusedCell(5, forget_bias=0.7, cell_clip=0.3, use_peephole=True)
GOLDENS = {"lstm_block_fused": LSTM, "lstm_block_fused_reversed": TimeReversedFusedRNN(LSTM)}
KEY = jax.random.key(0)
LENGTHS = jnp.array([5, 0, 7, 2])


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in GOLDENS for case in cases(name)])
def test_equals_tf1(name, case):
    fused, data = GOLDENS[name], load(name)
    turned = lambda array: jnp.swapaxes(array, 0, 1)

    def value(variables, inputs, *initial):
        params = from_tf1(fused, variables)
        outputs, state = fused(params, turned(inputs), initial, data.get(f"{case}/sequence_length"))
        total = jnp.sum(turned(outputs) * data["wy"]) + sum(jnp.sum(s * data[f"ws/{i}"]) for i, s in enumerate(state))
        return total, (turned(outputs), *state)

    point = jax.tree.map(jnp.asarray, (part(name, "variables"), data["inputs"], data["initial/0"], data["initial/1"]))
    grads, results = jax.jit(jax.grad(value, (0, 1, 2, 3), has_aux=True))(*point)
    for got, key in zip(results, ("outputs", "state/0", "state/1"), strict=True):
        np.testing.assert_allclose(got, data[f"{case}/{key}"], **CLOSE, err_msg=key)
    by_key = {f"variables/{key}": grad for key, grad in grads[0].items()}
    by_key |= dict(zip(("inputs", "initial/0", "initial/1"), grads[1:], strict=True))
    for key, want in part(name, f"{case}/grad").items():
        np.testing.assert_allclose(by_key[key], want, **CLOSE, err_msg=key)


@pytest.mark.parametrize("fused", [*GOLDENS.values(), FusedRNNCellAdaptor(jaxrnn.GRUCell(5, reset_after=False))])
def test_there_and_back(fused):
    params = fused.init(KEY, 3)
    back = from_tf1(fused, to_tf1(fused, params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, back)


@pytest.mark.parametrize("lengths", [None, LENGTHS, jnp.array([9, -1, 7, 2])])
def test_reversed_is_reverse(lengths):
    """Of any function, whatever the padding holds; under jit lengths outside [0, T] count as clipped."""
    fused = FusedRNNCellAdaptor(jaxrnn.GRUCell(5))
    params, inputs = fused.init(KEY, 3), jax.random.normal(KEY, (7, 4, 3))
    if lengths is not None:
        padding = jnp.arange(7)[:, None, None] >= lengths[None, :, None]
        inputs = jnp.where(jnp.broadcast_to(padding, inputs.shape), jnp.nan, inputs)

    def gradients(run):
        def value(params, inputs, lengths):
            outputs, state = run(params, inputs, lengths)
            return jnp.sum(jnp.sin(outputs)) + jnp.sum(jnp.cos(state)), (outputs, state)

        return jax.jit(jax.grad(value, (0, 1), has_aux=True))(params, inputs, lengths)

    got = gradients(lambda *args: TimeReversedFusedRNN(lambda *given: fused(*given))(*args[:2], None, args[2]))
    want = gradients(
        lambda *args: jaxrnn.dynamic_rnn(fused.cell, *args[:2], sequence_length=args[2], time_major=True, reverse=True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)


def test_what_is_reversed_is_any_function_of_four_arguments():
    function = lambda params, inputs, initial_state, lengths: (jnp.cumsum(inputs, 0), params)
    outputs, _ = TimeReversedFusedRNN(function)((), jnp.ones((3, 2)), None, jnp.array([3, 1]))
    np.testing.assert_array_equal(outputs, [[3, 1], [2, 2], [1, 3]])


@pytest.mark.parametrize("around", [lambda fused: fused, TimeReversedFusedRNN])
def test_a_key_reaches_the_cell(around):
    fused = around(FusedRNNCellAdaptor(jaxrnn.DropoutWrapper(jaxrnn.GRUCell(5), output_keep_prob=0)))
    params, inputs = fused.init(KEY, 3), jnp.ones((7, 4, 3))
    assert fused(params, inputs)[0].all()
    assert not fused(params, inputs, key=KEY)[0].any()
