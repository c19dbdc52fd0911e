"""Beam search: the hypotheses of TF1 where it has no defect, of numpy everywhere, and the best of all there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.seq2seq import (
    AttentionWrapper,
    BasicDecoder,
    BeamSearchDecoder,
    Dense,
    GreedyEmbeddingHelper,
    LuongAttention,
    dynamic_decode,
    gather_tree,
    tile_batch,
)
from tests.seq2seq import beams
from tests.seq2seq.beams import CASES, END, STEPS, decode, every_sequence, found, golden, log_softmax

CLOSE = {"rtol": 2e-5, "atol": 2e-5}
PLAIN = [case for case, (_, options) in CASES.items() if not any("penalty" in name for name in options)]


@pytest.mark.parametrize("case", PLAIN)
def test_equals_tf1(case):
    data = golden(case)
    outputs, state, lengths = decode(case)
    selected, steps = outputs.beam_search_decoder_output, data["words"].shape[1]
    for name, got in (("scores", selected.scores), ("words", selected.predicted_ids), ("parents", selected.parent_ids)):
        np.testing.assert_allclose(got[:, :steps], data[name], **CLOSE, err_msg=name)
        assert not np.asarray(got[:, steps:]).any()
    np.testing.assert_array_equal(outputs.predicted_ids[:, :steps], data["predicted_ids"])
    assert (np.asarray(outputs.predicted_ids[:, steps:]) == END).all()
    np.testing.assert_allclose(state.log_probs, data["log_probs"], **CLOSE)
    np.testing.assert_array_equal(state.finished, data["finished"])
    np.testing.assert_array_equal(lengths, data["lengths"])
    np.testing.assert_array_equal(state.lengths, lengths)
    assert {leaf.dtype for leaf in (lengths, outputs.predicted_ids, selected.parent_ids)} == {jnp.dtype("int32")}


@pytest.mark.parametrize("case", CASES)
def test_numpy_with_the_rules_of_tf1_equals_tf1(case):
    """So numpy's search can be trusted where the rules are others."""
    data = golden(case)
    steps = data["words"].shape[1]
    for row, history in enumerate(found(case, True, steps)):
        for name, field in (("scores", "score"), ("words", "word"), ("parents", "parent")):
            want = [[getattr(hypothesis, field) for hypothesis in step] for step in history]
            np.testing.assert_allclose(data[name][row], want, **CLOSE, err_msg=f"{name} of row {row}")
        last = [(h.log_prob, h.finished, h.length) for h in history[-1]]
        got = zip(data["log_probs"][row], data["finished"][row], data["lengths"][row], strict=True)
        np.testing.assert_allclose(list(got), last, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_equals_numpy(case):
    outputs, state, lengths = decode(case)
    selected = outputs.beam_search_decoder_output
    for row, history in enumerate(found(case, False, STEPS)):
        run = int(lengths.max())
        for name, field in (("scores", "score"), ("predicted_ids", "word"), ("parent_ids", "parent")):
            want = [[getattr(hypothesis, field) for hypothesis in step] for step in history[:run]]
            np.testing.assert_allclose(getattr(selected, name)[row, :run], want, **CLOSE, err_msg=f"{name} of row {row}")
        for k, hypothesis in enumerate(history[-1]):
            words = list(hypothesis.words) + [END] * (STEPS - len(hypothesis.words))
            np.testing.assert_array_equal(outputs.predicted_ids[row, :, k], words)
            assert (int(lengths[row, k]), bool(state.finished[row, k])) == (hypothesis.length, hypothesis.finished)
            np.testing.assert_allclose(state.log_probs[row, k], hypothesis.log_prob, **CLOSE)
            if "memory" in golden(case):
                got, steps = np.asarray(outputs.alignments[row, :, k]), len(hypothesis.alignments)
                np.testing.assert_allclose(got[:steps], hypothesis.alignments, **CLOSE)
                assert not got[steps:].any()
    if "memory" not in golden(case):
        assert outputs.alignments == ()


@pytest.mark.parametrize("case", CASES)
def test_the_score_of_a_finished_hypothesis_stays(case):
    outputs, _, lengths = decode(case)
    scores, words, parents = (np.asarray(part) for part in outputs.beam_search_decoder_output)
    for row in range(3):
        finished = np.zeros(scores.shape[2], bool)
        for t in range(1, int(lengths.max())):
            finished = finished[parents[row, t - 1]] | (words[row, t - 1] == END)
            stays = finished[parents[row, t]] & (words[row, t] == END)
            before = scores[row, t - 1, parents[row, t]]
            np.testing.assert_allclose(scores[row, t, stays], before[stays], rtol=1e-6)


WORDS, LAST = 3, 4
CELL = AttentionWrapper(jaxrnn.GRUCell(4), LuongAttention(4, 2), attention_layer_size=3)


@pytest.mark.parametrize(("length", "coverage"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.5), (0.7, 0.3)])
def test_a_beam_of_all_hypotheses_finds_them_in_order(length, coverage, x64):
    """Each sequence is scored alone, from the docstring's formula, and all of them are sorted."""
    rng = np.random.default_rng(4)
    layer, embedding, memory = rng.normal(size=(3, WORDS)) * 2, rng.normal(size=(WORDS, 3)), rng.normal(size=(1, 5, 2))
    cell = CELL.init(jax.random.key(1), 3, jnp.float64)
    sequences = list(every_sequence(WORDS, LAST))
    width = len(sequences)
    params = CELL.with_memory(cell, *tile_batch((memory, jnp.array([4])), width))
    decoder = BeamSearchDecoder(CELL, width, lambda w, outputs: outputs @ w, length, coverage)
    outputs, _, lengths = dynamic_decode(
        decoder, {"cell": params, "output_layer": layer}, GreedyEmbeddingHelper(embedding, [1], END),
        CELL.zero_state(params), maximum_iterations=LAST,
    )  # fmt: skip

    alone = CELL.with_memory(cell, memory, jnp.array([4]))
    step = jax.jit(lambda word, state: CELL(alone, jnp.asarray(embedding)[word][None], state))

    def score(words):
        state, total, cover, word = CELL.zero_state(alone), 0.0, np.zeros(5), 1
        for following in words:
            output, state = step(word, state)
            total += log_softmax(np.asarray(output[0]) @ layer)[following]
            cover, word = cover + np.asarray(state.alignments[0]), following
        total /= ((5 + len(words)) / 6) ** length
        return total + (coverage * np.log(np.minimum(cover[:4], 1)).sum() if words[-1] == END else 0)

    want = sorted(((score(words), words) for words in sequences), reverse=True)
    scores = outputs.beam_search_decoder_output.scores[0, -1]
    np.testing.assert_allclose(scores, [score for score, _ in want], rtol=1e-10)
    for k, (_, words) in enumerate(want):
        np.testing.assert_array_equal(outputs.predicted_ids[0, : len(words), k], words)
        assert lengths[0, k] == len(words)


