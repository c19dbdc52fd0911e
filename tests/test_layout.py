"""Tiles of a batch: when there are some, when they end, and that nothing but the time shows it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.order import longest_first
from jaxrnn.engine.tuning import current, using
from tests.rows import fast_if

T, B, D = 12, 11, 3
LENGTHS = np.array([5, 12, 0, 3, 3, 9, 1, 2, 7, 4, 1], np.int32)
PLAIN = jax.checkpoint_policies.everything_saveable  # a policy of one's own: a scan over chunks
pytestmark = pytest.mark.usefixtures("one_device")


class Transposed(jaxrnn.BasicRNNCell):
    """Its gates have a derivative that is laid out otherwise, `[2, H, B]`."""

    def gates(self, params, z, r, state):
        return jnp.moveaxis(jnp.sin(jnp.stack([z.T, r.T])), 2, 0).sum(1)


CELLS = {
    "lstm": jaxrnn.LSTMCell(4, use_peepholes=True, num_proj=2),
    "gru": jaxrnn.GRUCell(4),
    "basic": jaxrnn.BasicRNNCell(4),
    "transposed": Transposed(4),
    "stack": jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(4), jaxrnn.ResidualWrapper(jaxrnn.GRUCell(4, reset_after=False))]),
}


@pytest.fixture
def small_tiles():
    """Four tiles of three rows, one of which is missing."""
    with using(dataclasses.replace(current(), tile_rows=3)):
        yield


def problem(cell, dtype=jnp.float64):
    params = cell.init(jax.random.key(0), D, dtype)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), dtype)
    some = lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=dtype)).reshape(leaf.shape)
    return params, inputs, jax.tree.map(some, cell.initial_state(B, dtype))


def weighted(tree):
    """A sum in which no two elements count the same."""
    weights = lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
    return sum(jnp.vdot(jnp.sin(leaf), weights(leaf)) for leaf in jax.tree.leaves(tree))


def value(cell, memory, lengths=LENGTHS, **options):
    def run(params, inputs, state):
        options_ = {"sequence_length": jnp.asarray(lengths), "initial_state": state, "chunk_size": 2, **options}
        return weighted(jaxrnn.dynamic_rnn(cell, params, inputs, memory=memory, **options_))

    return run


# ---- when


@pytest.mark.parametrize(
    ("batch", "weights", "rows"),
    [(64, 65536, 8), (64, 10**6, 16), (63, 65536, 9), (37, 65536, 10), (16, 65536, 8), (15, 65536, None), (31, 10**6, None)],
)
def test_tiles_of_a_batch(batch, weights, rows):
    on_one_cpu = dataclasses.replace(current(), platform="cpu", sharded=False)
    assert on_one_cpu.tile(batch, weights) == rows
    for elsewhere in ({"platform": "gpu"}, {"sharded": True}):
        assert dataclasses.replace(on_one_cpu, **elsewhere).tile(batch, weights) is None


@pytest.mark.parametrize("most_compared", [0, 100])
def test_the_longest_rows_come_first(most_compared):
    lengths = np.random.default_rng(0).integers(0, 9, 40).astype(np.int32)
    order = longest_first(jnp.asarray(lengths), most_compared)
    np.testing.assert_array_equal(order, np.argsort(-lengths, kind="stable"))


@pytest.mark.parametrize(
    ("lengths", "steps"),
    [
        ([7, 1, 3, 1], [8, 2]),
        ([3, 3, 8, 2], [8, 4]),
        ([2, 0, 2, 0], [2, 0]),
        ([8, 8, 8, 8], [8, 8]),
        ([0, 0, 0, 0], [0, 0]),
        ([1, 7, 1, 5, 3], [8, 2]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_steps_of_every_tile(lengths, steps, reverse):
    """A tile ends with the chunk that its longest row ends in; the longest rows are in the first one."""
    ran = []

    class Counted(jaxrnn.BasicRNNCell):
        def gates(self, params, z, r, state):
            jax.debug.callback(lambda: ran.append(state.shape[0]))
            return super().gates(params, z, r, state)

    cell, batch = Counted(2), len(lengths)
    params, inputs = cell.init(jax.random.key(0), D), jnp.ones((batch, 8, D))
    with using(dataclasses.replace(current(), platform="cpu", tile_rows=2)):
        run = lambda n: jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=n, chunk_size=2, reverse=reverse)
        jax.block_until_ready(jax.jit(run)(jnp.array(lengths)))
    jax.effects_barrier()
    assert ran == [-(-batch // 2)] * sum(steps)


# ---- what


@pytest.mark.parametrize(
    ("name", "memory", "options"),
    [
        ("lstm", "save", {"resets": True, "time_major": True}),
        ("gru", "recompute", {"time_major": True, "chunk_size": 5}),
        pytest.param("stack", "save", {"reverse": True, "chunk_size": 5}, marks=pytest.mark.slow),
        pytest.param("lstm", "recompute", {"resets": True, "reverse": True}, marks=pytest.mark.slow),
        pytest.param("basic", "save", {"resets": True, "reverse": True, "time_major": True}, marks=pytest.mark.slow),
        pytest.param("transposed", "save", {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_as_the_scan_over_chunks(name, memory, options, small_tiles, x64):
    cell = CELLS[name]
    params, inputs, state = problem(cell)
    turn = (lambda leaf: leaf.swapaxes(0, 1)) if "time_major" in options else lambda leaf: leaf
    if "resets" in options:
        options = options | {"resets": turn(jax.random.bernoulli(jax.random.key(2), 0.3, (B, T)))}
    inputs = turn(inputs.at[2].set(jnp.nan).at[0, 5:].set(jnp.inf))  # both are padding
    grad = lambda memory: jax.jit(jax.value_and_grad(value(cell, memory, **options), (0, 1, 2)))(params, inputs, state)
    got, want = grad(memory), grad(PLAIN)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12), got, want)


@pytest.mark.parametrize("many_lengths", fast_if(lambda many: many, [False, True]))
def test_under_vmap(many_lengths, small_tiles, x64):
    cell = CELLS["gru"]
    params, inputs, state = problem(cell)
    inputs = jnp.stack([inputs, jnp.cos(inputs)])
    lengths = jnp.stack([LENGTHS, LENGTHS[::-1] // 2])
    grad = jax.jit(lambda x, n: jax.value_and_grad(value(cell, "save", n), (0, 1, 2))(params, x, state))
    each = jax.vmap(grad, (0, 0 if many_lengths else None))(inputs, lengths if many_lengths else lengths[0])
    for i in range(2):
        want = grad(inputs[i], lengths[i if many_lengths else 0])
        jax.tree.map(lambda e, w, i=i: np.testing.assert_allclose(e[i], w, rtol=1e-10, atol=1e-12), each, want)


class OneOver(jaxrnn.BasicRNNCell):
    """Not finite at zero."""

    def project(self, params, inputs):
        return super().project(params, 1 / inputs)


@pytest.mark.parametrize("memory", ["save", "recompute"])
def test_a_batch_without_steps_beside_one_that_has_some(memory, small_tiles, x64):
    """Under `jax.vmap` its padding is run, and reaches no gradient."""
    cell = OneOver(4)
    params, inputs, state = problem(cell)
    inputs, lengths = jnp.stack([inputs, jnp.zeros_like(inputs)]), jnp.stack([LENGTHS, np.zeros_like(LENGTHS)])
    grad = lambda x, n: jax.grad(value(cell, memory, n), (0, 1))(params, x, state)
    each = jax.jit(jax.vmap(grad))(inputs, lengths)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf[1], 0), each)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(each))


def test_forward_mode_and_second_derivatives(small_tiles, x64):
    cell = CELLS["gru"]
    at = problem(cell)
    ours, plain = value(cell, "save"), value(cell, PLAIN)
    along = jax.tree.map(jnp.cos, at)
    forward = lambda f: jax.jvp(f, at, along)[1]
    twice = lambda f: jax.jvp(jax.grad(f, (0, 1, 2)), at, along)[1]
    for derivative in (forward, twice):
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11), derivative(ours), derivative(plain))


def test_lengths_that_are_out_of_range(small_tiles, x64):
    cell = CELLS["gru"]
    params, inputs, state = problem(cell)
    run = jax.jit(lambda n: jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, sequence_length=n, chunk_size=2))
    wild = np.where(LENGTHS == T, 2**31 - 1, np.where(LENGTHS == 0, -3, LENGTHS))
    jax.tree.map(np.testing.assert_array_equal, run(wild), run(LENGTHS))


def test_gates_that_are_handed_on(small_tiles, x64):
    """As the forward pass has it before jax 0.11."""
    cell = CELLS["gru"]
    run = lambda memory: jax.jit(value(cell, memory))(*problem(cell))
    with using(dataclasses.replace(current(), old_loops=True, many_rows=1)):
        got = run("save")
    np.testing.assert_allclose(got, run(PLAIN), rtol=1e-12)


@pytest.mark.parametrize(("batch", "time_major"), [(4, True), (10, False)])
def test_two_halves_of_a_batch(batch, time_major, as_if_large, x64):
    cell = jaxrnn.LSTMCell(4)
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (7, batch, D) if time_major else (batch, 7, D), jnp.float64)

    def loss(params, inputs, memory):
        return weighted(jaxrnn.dynamic_rnn(cell, params, inputs, time_major=time_major, chunk_size=3, memory=memory))

    grad = lambda memory: jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(params, inputs, memory)
    assert "concatenate" in str(jax.make_jaxpr(lambda p: loss(p, inputs, "save"))(params))  # of the halves' outputs
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12), grad("save"), grad(PLAIN))
