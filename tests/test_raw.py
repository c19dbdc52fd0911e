"""The runner whose inputs a function makes: TF1's own numbers, stepping by hand, and what a decoder does with it."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1
from tests.rows import fast_if

GOLDEN = dict(np.load(pathlib.Path(__file__).parent / "goldens" / "runners" / "raw_rnn.npz"))
STEPS, BATCH, UNITS = GOLDEN["wy"].shape
CELL = jaxrnn.LSTMCell(UNITS, use_peepholes=True)
SOURCES = [key for key in GOLDEN if key.startswith(("variables/", "initial/")) or key in ("inputs", "feedback")]
MODES = ({}, {"chunk_size": 3}, {"memory": "recompute", "chunk_size": 3}, {"memory": "recursive"}, {"swap_memory": True})


def decode(point, lengths, **options):
    """What make_tf1_raw.py runs, at a point by its keys."""
    variables = {key.removeprefix("variables/"): value for key, value in point.items() if key.startswith("variables/")}
    initial = jaxrnn.LSTMStateTuple(point["initial/0"], point["initial/1"])

    def loop_fn(time, output, state, loop_state):
        if output is None:
            ended = jnp.zeros(BATCH, bool) if lengths is None else time >= lengths
            return ended, point["inputs"], initial, None, (jnp.int32(0), jnp.zeros((BATCH, UNITS)), ended)
        ended = output[:, 0] > 0.02 if lengths is None else time >= lengths
        count, total, had_ended = loop_state
        total += jnp.where(had_ended[:, None], 0, output)
        fed = jnp.tanh(output @ point["feedback"]) + point["inputs"]
        return ended, fed, state, (output, state.c.mean(1)), (count + 1, total, had_ended | ended)

    return jaxrnn.raw_rnn(CELL, from_tf1(CELL, variables), loop_fn, **{"max_steps": STEPS, **options})


def loss(point, lengths, **options):
    (outputs, means), state, (_, total, _) = results = decode(point, lengths, **options)
    pairs = (outputs, "wy"), (means, "wm"), (state.c, "ws/0"), (state.h, "ws/1"), (total, "wl")
    return sum(jnp.sum(value * GOLDEN[weights]) for value, weights in pairs), results


@pytest.mark.parametrize("options", fast_if(lambda options: options in MODES[:1], MODES), ids=str)
@pytest.mark.parametrize("case", ["mixed", "zero", "equal", "output"])
def test_equals_tf1(case, options):
    want = {key.removeprefix(f"{case}/"): value for key, value in GOLDEN.items() if key.startswith(f"{case}/")}
    point = {key: GOLDEN[key] for key in SOURCES}
    run = jax.jit(jax.value_and_grad(functools.partial(loss, **options), has_aux=True))
    (_, ((outputs, means), state, (count, total, _))), gradient = run(point, want.get("sequence_length"))
    steps = int(want["count"])
    assert int(count) == steps == len(want["outputs"])
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    for got, key in ((outputs, "outputs"), (means, "means")):  # TF1's are as long as the run was
        close(got[:steps], want[key], err_msg=key)
        assert not got[steps:].any()
    for got, key in ((state.c, "state/0"), (state.h, "state/1"), (total, "total")):
        close(got, want[key], err_msg=key)
    for key, value in gradient.items():
        close(value, want[f"grad/{key}"], err_msg=key)


def test_is_dynamic_rnn_where_the_inputs_are_known():
    """TF1's own description of dynamic_rnn by raw_rnn, dropout included."""
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(5), 0.7, 0.7, 0.7)
    params, inputs = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (4, 7, 3))
    lengths, key = jnp.array([5, 0, 7, 2]), jax.random.key(2)

    def loop_fn(time, output, state, loop_state):
        state = cell.initial_state(4) if state is None else state
        return time >= lengths, inputs[:, jnp.minimum(time, 6)], state, output, None

    emits, state, nothing = jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=9, key=key)
    outputs, last = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths, key=key)
    np.testing.assert_allclose(emits[:7].swapaxes(0, 1), outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-6)
    assert nothing is None
    assert not emits[7:].any()


def test_a_loop_that_ends_early_calls_nothing_more():
    """Past the last row's end the loop state stays: NaN that further steps would make reaches no value and no gradient."""
    cell = jaxrnn.BasicRNNCell(2)
    params = cell.init(jax.random.key(0), 2)

    def run(params, slope):
        def loop_fn(time, output, state, loop_state):
            if output is None:
                return jnp.zeros(3, bool), jnp.ones((3, 2)), cell.initial_state(3), None, jnp.float32(1)
            return jnp.full(3, time >= 4), output, state, output, loop_state * slope * jnp.sqrt(4.5 - time.astype(jnp.float32))

        emits, _, loop_state = jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=8)
        return jnp.sum(emits) + loop_state

    values, gradient = jax.value_and_grad(run, 1)(params, 0.5)
    assert jnp.isfinite(values)
    np.testing.assert_allclose(gradient, 4 * 0.5**3 * np.sqrt(3.5 * 2.5 * 1.5 * 0.5), rtol=1e-5)


def test_any_pytree_goes_round():
    """Inputs, states, emits and loop states with parts, some of which belong to no row."""

    def cell(params, inputs, state):
        rows, counter = state
        new = rows + inputs["a"] * params
        return {"out": new}, (new, counter + 1)

    def loop_fn(time, output, state, loop_state):
        if output is None:
            state = jnp.zeros((2, 3)), jnp.int32(10)
            return jnp.array([False, True]), {"a": jnp.ones((2, 3))}, state, None, {"seen": jnp.zeros(4, jnp.int32)}
        seen = {"seen": loop_state["seen"].at[time - 1].set(state[1])}
        return jnp.array([False, False]), {"a": jnp.full((2, 3), time.astype(float))}, state, {"o": output, "t": time}, seen

    emits, (rows, counter), loop_state = jaxrnn.raw_rnn(cell, 2.0, loop_fn, max_steps=4)
    np.testing.assert_array_equal(rows, [[14, 14, 14], [0, 0, 0]])
    np.testing.assert_array_equal(emits["o"]["out"][:, 0, 0], [2, 4, 8, 14])
    np.testing.assert_array_equal(emits["o"]["out"][:, 1], np.zeros((4, 3)))
    np.testing.assert_array_equal(emits["t"], [1, 2, 3, 4])
    np.testing.assert_array_equal(loop_state["seen"], [11, 12, 13, 14])
    assert counter == 14


def test_no_steps():
    point = {key: GOLDEN[key] for key in SOURCES}
    (outputs, means), state, (count, total, _) = decode(point, None, max_steps=0)
    assert (outputs.shape, means.shape, int(count)) == ((0, BATCH, UNITS), (0, BATCH), 0)
    np.testing.assert_array_equal(state.h, point["initial/1"])
    assert not total.any()


def test_vmap_and_forward_mode():
    """Examples that end at steps of their own, in one loop; and the two modes of differentiation agree."""
    point = {key: jnp.asarray(GOLDEN[key]) for key in SOURCES}
    lengths = jnp.array([[3, 0, 5, 1], [0, 0, 0, 0], [8, 2, 2, 2]])
    value = lambda point, lengths: loss(point, lengths)[0]
    many = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(point, lengths)
    tangent = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), point)
    for i, one in enumerate(lengths):
        gradient = jax.grad(value)(point, one)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5), many, gradient)
        _, slope = jax.jvp(lambda p, one=one: value(p, one), (point,), (tangent,))
        np.testing.assert_allclose(slope, sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(tangent))), rtol=1e-3)