# ---- with a plain cell

GRU = jaxrnn.GRUCell(4)
B, V, E = 3, 6, 2
DECODER = BeamSearchDecoder(GRU, 3, Dense(V), length_penalty_weight=0.5)


def problem(dtype=jnp.float32):
    """Params and embedding, and the state for one hypothesis a row."""
    keys = jax.random.split(jax.random.key(5), 4)
    layer = Dense(V).init(keys[1], 4, dtype)
    params = {"cell": GRU.init(keys[0], E, dtype), "output_layer": {**layer, "bias": layer["bias"].at[END].add(0.5)}}
    return params, jax.random.normal(keys[2], (V, E), dtype), jax.random.normal(keys[3], (B, 4), dtype)


def run(params, embedding, state, decoder=DECODER, **options):
    helper = GreedyEmbeddingHelper(embedding, jnp.array([1, 2, 3]), END)
    state = tile_batch(state, decoder.beam_width) if isinstance(decoder, BeamSearchDecoder) else state
    return dynamic_decode(decoder, params, helper, state, **{"maximum_iterations": 6, **options})


def test_one_beam_is_greedy():
    outputs, state, lengths = run(*problem(), decoder=BeamSearchDecoder(GRU, 1, Dense(V)))
    greedy, _, steps = run(*problem(), decoder=BasicDecoder(GRU, Dense(V)))
    within = np.arange(6) < np.asarray(steps)[:, None]
    np.testing.assert_array_equal(outputs.predicted_ids[..., 0], np.where(within, greedy.sample_id, END))
    np.testing.assert_array_equal(lengths[:, 0], steps)
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(greedy.rnn_output), greedy.sample_id[..., None], -1)[..., 0]
    np.testing.assert_allclose(state.log_probs[:, 0], jnp.sum(jnp.where(within, log_probs, 0), 1), **CLOSE)


