"""What the shared tests do not see of the wrappers, the convolutional cells and the Turing machine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.contrib import AttentionCellWrapper, Conv1DLSTMCell, ConvLSTMCell, HighwayWrapper, NTMCell
from jaxrnn.testing import check_cell
from tests import oracle
from tests.contrib.ntm import ntm
from tests.rows import LENGTHS, B, D, T, plain

KEY = jax.random.key(7)
DROPPED = AttentionCellWrapper(jaxrnn.DropoutWrapper(jaxrnn.LSTMCell(4), 0.7, 0.8, 0.9), 3)
MACHINE = NTMCell(jaxrnn.GRUCell(5), 6, 4, 2, 1, output_dim=2)


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(7)], ids=["key", "raw key"])
def test_dropout_inside_of_attention(key):
    """The key gets to the inner cell, in the forward pass and in the backward pass."""
    params, inputs = DROPPED.init(KEY, D), jax.random.normal(KEY, (B, T, D))

    def by_hand(params):
        outputs, state = [], DROPPED.initial_state(B)
        for t in range(T):
            output, state = DROPPED(params, inputs[:, t], state, key=jaxrnn.step_key(key, t))
            outputs.append(output)
        return jnp.stack(outputs, 1)

    loss = lambda run: jax.jit(jax.value_and_grad(lambda params: jnp.sum(jnp.sin(run(params)))))
    want = loss(by_hand)(params)
    for memory in ("save", "recompute"):
        run = lambda params: jaxrnn.dynamic_rnn(DROPPED, params, inputs, key=key, memory=memory, chunk_size=3)[0]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), loss(run)(params), want)
    assert np.any(by_hand(params) != jaxrnn.dynamic_rnn(DROPPED, params, inputs)[0])


@pytest.mark.slow
def test_check_cell_with_a_key():
    check_cell(DROPPED, input_size=D, key=KEY)


def test_whether_a_machine_has_started_is_never_dropped():
    inputs, key = jax.random.normal(KEY, (B, T, D)), jax.random.key(1)
    for cell in (jaxrnn.DropoutWrapper(MACHINE, state_keep_prob=0.5), jaxrnn.ZoneoutWrapper(MACHINE, 0.9)):
        for drawn in (key, None):
            _, state = jaxrnn.dynamic_rnn(cell, cell.init(KEY, D), inputs, key=drawn)
            np.testing.assert_array_equal(state.started, np.ones(B, np.int32))


def test_sharp_addresses_of_many_rows_are_shares():
    cell = NTMCell(jaxrnn.GRUCell(4), 128, 3, 1, 1, output_dim=2)
    params = cell.init(KEY, D)
    params["heads"]["bias"] += 20
    outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.random.normal(KEY, (B, 2, D)))
    np.testing.assert_allclose(state.addresses.sum(-1), 1, rtol=1e-5)
    assert np.isfinite(outputs).all()


def test_a_machine_starts_from_what_is_learnt(x64):
    """Without an initial_state, and after a reset without a reset_state."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: (MACHINE.init(KEY, D), MACHINE.initial_state(B)))
    params = jax.tree.map(lambda s: rng.uniform(-0.8, 0.8, s.shape), shapes[0])
    zeros = plain(jax.tree.map(lambda s: np.zeros(s.shape), shapes[1]))
    inputs, resets = rng.standard_normal((B, T, D)), rng.random((B, T)) < 0.3
    step = ntm(oracle.gru(5, True), 4, 2, 1, 1)
    want, last = oracle.rnn(step, params, inputs, zeros, LENGTHS, resets)
    got, state = jaxrnn.dynamic_rnn(MACHINE, params, inputs, sequence_length=LENGTHS, resets=resets)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    for leaf, wanted in zip(jax.tree.leaves(state), oracle.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(state.started, 1.0 * (LENGTHS > 0))


@pytest.mark.slow
def test_a_memory_of_zeros_has_a_gradient():
    params, inputs = MACHINE.init(KEY, D), jnp.ones((B, T, D))
    params |= {"initial_memory": jnp.zeros_like(params["initial_memory"])}
    grads = jax.grad(lambda params: jnp.sum(jaxrnn.dynamic_rnn(MACHINE, params, inputs)[0]))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_the_machine_reads_as_much_as_it_puts_out():
    cell = NTMCell(jaxrnn.GRUCell(5), 1, 1, 1, 1)  # TF1 fails here
    params = cell.init(KEY, D)
    outputs, _ = jaxrnn.dynamic_rnn(cell, params, jnp.ones((B, T, D)))
    assert outputs.shape == (B, T, D)


@pytest.mark.parametrize("cell", [MACHINE, DROPPED, Conv1DLSTMCell((5, 3), 2, (2,))], ids=lambda cell: type(cell).__name__)
def test_no_rows_and_no_steps(cell):
    shape = getattr(cell, "input_shape", (D,))
    params = cell.init(KEY, D)
    for batch, time in ((0, T), (B, 0)):
        outputs, _ = jaxrnn.dynamic_rnn(cell, params, jnp.ones((batch, time, *shape)), key=KEY)
        assert outputs.shape[:2] == (batch, time)


def test_convolutions_on_top_of_each_other():
    stack = jaxrnn.MultiRNNCell([Conv1DLSTMCell((5, 3), 2, (2,)), ConvLSTMCell(1, [5, 2], 4, [3], skip_connection=True)])
    params = stack.init(KEY, None)
    outputs, state = jaxrnn.dynamic_rnn(stack, params, jnp.ones((B, T, 5, 3)))
    assert outputs.shape == (B, T, 5, 6)
    assert state[1].h.shape == (B, 5, 4)


def test_a_kernel_of_less_precision():
    cell = Conv1DLSTMCell((5, 3), 2, (2,))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), cell.init(KEY))
    with jax.numpy_dtype_promotion("standard"):
        outputs, _ = jaxrnn.dynamic_rnn(cell, params, jnp.ones((B, T, 5, 3)))
    assert outputs.dtype == jnp.float32


def test_tf1_has_no_highway_around_a_highway():
    cell = HighwayWrapper(jaxrnn.DropoutWrapper(HighwayWrapper(jaxrnn.LSTMCell(3)), 0.5))
    with pytest.raises(ValueError, match=r"tf1: expected at most one HighwayWrapper around a cell, got HighwayWrapper"):
        jaxrnn.interop.to_tf1(cell, cell.init(KEY, 3))
    stack = jaxrnn.MultiRNNCell([HighwayWrapper(jaxrnn.LSTMCell(3))] * 2)
    names = jaxrnn.interop.to_tf1(stack, stack.init(KEY, 3))
    assert {"rnn/multi_rnn_cell/cell_0/carry_w", "rnn/multi_rnn_cell/cell_1/carry_w"} <= names.keys()
