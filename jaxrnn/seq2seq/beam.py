"""A decoder of several hypotheses a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import register_namedtuple_serialization

from jaxrnn import check
from jaxrnn.engine.masking import zero_padding
from jaxrnn.seq2seq.basic import run_cell
from jaxrnn.seq2seq.decoder import Decoder
from jaxrnn.seq2seq.helpers import GreedyEmbeddingHelper, rows
from jaxrnn.seq2seq.trees import along_paths, paths, pick, words_of_paths
from jaxrnn.typing import State, Tree


class BeamSearchDecoderState(NamedTuple):
    """The K hypotheses of each row, the best first.

    Attributes:
      cell_state: the cell's, leaves `[B, K, ...]`.
      log_probs: the logarithm of each hypothesis' probability, `[B, K]`, in float32 at least.
      finished: booleans `[B, K]`: it has an end token.
      lengths: words, its end token among them, int32 `[B, K]`.
      accumulated_attention_probs: the sum of its steps' alignments, `[B, K, M]`, with a coverage penalty, else ().
    """

    cell_state: Any
    log_probs: jax.Array
    finished: jax.Array
    lengths: jax.Array
    accumulated_attention_probs: Any


class BeamSearchDecoderOutput(NamedTuple):
    """What a step selects, here for all steps: candidates by place, not yet along the hypotheses.

    Attributes:
      scores: of each candidate, with its penalties, `[B, T, K]`.
      predicted_ids: its last word, int32 `[B, T, K]`.
      parent_ids: which hypothesis of the step before it goes on from, int32 `[B, T, K]`.
    """

    scores: jax.Array
    predicted_ids: jax.Array
    parent_ids: jax.Array


class FinalBeamSearchDecoderOutput(NamedTuple):
    """The hypotheses, the best first.

    Attributes:
      predicted_ids: the words of hypothesis k, int32 `[B, T, K]`, the end token from its end on.
      beam_search_decoder_output: what each step selected.
      alignments: `alignments` of the state along hypothesis k, `[B, T, K, M]`, zeros past its end; () if the state has none.
    """

    predicted_ids: jax.Array
    beam_search_decoder_output: BeamSearchDecoderOutput
    alignments: Any


for kind in (BeamSearchDecoderState, BeamSearchDecoderOutput, FinalBeamSearchDecoderOutput):
    register_namedtuple_serialization(kind, serialized_name=f"jaxrnn.seq2seq.{kind.__name__}")


@dataclasses.dataclass(frozen=True)
class BeamSearchDecoder(Decoder):
    """Beam search (Graves, 2012, arXiv:1211.3711), with the penalties of Wu et al. (2016, arXiv:1609.08144); TF1's
    `tf.contrib.seq2seq.BeamSearchDecoder`.

    Of K hypotheses a row, a step makes K V candidates, one for each word, and keeps the best K:

        log p' = log p + log_softmax(logits)             a finished one goes on with the end token alone, at no cost
        n      = words with this one, the end token counted; of a finished one they stay
        score  = log p' / ((5 + n) / 6)^w + q sum_m log(min(cover_m, 1))        the second term if it ends, or has ended

    cover is the sum of the alignments so far; a position that nothing looked at (cover 0) costs nothing. Of equal scores the
    first is the best, by hypothesis and then by word. A row ends when its K hypotheses have.

    Attributes:
      cell: a cell whose outputs, after the output layer, are logits `[B K, V]`.
      beam_width: K.
      output_layer: as for `BasicDecoder`.
      length_penalty_weight: w; 0 is none.
      coverage_penalty_weight: q; 0 is none. With it the state, or a part of it, has `alignments`, as AttentionWrapper's has.

    Run it by `dynamic_decode` with a `GreedyEmbeddingHelper` for the embedding, start tokens `[B]` and the end token. All that
    the cell reads of an example is there K times, by `tile_batch`: the initial state, the memory and its lengths.

    Params: as for `BasicDecoder`. Outputs: `FinalBeamSearchDecoderOutput`. State: `BeamSearchDecoderState`. Lengths: int32
    `[B, K]`, along the hypotheses.

    Unlike TF1's: the score of a finished hypothesis stays as it is, where TF1 counts the end token, and what the coverage
    costs, from the next step on; hypotheses are traced back from the last step that was run, not from a row's longest one,
    with their lengths and alignments; the coverage starts at zeros, also with monotonic attention. Without penalties all
    candidates and scores are TF1's.

    Raises:
      TypeError, ValueError: if beam_width is below 1 or a weight not finite; when run, if the initial state has not B K rows,
        if the state has no alignments beside a coverage penalty, or with impute_finished.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.OutputProjectionWrapper(jaxrnn.GRUCell(num_units=5), output_size=7)
      >>> params, embedding = cell.init(jax.random.key(0), input_size=3), jax.random.normal(jax.random.key(1), (7, 3))
      >>> helper = jaxrnn.seq2seq.GreedyEmbeddingHelper(embedding, start_tokens=jnp.ones(4, int), end_token=0)
      >>> decoder = jaxrnn.seq2seq.BeamSearchDecoder(cell, beam_width=2, length_penalty_weight=0.6)
      >>> state = jaxrnn.seq2seq.tile_batch(cell.initial_state(4), 2)
      >>> outputs, state, lengths = jaxrnn.seq2seq.dynamic_decode(decoder, params, helper, state, maximum_iterations=10)
      >>> outputs.predicted_ids.shape, lengths.shape
      ((4, 10, 2), (4, 2))
    """

    cell: Any
    beam_width: int
    output_layer: Callable | None = None
    length_penalty_weight: float = 0.0
    coverage_penalty_weight: float = 0.0

    tracks_own_finished = True
    can_impute = False

    def __post_init__(self) -> None:
        check.is_cell(self.cell, type(self).__name__)
        check.at_least_one(self, beam_width=self.beam_width)
        check.functions(self, output_layer=self.output_layer)
        check.finite(
            self,
            length_penalty_weight=self.length_penalty_weight,
            coverage_penalty_weight=self.coverage_penalty_weight,
        )

    def initialize(self, params, helper, initial_state):
        name, width = type(self).__name__, self.beam_width
        check.helper_of_kind(name, helper, GreedyEmbeddingHelper)
        start, _ = helper.tokens()
        batch = start.shape[0]
        check.beams(name, initial_state, batch, width)
        cell_state = self._by_row(check.as_state(self.cell, initial_state, batch * width))
        first = jnp.broadcast_to(jnp.arange(width) == 0, (batch, width))
        cover = jnp.zeros_like(self._alignments(cell_state)) if self.coverage_penalty_weight else ()
        log_probs = jnp.where(first, 0.0, -jnp.inf).astype(_dtype_of(cell_state))
        state = BeamSearchDecoderState(cell_state, log_probs, ~first, jnp.zeros((batch, width), jnp.int32), cover)
        return ~first, helper.embed(jnp.repeat(start, width)), state

    def step(self, params, helper, time, inputs, state, key):
        _, end_token = helper.tokens()
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]) if leaf.ndim else leaf, state.cell_state)
        logits, cell_state = run_cell(self, params, inputs, flat, key)
        check.logits(type(self).__name__, logits, rows(helper.embedding))
        cell_state = self._by_row(check.like(flat, cell_state))
        selected, state = self._select(logits, state._replace(cell_state=cell_state), end_token)
        outputs = selected, getattr(state.cell_state, "alignments", ())
        return outputs, state, helper.embed(selected.predicted_ids.reshape(-1)), state.finished

    def finalize(self, helper, outputs, state, lengths):
        selected, alignments = outputs
        _, end_token = helper.tokens()
        run = jnp.broadcast_to(jnp.max(lengths, initial=0), lengths.shape[:1])  # steps, of any row: from there it goes back
        path = paths(selected.parent_ids, run)
        words = words_of_paths(selected.predicted_ids, path, run, end_token)
        time = jnp.arange(path.shape[0], dtype=jnp.int32)
        within = jax.vmap(lambda t: t < state.lengths)(time)
        alignments = zero_padding(within, along_paths(alignments, path))
        return FinalBeamSearchDecoderOutput(words, selected, alignments), state, state.lengths

    def _select(self, logits: jax.Array, state: BeamSearchDecoderState, end_token: jax.Array) -> tuple[Any, Any]:
        """The best K of K V candidates."""
        flat = lambda leaf: leaf.reshape(leaf.shape[0], -1)
        log_p, scores, cover = self._candidates(logits, state, end_token)
        best, index = lax.top_k(flat(scores), self.beam_width)
        parents, words = (part.astype(jnp.int32) for part in jnp.divmod(index, logits.shape[-1]))
        of_parents = lambda tree: jax.tree.map(lambda leaf: pick(leaf, parents) if leaf.ndim else leaf, tree)
        new = BeamSearchDecoderState(
            cell_state=of_parents(state.cell_state),
            log_probs=pick(flat(log_p), index),
            finished=of_parents(state.finished) | (words == end_token),
            lengths=of_parents(_lengths_with_this_word(state)),
            accumulated_attention_probs=of_parents(cover),
        )
        return BeamSearchDecoderOutput(best, words, parents), new

    def _candidates(self, logits: jax.Array, state: BeamSearchDecoderState, end_token: jax.Array) -> tuple[Any, Any, Any]:
        """log p' and the score of each, `[B, K, V]`, and cover `[B, K, M]`."""
        dtype, shape = state.log_probs.dtype, (*state.finished.shape, logits.shape[-1])
        each = lambda leaf: jnp.broadcast_to(leaf[..., None], shape)
        ends = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32) == end_token, shape)
        finished = each(state.finished)

        stays = jnp.where(ends, 0, jnp.finfo(dtype).min).astype(dtype)
        step = jnp.where(finished, stays, jax.nn.log_softmax(logits.reshape(shape).astype(dtype)))
        scores = log_p = each(state.log_probs) + step
        if self.length_penalty_weight:
            n = _lengths_with_this_word(state).astype(dtype)
            scores = scores / each(((5 + n) / 6) ** self.length_penalty_weight)
        cover = state.accumulated_attention_probs
        if self.coverage_penalty_weight:
            seen = self._alignments(state.cell_state)
            cover = cover + jnp.where(jnp.broadcast_to(state.finished[..., None], seen.shape), 0, seen)
            penalty = self.coverage_penalty_weight * jnp.sum(jnp.log(jnp.minimum(jnp.where(cover == 0, 1, cover), 1)), -1)
            scores = scores + jnp.where(finished | ends, each(penalty), 0)
        return log_p, scores, cover

    def _by_row(self, state: State) -> State:
        """Leaves `[B K, ...]` as `[B, K, ...]`."""
        split = lambda leaf: leaf.reshape(-1, self.beam_width, *leaf.shape[1:]) if leaf.ndim else leaf
        return jax.tree.map(split, state)

    def _alignments(self, cell_state: State) -> jax.Array:
        """`[B, K, M]`, the mean over the mechanisms, and over all parts of the state that have alignments."""
        attends = lambda part: hasattr(part, "alignments")
        parts = [part for part in jax.tree.leaves(cell_state, is_leaf=attends) if attends(part)]
        check.some_attention(type(self).__name__, parts)
        mean: Any = lambda leaves: sum(leaves[1:], leaves[0]) / len(leaves)
        return mean([mean(jax.tree.leaves(part.alignments)) for part in parts]).astype(_dtype_of(cell_state))


def _lengths_with_this_word(state: BeamSearchDecoderState) -> jax.Array:
    return state.lengths + (~state.finished).astype(jnp.int32)


def _dtype_of(tree: Tree) -> Any:
    """That of a tree's numbers, float32 at least."""
    floats = [leaf.dtype for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return floats[0] if floats and jnp.finfo(floats[0]).bits > 32 else jnp.float32
