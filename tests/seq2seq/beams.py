"""Beam search in float64 numpy, one example and one hypothesis at a time, and the decoders of its goldens."""

import functools
import itertools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.interop import from_tf1
from jaxrnn.seq2seq import (
    AttentionWrapper,
    BeamSearchDecoder,
    Dense,
    GreedyEmbeddingHelper,
    LuongAttention,
    LuongMonotonicAttention,
    dynamic_decode,
    tile_batch,
)
from tests import oracle

FOLDER = pathlib.Path(__file__).parent.parent / "goldens" / "contrib"
SMALLEST = float(np.finfo(np.float32).min)
END, STEPS = 0, 8


class Hypothesis(NamedTuple):
    """What is known of one; `words` has its end token once."""

    words: tuple
    log_prob: float
    finished: bool
    length: int
    state: Any
    cover: Any
    alignments: tuple
    score: float = 0.0
    word: int = -1  # what the model reads next
    parent: int = 0


def log_softmax(logits):
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def search(model, start, state, width, steps, length=0.0, coverage=0.0, tf1=False, first_cover=0.0):
    """The K hypotheses after each step, best first.

    Args:
      model: `(word, state) -> (logits [V], state, alignments [M])`.
      tf1: whether penalties count the end token, and the coverage, one step late, as TF1's do.
      first_cover: the coverage to start from.
    """
    new = Hypothesis((), 0.0, False, 0, state, first_cover, (), word=start)
    beams, history = [new] + [new._replace(log_prob=-np.inf, finished=True)] * (width - 1), []
    for _ in range(steps):
        candidates = []
        for k, hypothesis in enumerate(beams):
            logits, state, seen = model(hypothesis.word, hypothesis.state)
            log_p = log_softmax(np.asarray(logits, float))
            if not hypothesis.finished and seen is not None:
                hypothesis = hypothesis._replace(
                    cover=hypothesis.cover + seen, alignments=(*hypothesis.alignments, np.asarray(seen))
                )
            for word in range(len(log_p)):
                candidates.append(extended(hypothesis, k, word, log_p[word], state, length, coverage, tf1))
        beams = sorted(candidates, key=lambda c: -c.score)[:width]  # sorted keeps the order of equal ones
        history.append(beams)
    return history


def extended(old, k, word, log_p, state, length, coverage, tf1):
    if old.finished:
        log_p = 0.0 if word == END else SMALLEST
    total = old.log_prob + log_p
    total = total if total >= 1.5 * SMALLEST else -np.inf  # as float32 has it
    counted = 0 if old.finished or (tf1 and word == END) else 1
    score = total / ((5 + old.length + counted) / 6) ** length
    if coverage and (old.finished or (word == END and not tf1)):
        score += coverage * sum(np.log(min(c, 1.0)) for c in np.atleast_1d(old.cover) if c != 0)
    return old._replace(
        words=old.words if old.finished else (*old.words, word),
        log_prob=total,
        finished=old.finished or word == END,
        length=old.length + (not old.finished),
        state=state,
        score=score,
        word=word,
        parent=k,
    )


def every_sequence(words, steps):
    """All that can be said in as many steps: sequences that end early, and those that are cut off."""
    others = [word for word in range(words) if word != END]
    for n in range(1, steps + 1):
        yield from ((*prefix, END) for prefix in itertools.product(others, repeat=n - 1))
    yield from itertools.product(others, repeat=steps)


# ---- goldens

GRU = jaxrnn.GRUCell(5, reset_after=False)
MEMORY_LENGTHS = np.array([4, 2, 3], np.int32)
LUONG = AttentionWrapper(GRU, LuongAttention(5, 6), attention_layer_size=2)
MONOTONIC = AttentionWrapper(GRU, LuongMonotonicAttention(5, 6), attention_layer_size=2)
CASES = {
    "beam": (GRU, {}),
    "beam_length_penalty": (GRU, {"length_penalty_weight": 1.0}),
    "beam_length_penalty_small": (GRU, {"length_penalty_weight": 0.3}),
    "beam_no_end": (GRU, {}),
    "beam_small_vocabulary": (GRU, {"beam_width": 5}),
    "beam_attention": (LUONG, {}),
    "beam_coverage": (LUONG, {"coverage_penalty_weight": 0.4, "length_penalty_weight": 0.6}),
    "beam_coverage_monotonic": (MONOTONIC, {"coverage_penalty_weight": 0.4}),
}


@functools.cache
def golden(case):
    with np.load(FOLDER / "beam.npz") as file:
        return {key.removeprefix(f"{case}/"): value for key, value in file.items() if key.startswith(f"{case}/")}


def weights(case):
    """The cell's params, without a memory, and the output layer's."""
    variables = {key.removeprefix("variables/"): value for key, value in golden(case).items() if key.startswith("variables/")}
    layer = {name: variables.pop(f"decoder/dense/{name}") for name in ("kernel", "bias")}
    return from_tf1(CASES[case][0], variables), layer


def starts(data):
    return np.arange(3, dtype=np.int32) % (len(data["embedding"]) - 1) + 1


def decoder_of(case):
    cell, options = CASES[case]
    return BeamSearchDecoder(cell, **{"beam_width": 3, "output_layer": Dense(len(golden(case)["embedding"])), **options})


def decode(case, maximum_iterations=STEPS):
    """jaxrnn's hypotheses."""
    data, decoder = golden(case), decoder_of(case)
    params, layer = weights(case)
    state = tile_batch(data["initial"], decoder.beam_width)
    if "memory" in data:
        memory = tile_batch((data["memory"], MEMORY_LENGTHS), decoder.beam_width)
        params = decoder.cell.with_memory(params, *memory)
        state = decoder.cell.zero_state(params)._replace(cell_state=state)
    helper = GreedyEmbeddingHelper(data["embedding"], starts(data), END)
    params = {"cell": params, "output_layer": layer}
    return dynamic_decode(decoder, params, helper, state, maximum_iterations=maximum_iterations)


def model_of(case, row):
    """One example's model and state for `search`. Attention is run by jaxrnn; its own goldens hold it to TF1."""
    cell, data = CASES[case][0], golden(case)
    params, layer = weights(case)
    if cell == GRU:
        params, step = jax.tree.map(lambda leaf: np.asarray(leaf, float), params), oracle.gru(5, reset_after=False)
        run = lambda x, state: (*step(params, x, state, 0, 0), None)
        state = data["initial"][row].astype(float)
    else:
        params = cell.with_memory(params, data["memory"][row : row + 1], MEMORY_LENGTHS[row : row + 1])
        state = cell.zero_state(params)._replace(cell_state=jnp.asarray(data["initial"][row : row + 1]))
        step = jax.jit(lambda x, state: cell(params, x[None], state))

        def run(x, state):
            output, new = step(x, state)
            return np.asarray(output[0], float), new, np.asarray(new.alignments[0], float)

    def model(word, state):
        output, state, seen = run(data["embedding"][word], state)
        return output @ layer["kernel"].astype(float) + layer["bias"], state, seen

    return model, state


def found(case, tf1, steps):
    """What `search` finds for the three examples, row by row."""
    decoder = decoder_of(case)
    rows = []
    for row, start in enumerate(starts(golden(case))):
        model, state = model_of(case, row)
        cover = np.asarray(state.alignments[0], float) if tf1 and hasattr(state, "alignments") else 0.0
        options = {"length": decoder.length_penalty_weight, "coverage": decoder.coverage_penalty_weight}
        rows.append(search(model, start, state, decoder.beam_width, steps, tf1=tf1, first_cover=cover, **options))
    return rows
