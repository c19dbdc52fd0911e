"""What the padding holds reaches nothing, and every corner of lengths and sizes is defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests.rows import FULL, LENGTHS, ROWS, B, D, T, fast_if, loss, loss_weights, problem

FLOAT_ROWS = [
    row for row in ROWS if not row.ids and row.name in ("basic", "lstm_full", "gru_reset_before", "stack", "residual")
]
PADDED = np.arange(T) >= LENGTHS[:, None]


def unroll(cell, params, inputs, **options):
    outputs, state = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(inputs.shape[1])], **options)
    return jnp.stack(outputs, 1), state


@pytest.mark.parametrize("row", fast_if(lambda row: row in FLOAT_ROWS[::2], FLOAT_ROWS), ids=lambda row: row.name)
@pytest.mark.parametrize("runner", ["static", "dynamic", "plain"])
def test_padding_reaches_no_value_and_no_gradient(row, runner, x64):
    params, inputs, state = problem(row)
    weights = loss_weights(row)
    cell = (lambda p, x, s: row.cell(p, x, s)) if runner == "plain" else row.cell
    run_rnn = unroll if runner == "static" else jaxrnn.dynamic_rnn

    @jax.jit
    def run(params, inputs, state):
        return jax.value_and_grad(
            lambda *args: loss(*run_rnn(cell, *args[:2], initial_state=args[2], sequence_length=jnp.asarray(LENGTHS)), weights),
            (0, 1, 2),
        )(params, inputs, state)

    clean = run(params, inputs, state)
    for garbage in (np.nan, np.inf, -np.inf, 1e300):
        dirty = run(params, np.where(PADDED[..., None], garbage, inputs), state)
        jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    assert np.isfinite(clean[0])
    assert not np.any(clean[1][1][PADDED])
    assert np.all(clean[1][1][~PADDED] != 0)


def test_lengths_of_zero_keep_the_initial_state():
    row = next(row for row in ROWS if row.name == "stack")
    params, inputs, state = jax.tree.map(jnp.float32, problem(row))
    outputs, last = jaxrnn.dynamic_rnn(row.cell, params, inputs, initial_state=state, sequence_length=jnp.zeros(B, int))
    assert not np.any(outputs)
    jax.tree.map(np.testing.assert_array_equal, last, state)


def test_out_of_range_lengths_are_clipped_under_jit(x64):
    row = next(row for row in ROWS if row.name == "gru")
    params, inputs, state = problem(row)

    @jax.jit
    def run(lengths):
        return jaxrnn.dynamic_rnn(row.cell, params, inputs, initial_state=state, sequence_length=lengths, chunk_size=3)

    wild = run(jnp.array([T + 9, -3, 4, 2**31 - 1]))
    jax.tree.map(np.testing.assert_array_equal, wild, run(jnp.array([T, 0, 4, T])))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32])
def test_any_integer_dtype_of_lengths(dtype):
    cell = jaxrnn.GRUCell(2)
    params = cell.init(jax.random.key(0), 1)
    inputs = jnp.ones((2, 300, 1))
    outputs, _ = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=jnp.array([100, 7], dtype))
    assert np.all(outputs[0, :100] != 0)
    assert not np.any(outputs[0, 100:])


@pytest.mark.parametrize("memory", ["save", "recursive"])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("shape", [(B, 0), (0, T), (0, 0)])
def test_no_steps_and_no_rows(shape, lengths, memory):
    cell = jaxrnn.MultiRNNCell([FULL, jaxrnn.GRUCell(3)])
    params = cell.init(jax.random.key(0), D)
    state = jax.tree.map(lambda s: s + 0.5, cell.initial_state(shape[0]))

    def run(inputs, state):
        options = {"sequence_length": jnp.zeros(shape[0], int)} if lengths else {}
        outputs, last = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, memory=memory, **options)
        return sum(leaf.sum() for leaf in jax.tree.leaves((outputs, last))), (outputs, last)

    inputs = jnp.ones((*shape, D))
    (_, (outputs, last)), grads = jax.value_and_grad(run, (0, 1), has_aux=True)(inputs, state)
    assert outputs.shape == (*shape, 3)
    assert grads[0].shape == inputs.shape
    if shape[1] == 0:
        jax.tree.map(np.testing.assert_array_equal, last, state)
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, np.ones_like(g)), grads[1])


@pytest.mark.parametrize("chunk_size", [1, 2, 6, 7, 100])
def test_any_chunk_size(chunk_size, x64):
    row = next(row for row in ROWS if row.name == "lstm_full")
    params, inputs, state = problem(row)

    def run(chunk_size):
        return jax.jit(
            lambda p, x: jaxrnn.dynamic_rnn(
                row.cell, p, x, initial_state=state, sequence_length=jnp.asarray(LENGTHS), chunk_size=chunk_size
            )
        )(params, inputs)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), run(chunk_size), run(None))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("form", ["a function", "four functions"])
def test_chunks_past_the_longest_row_are_not_run(form, reverse):
    ran = []

    def function(params, inputs, state):
        jax.debug.callback(lambda: ran.append(1))
        return state, state + inputs

    class Counted(jaxrnn.BasicRNNCell):
        def recur(self, params, state):
            jax.debug.callback(lambda: ran.append(1))
            return super().recur(params, state)

    cell = {"a function": function, "four functions": Counted(1)}[form]
    params = {} if cell is function else cell.init(jax.random.key(0), 1)
    run = lambda lengths: jaxrnn.dynamic_rnn(
        cell,
        params,
        jnp.ones((2, 12, 1)),
        initial_state=jnp.zeros((2, 1)),
        sequence_length=lengths,
        chunk_size=3,
        reverse=reverse,
    )
    for lengths, steps in (([4, 2], 6), ([0, 0], 0), ([12, 1], 12)):
        ran.clear()
        jax.block_until_ready(jax.jit(run)(jnp.array(lengths)))
        jax.effects_barrier()
        assert len(ran) == steps


def test_time_major_is_a_transposition():
    cell = jaxrnn.LSTMCell(5)
    params = cell.init(jax.random.key(0), D)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D))
    resets = jax.random.bernoulli(jax.random.key(2), 0.3, (B, T))
    outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, resets=resets)
    by_time, state_by_time = jaxrnn.dynamic_rnn(cell, params, inputs.swapaxes(0, 1), resets=resets.T, time_major=True)
    np.testing.assert_array_equal(by_time.swapaxes(0, 1), outputs)
    jax.tree.map(np.testing.assert_array_equal, state_by_time, state)


def test_permuting_the_batch_permutes_the_result(x64):
    row = next(row for row in ROWS if row.name == "stack")
    params, inputs, state = problem(row)
    order = np.array([2, 0, 3, 1])
    run = jax.jit(lambda x, s, n: jaxrnn.dynamic_rnn(row.cell, params, x, initial_state=s, sequence_length=n))
    straight = run(inputs, state, LENGTHS)
    permuted = run(inputs[order], jax.tree.map(lambda s: s[order], state), LENGTHS[order])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[order], b, rtol=1e-12), straight, permuted)


def counting(params, inputs, state):
    """A state with a counter, which belongs to no row."""
    h, steps = state
    return h, (h + inputs[:, 0], steps + 1)


@pytest.mark.parametrize("options", [{}, {"mask": True}, {"reverse": True}, {"reverse": True, "mask": True}], ids=str)
def test_a_counter_counts_the_steps_that_any_row_has(options):
    """As TF1's, whose loop ends with the longest row; whatever the chunks and the memory mode."""
    time, lengths = 12, np.array([2, 7, 0])
    mask = np.random.default_rng(0).random((3, time)) < 0.4 if options.get("mask") else np.full((3, time), True)
    runs = mask & (np.arange(time) < lengths[:, None])
    want = runs.sum(1), runs.any(0).sum()
    inputs, start = jnp.ones((3, time, 2)), (jnp.zeros(3), jnp.int32(0))
    options = options | {"sequence_length": lengths, "initial_state": start} | ({"mask": mask} if "mask" in options else {})
    for memory, size in (("save", None), ("save", 1), ("recompute", 5), ("recursive", None), ("offload", 3)):
        _, state = jaxrnn.dynamic_rnn(counting, {}, inputs, memory=memory, chunk_size=size, **options)
        np.testing.assert_array_equal(state[0], want[0])
        assert state[1] == want[1]
    _, state = jaxrnn.static_rnn(counting, {}, list(inputs.swapaxes(0, 1)), **options)
    assert state[1] == want[1]
