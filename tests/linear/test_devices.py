"""A linear cell's sequence, split along time over four devices: values, gradients, and the collectives of the program."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn import linear
from tests.rows import fast_if

B, T, D = 4, 12, 4
RNG = np.random.default_rng(0)
INPUTS, LENGTHS, RESETS = RNG.standard_normal((B, T, D)), np.array([12, 0, 7, 2], np.int32), RNG.random((B, T)) < 0.3
SPOILT = np.where((np.arange(T) < LENGTHS[:, None])[..., None], INPUTS, np.nan)
CELLS = {  # and how many layers have a recurrence
    "lru": (linear.LRUCell(4, 5), 1),
    "window": (linear.CausalWindow(linear.QRNNCell(4), 3, 4), 3),
    "stack": (jaxrnn.MultiRNNCell([linear.LRUCell(4), jaxrnn.ResidualWrapper(linear.MinGRUCell(4)), linear.SRUCell(4)]), 3),
}


def split(run):
    """`run(params, inputs, lengths, resets, state, reset_state)` of four devices."""
    mesh = jax.make_mesh((4,), ("time",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    along = P(None, "time")
    specs = {"in_specs": (P(), along, P(), along, P(), P()), "out_specs": (along, P())}

    def one_device(params, inputs, lengths, resets, *states):
        outputs, state = run(params, inputs, lengths, resets, *states)
        return outputs, jax.lax.pmean(state, "time")

    return jax.shard_map(one_device, mesh=mesh, **specs)


def on_devices(cell):
    def run(params, inputs, lengths, resets, state, again):
        options = {"initial_state": state, "sequence_length": lengths, "resets": resets, "reset_state": again}
        return linear.time_sharded(cell, params, inputs, axis_name="time", **options)

    return split(run)


def on_one(cell):
    def run(params, inputs, lengths, resets, state, again):
        options = {"initial_state": state, "sequence_length": lengths, "resets": resets, "reset_state": again}
        return jaxrnn.dynamic_rnn(cell, params, inputs, **options)

    return run


def weighted(result):
    weight = lambda leaf: jnp.asarray(np.random.default_rng(leaf.size).standard_normal(leaf.shape))
    return sum((jnp.sin(leaf) * weight(leaf)).sum() for leaf in jax.tree.leaves(result))


def states(cell):
    draw = lambda leaf: jnp.asarray(np.random.default_rng(3).standard_normal(leaf.shape))
    state = jax.tree.map(draw, cell.initial_state(B, jnp.float64))
    return state, jax.tree.map(jnp.sin, state)


@pytest.mark.parametrize("name", fast_if(lambda name: name != "stack", CELLS))
def test_values_and_gradients(name, x64):
    cell, layers = CELLS[name]
    params = cell.init(jax.random.key(0), D, jnp.float64)

    def train(run):
        value = lambda params, inputs, *states: weighted(run(params, inputs, LENGTHS, RESETS, *states))
        return jax.jit(jax.value_and_grad(value, (0, 1, 2, 3)))

    want = train(on_one(cell))(params, INPUTS, *states(cell))
    step = train(on_devices(cell)).lower(params, SPOILT, *states(cell)).compile()
    got = step(params, SPOILT, *states(cell))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), got, want)

    text = step.as_text()
    entry = text[text.index("\nENTRY") :]
    count = lambda text, name: len(re.findall(rf" {name}(?:-start)?\(", text))
    assert count(text, "all-gather") == count(entry, "all-gather") == 2 * layers  # one each way, in no loop
    assert [count(text, name) for name in ("collective-permute", "reduce-scatter", "all-to-all")] == [0, 0, 0]
    assert count(text, "all-reduce") == count(entry, "all-reduce")  # of the state here, and of the gradients


def test_without_lengths_resets_or_a_state(x64):
    cell = linear.MinGRUCell(3)
    params = cell.init(jax.random.key(0), D, jnp.float64)
    run = functools.partial(linear.time_sharded, cell, axis_name="time")
    mesh = jax.make_mesh((4,), ("time",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    specs = {"in_specs": (P(), P(None, "time")), "out_specs": (P(None, "time"), P("time"))}
    outputs, state = jax.jit(jax.shard_map(run, mesh=mesh, **specs))(params, INPUTS)
    want, last = jaxrnn.dynamic_rnn(cell, params, INPUTS)
    np.testing.assert_allclose(outputs, want, rtol=1e-12)
    np.testing.assert_allclose(state.reshape(4, B, 3), np.broadcast_to(last, (4, B, 3)), rtol=1e-12)  # on every device


@pytest.mark.slow
def test_second_derivatives(x64):
    cell = linear.MinGRUCell(2)
    params, (state, again) = cell.init(jax.random.key(0), D, jnp.float64), states(cell)
    hessian = lambda run: jax.jit(jax.hessian(lambda state: weighted(run(params, INPUTS, LENGTHS, RESETS, state, again))))
    np.testing.assert_allclose(hessian(on_devices(cell))(state), hessian(on_one(cell))(state), rtol=1e-9, atol=1e-11)


def test_a_cell_that_is_not_linear():
    cell = jaxrnn.MultiRNNCell([linear.MinGRUCell(4), jaxrnn.GRUCell(4)])
    with pytest.raises(TypeError, match=r"expected a jaxrnn\.LinearCell, or wrappers and stacks of such cells"):
        linear.time_sharded(cell, cell.init(jax.random.key(0), D), jnp.asarray(INPUTS), axis_name="time")


# ---- what cells and engines are built with


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: linear.LRUCell(4, r_min=0.9, r_max=0.5), ValueError, "0 <= r_min < r_max <= 1, got r_min=0.9, r_max=0.5"),
        (lambda: linear.LRUCell(4, max_phase=0.0), ValueError, "max_phase to be above 0"),
        (lambda: linear.LRUCell(0), ValueError, "num_units to be at least 1"),
        (lambda: linear.RGLRUCell(6, num_heads=4), ValueError, "num_heads to divide num_units=6, got 4"),
        (lambda: linear.RGLRUCell(6).init(jax.random.key(0), 5), ValueError, "inputs of size num_units=6, got size 5"),
        (lambda: linear.QRNNCell(4, pooling="fi"), ValueError, "pooling: expected one of 'f', 'fo', 'ifo', got"),
        (lambda: linear.MinLSTMCell(4, forget_bias=np.inf), ValueError, "forget_bias to be finite"),
        (lambda: linear.MinGRUCell(4, activation=3), TypeError, "activation to be a function"),
        (lambda: linear.CausalWindow(linear.QRNNCell(4), 0, 3), ValueError, "size to be at least 1"),
        (
            lambda: linear.CausalWindow(linear.QRNNCell(4), 2, 3).init(jax.random.key(0), 4),
            ValueError,
            "input_size=3, got",
        ),
        (
            lambda: linear.engine("parallel").__enter__(),
            ValueError,
            "how: expected one of 'sequential', 'chunked'",
        ),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()
