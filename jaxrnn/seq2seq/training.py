"""Helpers for training: the true inputs are known, and a step may read what the model gave in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.masking import select_rows
from jaxrnn.keys import fold_in
from jaxrnn.seq2seq.helpers import best_word, keep_as_pytrees, look_up, rows
from jaxrnn.typing import Inputs, Tree

_TIME_MAJOR: Any = dataclasses.field(default=False, metadata={"static": True})


class _OneStep(NamedTuple):
    """In the place of a sequence, its next step `[B, ...]`."""

    step: Inputs


class _Sequences:
    """Reads step t + 1 of sequences after step t, until a row's length; a class with the fields below."""

    inputs: Any
    sequence_length: Any
    time_major: bool
    auxiliary_inputs: Any = None

    def initialize(self) -> tuple[jax.Array, Inputs]:
        return self._lengths() <= 0, self._read(self.inputs, jnp.zeros((), jnp.int32))

    def next_inputs(self, time, outputs, state, sample_ids, key):
        return time + 1 >= self._lengths(), self._read(self.inputs, time + 1), state

    def by_step(self, steps: int) -> tuple[Tree, Callable]:
        """What each of the steps reads, `[steps, B, ...]`, and the helper at a step, of its part of that.

        A loop slices it, so that the gradient of each step is written once. Read out of a whole sequence it would be added to
        one as long, which takes a time that is quadratic in T.
        """
        helper: Any = self
        sequences, lengths = (self.inputs, self.auxiliary_inputs), self._lengths()

        def at(step):
            inputs, beside = step
            others = {} if self.auxiliary_inputs is None else {"auxiliary_inputs": _OneStep(beside)}
            return dataclasses.replace(helper, inputs=_OneStep(inputs), sequence_length=lengths, **others)

        return jax.tree.map(lambda leaf: _after_the_first(jnp.asarray(leaf), steps, self.time_major), sequences), at

    def _lengths(self) -> jax.Array:
        """`[B]`, at most T."""
        if isinstance(self.inputs, _OneStep):
            return self.sequence_length
        axis = 0 if check.flag("time_major", self.time_major) else 1
        sequences = self.inputs if self.auxiliary_inputs is None else (self.inputs, self.auxiliary_inputs)
        steps, batch = check.sequence(check.arrays(sequences, "inputs"), axis)
        return jnp.minimum(check.some_lengths(type(self).__name__, self.sequence_length, batch, steps), steps)

    def _read(self, sequences: Tree, time: jax.Array) -> Inputs:
        """Step `time`, `[B, ...]`; past the end the last one; zeros of a sequence without steps."""
        if isinstance(sequences, _OneStep):
            return sequences.step
        axis = 0 if self.time_major else 1

        def read(leaf):
            leaf = jnp.asarray(leaf)
            if leaf.shape[axis] == 0:
                return jnp.zeros((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype)
            return lax.dynamic_index_in_dim(leaf, time, axis, keepdims=False)

        return jax.tree.map(read, sequences)


def _after_the_first(leaf: jax.Array, steps: int, time_major: bool) -> jax.Array:
    """Steps 1, 2, ... of a sequence, as many, time first; zeros past its end, where all rows have finished."""
    leaf = (leaf if time_major else jnp.swapaxes(leaf, 0, 1))[1 : steps + 1]
    return jnp.pad(leaf, [(0, steps - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingHelper(_Sequences):
    """Feeds the true inputs; TF1's `tf.contrib.seq2seq.TrainingHelper`.

    Attributes:
      inputs: `[B, T, ...]`, an array or a pytree of arrays.
      sequence_length: integers `[B]`, each row's steps. Above T they count as T, as in `dynamic_rnn`, where TF1 fails.
      time_major: whether inputs are `[T, B, ...]`.

    Without impute_finished a row reads its padding too, which therefore has to be finite.

    sample_id: the best word of logits `[B, V]`, int32 `[B]`, of a run `[B, T]`.

    Raises:
      TypeError, ValueError: when run, if sequence_length is no integers `[B]` in [0, T]; if the outputs are no logits.
    """

    inputs: Any
    sequence_length: Any
    time_major: bool = _TIME_MAJOR

    def sample(self, time, outputs, state, key):
        return best_word(self, outputs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScheduledEmbeddingTrainingHelper(_Sequences):
    """Feeds the true inputs, or with some probability the embedding of a word drawn from the outputs (scheduled sampling,
    Bengio et al., 2015, arXiv:1506.03099); TF1's `tf.contrib.seq2seq.ScheduledEmbeddingTrainingHelper`.

    Attributes:
      inputs, sequence_length, time_major: as for `TrainingHelper`; one array `[B, T, E]`.
      embedding: a matrix `[V, E]`, or a function from ids `[N]` to inputs `[N, E]`.
      sampling_probability: of a draw, one number or one a row `[B]`, in [0, 1]; 0 and 1 are exact.

    sample_id: the word drawn from softmax(outputs), or -1 where none is; int32 `[B]`, of a run `[B, T]`. No gradient runs
    through a draw.

    Raises:
      TypeError, ValueError: as `TrainingHelper`; if sampling_probability is not in [0, 1]; if there is no key.
    """

    inputs: Any
    sequence_length: Any
    embedding: Any
    sampling_probability: Any
    time_major: bool = _TIME_MAJOR

    def __post_init__(self) -> None:
        keep_as_pytrees(self, "embedding")

    def initialize(self):
        check.embedding(type(self).__name__, self.embedding)
        finished, inputs = super().initialize()
        check.sampling_probability(type(self).__name__, self.sampling_probability, finished.shape[0])
        return finished, inputs

    def sample(self, time, outputs, state, key):
        check.logits(type(self).__name__, outputs, rows(self.embedding))
        drawn = _draws(self, outputs.shape[0], key)
        words = jax.random.categorical(fold_in(key, 1), outputs).astype(jnp.int32)
        return jnp.where(drawn, words, -1)

    def next_inputs(self, time, outputs, state, sample_ids, key):
        finished, true, state = super().next_inputs(time, outputs, state, sample_ids, key)
        own = look_up(self.embedding, jnp.maximum(sample_ids, 0))
        return finished, select_rows(sample_ids >= 0, check.same_inputs(type(self).__name__, own, true), true), state


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScheduledOutputTrainingHelper(_Sequences):
    """Feeds the true inputs, or with some probability the outputs themselves; TF1's
    `tf.contrib.seq2seq.ScheduledOutputTrainingHelper`.

    Attributes:
      inputs, sequence_length, time_major: as for `TrainingHelper`.
      sampling_probability: of reading the outputs, one number or one a row `[B]`, in [0, 1]; 0 and 1 are exact.
      next_inputs_fn: `(outputs) -> inputs`, what is read of them; None is the outputs themselves.
      auxiliary_inputs: `[B, T, ...]`, joined to either of the two on the last axis, or None.

    sample_id: 1 in rows that read the outputs, else 0; int32 `[B]`, of a run `[B, T]`. Gradients run through the outputs.

    Raises:
      TypeError, ValueError: as `TrainingHelper`; if sampling_probability is not in [0, 1]; if there is no key.
    """

    inputs: Any
    sequence_length: Any
    sampling_probability: Any
    time_major: bool = _TIME_MAJOR
    next_inputs_fn: Any = None
    auxiliary_inputs: Any = None

    def __post_init__(self) -> None:
        keep_as_pytrees(self, "next_inputs_fn")

    def initialize(self):
        finished, inputs = super().initialize()
        check.sampling_probability(type(self).__name__, self.sampling_probability, finished.shape[0])
        return finished, self._with_auxiliary(inputs, jnp.zeros((), jnp.int32))

    def sample(self, time, outputs, state, key):
        return _draws(self, jax.tree.leaves(outputs)[0].shape[0], key).astype(jnp.int32)

    def next_inputs(self, time, outputs, state, sample_ids, key):
        finished, true, state = super().next_inputs(time, outputs, state, sample_ids, key)
        own = outputs if self.next_inputs_fn is None else self.next_inputs_fn(outputs)
        inputs = select_rows(sample_ids == 1, check.same_inputs(type(self).__name__, own, true), true)
        return finished, self._with_auxiliary(inputs, time + 1), state

    def _with_auxiliary(self, inputs: Inputs, time: jax.Array) -> Inputs:
        if self.auxiliary_inputs is None:
            return inputs
        beside = self._read(self.auxiliary_inputs, time)
        return jax.tree.map(lambda one, other: jnp.concatenate([one, other], -1), inputs, beside)


def _draws(helper: Any, batch: Any, key: jax.Array | None) -> jax.Array:
    """Booleans `[B]`: which rows read what the model gave."""
    name = type(helper).__name__
    probability = check.sampling_probability(name, helper.sampling_probability, batch)
    return jax.random.uniform(fold_in(check.draws_from(name, key), 0), (batch,)) < probability