def test_rows_know_nothing_of_each_other():
    params, embedding, state = problem()
    outputs, *_ = run(params, embedding, state)
    for row, start in enumerate([1, 2, 3]):
        helper = GreedyEmbeddingHelper(embedding, jnp.array([start]), END)
        one, *_ = dynamic_decode(DECODER, params, helper, tile_batch(state[row : row + 1], 3), maximum_iterations=6)
        np.testing.assert_array_equal(one.predicted_ids[0], outputs.predicted_ids[row])


def test_time_major_and_memory_modes_and_transforms():
    point = problem()
    want = run(*point)
    close = lambda a, b: jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), a, b)
    outputs, state, lengths = run(*point, output_time_major=True)
    close((jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), outputs), state, lengths), want)
    close(run(*point, memory="recompute", chunk_size=4), want)
    close(jax.jit(run)(*point), want)
    many = jax.vmap(run, (None, 0, None))(point[0], jnp.stack([point[1], -point[1]]), point[2])
    close(jax.tree.map(lambda leaf: leaf[0], many), want)
    close(jax.tree.map(lambda leaf: leaf[1], many), run(point[0], -point[1], point[2]))
    program = jax.export.export(jax.jit(run))(*point)
    close(program.call(*point), want)


def test_gradients_of_scores(x64):
    """Of the scores of what is found, by finite differences and in both modes."""
    point = problem(jnp.float64)

    def value(point):
        outputs, state, _ = run(*point)
        return jnp.sum(jnp.sin(outputs.beam_search_decoder_output.scores)) + jnp.sum(state.log_probs)

    gradient = jax.jit(jax.grad(value))(point)
    tangent = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype), point)
    along = sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(tangent)))
    at = jax.jit(lambda h: value(jax.tree.map(lambda leaf, d: leaf + h * d, point, tangent)))
    np.testing.assert_allclose(along, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda: jax.jvp(value, (point,), (tangent,))[1])(), along, rtol=1e-9)


def test_bfloat16_sums_in_float32():
    outputs, state, _ = run(*problem(jnp.bfloat16))
    assert state.cell_state.dtype == jnp.bfloat16
    assert state.log_probs.dtype == outputs.beam_search_decoder_output.scores.dtype == jnp.float32


def test_no_steps():
    outputs, state, lengths = run(*problem(), maximum_iterations=0)
    assert outputs.predicted_ids.shape == (3, 0, 3)
    assert not lengths.any()
    np.testing.assert_array_equal(state.cell_state[:, 0], problem()[2])


# ---- trees


@pytest.mark.parametrize("end", [1, 5])
def test_gather_tree_equals_tf1(end):
    data = golden("gather_tree")
    got = gather_tree(data["step_ids"], data["parent_ids"], data["max_sequence_lengths"], end)
    np.testing.assert_array_equal(got, data[f"end_{end}"])


def test_gather_tree_takes_any_end_token():
    words = jnp.array([[[3]], [[-1]], [[4]]])
    assert gather_tree(words, jnp.zeros_like(words), jnp.array([3]), -1)[:, 0, 0].tolist() == [3, -1, -1]


def test_lengths_may_be_small_integers():
    rng = np.random.default_rng(0)
    words, parents = rng.integers(1, 9, (200, 1, 3)), rng.integers(0, 3, (200, 1, 3))
    trees = [gather_tree(words, parents, np.array([100], dtype), 0) for dtype in (np.int8, np.int32)]
    np.testing.assert_array_equal(*trees)


def test_a_parent_outside_counts_as_the_nearest():
    words, parents = jnp.array([[[3, 4]], [[5, 6]]]), jnp.array([[[0, 0]], [[7, -1]]])
    assert gather_tree(words, parents, jnp.array([2]), 0)[0, 0].tolist() == [4, 3]


def test_tile_batch_repeats_rows_of_a_structure():
    tiled = tile_batch({"a": jnp.arange(4).reshape(2, 2), "b": jnp.float32(3)}, 2)
    assert tiled["a"].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert tiled["b"] == 3


def test_golden_cases_have_beams_that_change_places():
    """Else nothing above would show which beam goes on from which."""
    for case in CASES:
        parents = golden(case)["parents"]
        assert (parents[:, 1:] != np.arange(parents.shape[2])).any(), case
    assert {cell for cell, _ in CASES.values()} == {beams.GRU, beams.LUONG, beams.MONOTONIC}
