"""Two directions: aligned outputs, each row reversed by its own length."""

import functools

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


def test_layers_equal_numpy(x64):
    """Each layer reads both directions of the layer below: two kinds of cells, states given for one, gradients too."""
    rng = np.random.default_rng(7)
    params_fw, inputs, state_fw = problem(FW)
    params_bw, _, state_bw = problem(BW, seed=5)
    width = FW.cell.output_size + BW.cell.output_size
    random = lambda cell, size: jax.tree.map(
        lambda leaf: rng.uniform(-0.8, 0.8, leaf.shape), jax.eval_shape(lambda: cell.init(jax.random.key(0), size))
    )
    params = [(params_fw, params_bw), (random(BW.cell, width), random(FW.cell, width))]
    zeros = np.zeros((B, BW.cell.num_units)), (np.zeros((B, FW.cell.num_units)),) * 2

    def in_numpy(params, inputs):
        one_fw, end_fw = oracle.rnn(FW.step, params[0][0], inputs, plain(state_fw), LENGTHS)
        one_bw, end_bw = oracle.rnn(BW.step, params[0][1], inputs, state_bw, LENGTHS, reverse=True)
        both = np.concatenate([one_fw, one_bw], axis=2)
        two_fw, last_fw = oracle.rnn(BW.step, params[1][0], both, zeros[0], LENGTHS)
        two_bw, last_bw = oracle.rnn(FW.step, params[1][1], both, zeros[1], LENGTHS, reverse=True)
        return np.concatenate([two_fw, two_bw], axis=2), (end_fw, last_fw), (end_bw, last_bw)

    def run(params, inputs, **options):
        cells = [FW.cell, BW.cell], [BW.cell, FW.cell]
        states = {"initial_states_fw": [state_fw, None], "initial_states_bw": [state_bw, None]}
        return jaxrnn.stack_bidirectional_dynamic_rnn(*cells, params, inputs, sequence_length=LENGTHS, **states, **options)

    swap = lambda array: np.swapaxes(array, 0, 1)
    want = in_numpy(params, inputs)
    weights = rng.standard_normal(want[0].shape)

    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_results(params):
        outputs, *states = run(params, swap(inputs), time_major=True)
        return (swap(outputs) * weights).sum(), (swap(outputs), *states)

    gradient, results = jax.jit(gradient_and_results)(params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    jax.tree.map(close, jax.tree.leaves(results), jax.tree.leaves(want))
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), params)
    moved = lambda step: (in_numpy(jax.tree.map(lambda p, d: p + step * d, params, direction), inputs)[0] * weights).sum()
    slope = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
    np.testing.assert_allclose(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-6)


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


def test_masks_and_resets_in_both_directions(x64):
    """An episode alone gives what it gives beside others, holes and all: row by row, the steps that are run, one run each."""
    (params_fw, inputs, state_fw), (params_bw, _, state_bw) = problem(FW), problem(BW)
    rng = np.random.default_rng(8)
    resets, mask = rng.random((B, T)) < 0.4, rng.random((B, T)) < 0.6
    again_fw, again_bw = (jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape)), s) for s in (state_fw, state_bw))
    options = {"sequence_length": LENGTHS, "resets": resets, "mask": mask}
    options |= {"initial_state_fw": state_fw, "initial_state_bw": state_bw}
    options |= {"reset_state_fw": again_fw, "reset_state_bw": again_bw}
    both = FW.cell, BW.cell, (params_fw, params_bw)
    (fw, bw), ends = jaxrnn.bidirectional_dynamic_rnn(*both, inputs, **options)
    steps, *static_ends = jaxrnn.static_bidirectional_rnn(*both, [inputs[:, t] for t in range(T)], **options)
    np.testing.assert_allclose(jnp.concatenate([fw, bw], 2), jnp.stack(steps, 1), rtol=1e-10, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), tuple(ends), tuple(static_ends))

    within = np.arange(T) < LENGTHS[:, None]
    begins = np.cumsum(resets & within, 1)  # the number of the episode that a step belongs to
    for b in range(B):
        run_at = [t for t in range(T) if within[b, t] and mask[b, t]]
        for episode in range(begins[b].max() + 1):
            at = [t for t in run_at if begins[b, t] == episode]
            if not at:
                continue
            row = lambda tree, b=b: jax.tree.map(lambda leaf: leaf[b : b + 1], tree)
            start_fw = again_fw if episode else state_fw
            last = episode == begins[b].max() and not (resets & within)[b, LENGTHS[b] :].any()
            start_bw = state_bw if last else again_bw
            one = inputs[b : b + 1, at]
            want_fw, _ = oracle.rnn(FW.step, params_fw, one, plain(row(start_fw)))
            want_bw, _ = oracle.rnn(BW.step, params_bw, one, row(start_bw), reverse=True)
            np.testing.assert_allclose(fw[b, at], want_fw[0], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(bw[b, at], want_bw[0], rtol=1e-10, atol=1e-12)


def test_the_directions_draw_apart():
    cell = jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(3), output_keep_prob=0.5)
    params = cell.init(jax.random.key(0), 3)
    inputs = jax.random.normal(jax.random.key(1), (2, 5, 3))
    key = jax.random.key(2)
    (fw, bw), _ = jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, key=key)
    assert np.any((fw == 0) != (bw == 0))
    steps, *_ = jaxrnn.static_bidirectional_rnn(cell, cell, (params, params), [inputs[:, t] for t in range(5)], key=key)
    np.testing.assert_allclose(jnp.stack(steps, 1), jnp.concatenate([fw, bw], 2), rtol=1e-5)


def test_layers_draw_apart():
    """Layer i has the key of `fold_in(key, i)`, so that none repeats another's masks."""
    cell, key = jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(3), output_keep_prob=0.5), jax.random.key(2)
    inputs = jax.random.normal(jax.random.key(1), (2, 5, 3))
    params = [(cell.init(jax.random.key(i), size),) * 2 for i, size in enumerate((3, 6))]
    outputs, *_ = jaxrnn.stack_bidirectional_dynamic_rnn([cell] * 2, [cell] * 2, params, inputs, key=key)
    below, _ = jaxrnn.bidirectional_dynamic_rnn(cell, cell, params[0], inputs, key=jax.random.fold_in(key, 0))
    both = jnp.concatenate(below, 2)
    above, _ = jaxrnn.bidirectional_dynamic_rnn(cell, cell, params[1], both, key=jax.random.fold_in(key, 1))
    np.testing.assert_allclose(outputs, jnp.concatenate(above, 2), rtol=1e-5)
    assert np.any((outputs == 0) != (both == 0))
