"""Two directions: aligned outputs, each row reversed by its own length."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from tests import oracle
from tests.rows import LENGTHS, ROWS, B, T, plain, problem

FW, BW = (next(row for row in ROWS if row.name == name) for name in ("lstm_peephole", "gru"))


def test_both_runners_equal_numpy(x64):
    params_fw, inputs, state_fw = problem(FW)
    params_bw, _, state_bw = problem(BW, seed=5)
    want_fw, last_fw = oracle.rnn(FW.step, params_fw, inputs, plain(state_fw), LENGTHS)
    want_bw, last_bw = oracle.rnn(BW.step, params_bw, inputs, state_bw, LENGTHS, reverse=True)
    options = {"sequence_length": LENGTHS, "initial_state_fw": state_fw, "initial_state_bw": state_bw}
    args = FW.cell, BW.cell, (params_fw, params_bw)

    (fw, bw), (end_fw, end_bw) = jaxrnn.bidirectional_dynamic_rnn(*args, inputs, chunk_size=3, **options)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    jax.tree.map(close, (fw, bw, tuple(end_fw), end_bw), (want_fw, want_bw, last_fw, last_bw))

    steps, end_fw, end_bw = jaxrnn.static_bidirectional_rnn(*args, [inputs[:, t] for t in range(T)], **options)
    both = np.concatenate([want_fw, want_bw], axis=2)
    jax.tree.map(close, (np.stack(steps, 1), tuple(end_fw), end_bw), (both, last_fw, last_bw))


def test_palindromes_are_symmetric():
    """TF1's testBidirectionalRNN: the same weights both ways on mirrored rows give mirrored outputs."""
    cell = jaxrnn.LSTMCell(5)
    params = cell.init(jax.random.key(0), 3)
    half = jax.random.normal(jax.random.key(1), (2, 2, 3))
    inputs = jnp.concatenate([half, half[:, ::-1], jnp.full((2, 3, 3), jnp.nan)], 1)
    lengths = jnp.array([4, 4])
    (fw, bw), (end_fw, end_bw) = jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, sequence_length=lengths)
    np.testing.assert_allclose(fw[:, :4], bw[:, 3::-1], rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), end_fw, end_bw)


def test_resets_part_a_packed_row_in_both_directions(x64):
    """Two sequences in one row give what they give alone."""
    params_bw, inputs, _ = problem(BW)
    params_fw, _, _ = problem(FW)
    resets = np.zeros((B, T), bool)
    resets[:, 3] = True
    run = lambda x, **options: jaxrnn.bidirectional_dynamic_rnn(FW.cell, BW.cell, (params_fw, params_bw), x, **options)
    packed, (end_fw, end_bw) = run(inputs, resets=resets)
    first, (_, first_bw) = run(inputs[:, :3])
    second, (second_fw, _) = run(inputs[:, 3:])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10)
    jax.tree.map(lambda a, b, c: close(a, np.concatenate([b, c], 1)), packed, first, second)
    jax.tree.map(close, (end_fw, end_bw), (second_fw, first_bw))


def test_the_directions_draw_apart():
    cell = jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(3), output_keep_prob=0.5)
    params = cell.init(jax.random.key(0), 3)
    inputs = jax.random.normal(jax.random.key(1), (2, 5, 3))
    key = jax.random.key(2)
    (fw, bw), _ = jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, key=key)
    assert np.any((fw == 0) != (bw == 0))
    steps, *_ = jaxrnn.static_bidirectional_rnn(cell, cell, (params, params), [inputs[:, t] for t in range(5)], key=key)
    np.testing.assert_allclose(jnp.stack(steps, 1), jnp.concatenate([fw, bw], 2), rtol=1e-5)
