"""Rows that have ended leave the loop: when, and that nothing but the time shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import ragged

T, B, D = 12, 11, 3
LENGTHS = np.array([5, 12, 0, 3, 3, 9, 1, 2, 7, 4, 1], np.int32)
PLAIN = jax.checkpoint_policies.everything_saveable  # a policy of one's own: a scan over chunks
pytestmark = pytest.mark.usefixtures("one_device")


class Turned(jaxrnn.BasicRNNCell):
    """Its gates have a derivative that is laid out otherwise, `[2, H, B]`."""

    def gates(self, params, z, r, state):
        return jnp.moveaxis(jnp.sin(jnp.stack([z.T, r.T])), 2, 0).sum(1)


CELLS = {
    "lstm": jaxrnn.LSTMCell(4, use_peepholes=True, num_proj=2),
    "gru": jaxrnn.GRUCell(4),
    "basic": jaxrnn.BasicRNNCell(4),
    "turned": Turned(4),
    "stack": jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(4), jaxrnn.ResidualWrapper(jaxrnn.GRUCell(4, reset_after=False))]),
}


@pytest.fixture
def few_rows(monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(ragged, "_FEWEST_ROWS", 1)
    yield
    jax.clear_caches()


@pytest.fixture
def shares(monkeypatch):
    """The shares of the rows that each run so far was to have."""
    seen, longest_first = [], ragged.longest_first

    def spy(parts):
        parts, ends = longest_first(parts)
        seen.append([share for share, _ in ends])
        return parts, ends

    monkeypatch.setattr("jaxrnn.whole.longest_first", spy)
    jax.clear_caches()
    yield seen
    jax.clear_caches()


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
    ("batch", "time", "chunk_size", "expected"),
    [
        (64, 100, 10, [1, 2, 4, 8]),
        (63, 100, 10, [1, 2, 4]),
        (16, 100, 10, [1, 2]),
        (15, 100, 10, [1]),  # few rows
        (64, 100, 40, [1, 2]),  # two chunks and a rest
        (64, 100, 100, [1]),  # a single chunk
    ],
)
def test_shares_of_the_rows(batch, time, chunk_size, expected, shares):
    cell = jaxrnn.GRUCell(5)
    params = cell.init(jax.random.key(0), D)
    inputs, lengths = jax.ShapeDtypeStruct((batch, time, D), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.int32)
    run = lambda inputs, lengths: jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths, chunk_size=chunk_size)
    jax.eval_shape(run, inputs, lengths)
    jax.eval_shape(lambda inputs: jaxrnn.dynamic_rnn(cell, params, inputs, chunk_size=chunk_size), inputs)
    assert shares == [expected, [1]]


def test_not_on_a_gpu_and_not_on_several_devices(few_rows, shares, monkeypatch):
    for name, other in (("default_backend", "gpu"), ("device_count", 8)):
        with monkeypatch.context() as patch:
            patch.setattr(jax, name, lambda other=other: other)
            jax.eval_shape(value(CELLS["gru"], "save"), *problem(CELLS["gru"], jnp.float32))
        jax.clear_caches()
    assert shares == [[1], [1]]


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([7, 1, 3, 1], [4, 4, 2, 2, 1, 1, 1, 1]),
        ([3, 3, 8, 2], [4, 4, 4, 4, 1, 1, 1, 1]),
        ([2, 0, 2, 0], [2, 2]),
        ([8, 8, 8, 8], [4] * 8),
        ([0, 0, 0, 0], []),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_rows_of_every_step(lengths, rows, reverse, few_rows):
    ran = []

    class Counted(jaxrnn.BasicRNNCell):
        def gates(self, params, z, r, state):
            jax.debug.callback(lambda: ran.append(state.shape[0]))
            return super().gates(params, z, r, state)

    cell = Counted(2)
    params = cell.init(jax.random.key(0), D)
    run = lambda n: jaxrnn.dynamic_rnn(cell, params, jnp.ones((4, 8, D)), sequence_length=n, chunk_size=2, reverse=reverse)
    jax.block_until_ready(jax.jit(run)(jnp.array(lengths)))
    jax.effects_barrier()
    assert ran == (rows[::-1] if reverse else rows)


# ---- what


@pytest.mark.parametrize(
    ("name", "memory", "options"),
    [
        ("lstm", "save", {"resets": True, "time_major": True}),
        ("lstm", "recompute", {"resets": True, "reverse": True}),
        ("gru", "recompute", {"time_major": True, "chunk_size": 5}),
        ("basic", "save", {"resets": True, "reverse": True, "time_major": True}),
        ("turned", "save", {}),
        ("stack", "save", {"reverse": True, "chunk_size": 5}),
    ],
    ids=str,
)
def test_as_the_scan_over_chunks(name, memory, options, few_rows, shares, x64):
    cell = CELLS[name]
    params, inputs, state = problem(cell)
    turn = (lambda leaf: leaf.swapaxes(0, 1)) if "time_major" in options else lambda leaf: leaf
    if "resets" in options:
        options = options | {"resets": turn(jax.random.bernoulli(jax.random.key(2), 0.3, (B, T)))}
    inputs = turn(inputs.at[2].set(jnp.nan).at[0, 5:].set(jnp.inf))  # both are padding
    grad = lambda memory: jax.jit(jax.value_and_grad(value(cell, memory, **options), (0, 1, 2)))(params, inputs, state)
    got, want = grad(memory), grad(PLAIN)
    assert set(map(tuple, shares)) == {(1, 2) if "chunk_size" in options else (1, 2, 4)}
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12), got, want)


@pytest.mark.parametrize("many_lengths", [False, True])
def test_under_vmap(many_lengths, few_rows, x64):
    cell = CELLS["gru"]
    params, inputs, state = problem(cell)
    inputs = jnp.stack([inputs, jnp.cos(inputs)])
    lengths = jnp.stack([LENGTHS, LENGTHS[::-1] // 2])
    grad = jax.jit(lambda x, n: jax.value_and_grad(value(cell, "save", n), (0, 1, 2))(params, x, state))
    each = jax.vmap(grad, (0, 0 if many_lengths else None))(inputs, lengths if many_lengths else lengths[0])
    for i in range(2):
        want = grad(inputs[i], lengths[i if many_lengths else 0])
        jax.tree.map(lambda e, w, i=i: np.testing.assert_allclose(e[i], w, rtol=1e-10, atol=1e-12), each, want)


def test_forward_mode_and_second_derivatives(few_rows, x64):
    cell = CELLS["gru"]
    at = problem(cell)
    ours, plain = value(cell, "save"), value(cell, PLAIN)
    along = jax.tree.map(jnp.cos, at)
    forward = lambda f: jax.jvp(f, at, along)[1]
    twice = lambda f: jax.jvp(jax.grad(f, (0, 1, 2)), at, along)[1]
    for derivative in (forward, twice):
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11), derivative(ours), derivative(plain))


def test_lengths_that_are_out_of_range(few_rows, x64):
    cell = CELLS["gru"]
    params, inputs, state = problem(cell)
    run = jax.jit(lambda n: jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, sequence_length=n, chunk_size=2))
    wild = np.where(LENGTHS == T, 2**31 - 1, np.where(LENGTHS == 0, -3, LENGTHS))
    jax.tree.map(np.testing.assert_array_equal, run(wild), run(LENGTHS))


def test_gates_that_are_carried_along(few_rows, x64, monkeypatch):
    """As the forward pass has it before jax 0.11."""
    monkeypatch.setattr("jaxrnn.whole._carries_gates", lambda state: True)
    cell = CELLS["gru"]
    run = lambda memory: jax.jit(value(cell, memory))(*problem(cell))
    np.testing.assert_allclose(run("save"), run(PLAIN), rtol=1e-12)
