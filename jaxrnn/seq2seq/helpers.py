"""Helpers for inference: what a step samples of its outputs, and what the next one reads.

A helper is a pytree, so that it can be an argument of a jitted function: its arrays are differentiated and mapped like any
other, its functions are static. A function that has arrays of its own is a `jax.tree_util.Partial` of them. A helper of your
own is a frozen dataclass, registered by `jax.tree_util.register_dataclass`, with the three methods of `CustomHelper`; one that
reads sequences may have `by_step`, as `TrainingHelper` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.keys import takes_key
from jaxrnn.typing import Inputs, Outputs, State, Tree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GreedyEmbeddingHelper:
    """Feeds the embedding of the best word; TF1's `tf.contrib.seq2seq.GreedyEmbeddingHelper`.

    The outputs are logits `[B, V]`. A row has finished once its word is the end token. Of equal logits the first is the best.

    Attributes:
      embedding: a matrix `[V, E]`, or a function from ids `[N]` to inputs `[N, ...]`. The matrix may have more rows than
        there are logits, for a start token that is no word.
      start_tokens: integers `[B]`, whose embeddings are the first inputs.
      end_token: one integer.

    sample_id: int32 `[B]`, of a run `[B, T]`.

    Raises:
      TypeError, ValueError: when run, if a token is no integer or, where that can be seen, not below V; if the outputs are no
        logits or more than the embedding has rows.
    """

    embedding: Any
    start_tokens: Any
    end_token: Any

    def __post_init__(self) -> None:
        keep_as_pytrees(self, "embedding")

    def initialize(self) -> tuple[jax.Array, Inputs]:
        start, _ = self.tokens()
        return jnp.zeros(start.shape, bool), self.embed(start)

    def sample(self, time: jax.Array, outputs: Outputs, state: State, key: jax.Array | None) -> jax.Array:
        return best_word(self, outputs, self.embedding)

    def next_inputs(
        self, time: jax.Array, outputs: Outputs, state: State, sample_ids: Tree, key: jax.Array | None
    ) -> tuple[jax.Array, Inputs, State]:
        return sample_ids == self.tokens()[1], self.embed(sample_ids), state

    def tokens(self) -> tuple[jax.Array, jax.Array]:
        """The start tokens `[B]` and the end token `[]`, int32."""
        name = type(self).__name__
        check.embedding(name, self.embedding)
        return check.tokens(name, self.start_tokens, self.end_token, rows(self.embedding))

    def embed(self, ids: jax.Array) -> Inputs:
        """The inputs that words `[N]` stand for."""
        return look_up(self.embedding, ids)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SampleEmbeddingHelper(GreedyEmbeddingHelper):
    """Feeds the embedding of a word drawn from softmax(logits / temperature); TF1's `tf.contrib.seq2seq.SampleEmbeddingHelper`.

    Attributes:
      embedding, start_tokens, end_token: as for `GreedyEmbeddingHelper`.
      softmax_temperature: one number above 0; None is 1.

    sample_id: int32 `[B]`, of a run `[B, T]`. What is drawn follows from the run's key alone.

    Raises:
      TypeError, ValueError: as `GreedyEmbeddingHelper`; if softmax_temperature is not above 0; if there is no key.
    """

    softmax_temperature: Any = None

    def initialize(self):
        if self.softmax_temperature is not None:
            check.temperature(type(self).__name__, self.softmax_temperature)
        return super().initialize()

    def sample(self, time, outputs, state, key):
        check.logits(type(self).__name__, outputs, rows(self.embedding))
        key = check.draws_from(type(self).__name__, key)
        if self.softmax_temperature is not None:
            outputs = outputs / jnp.asarray(self.softmax_temperature, outputs.dtype)
        return jax.random.categorical(key, outputs).astype(jnp.int32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InferenceHelper:
    """Feeds what a function samples of the outputs; TF1's `tf.contrib.seq2seq.InferenceHelper`, without the sample's shape and
    dtype, which are those of what sample_fn returns.

    Attributes:
      sample_fn: `(outputs) -> sample_ids`, arrays `[B, ...]`; with an argument `key`, a PRNG key is passed to it, or None.
      start_inputs: the first inputs, `[B, ...]`.
      end_fn: `(sample_ids) -> finished`, booleans `[B]`.
      next_inputs_fn: `(sample_ids) -> inputs`; None is the sample itself.

    sample_id: what sample_fn returns.

    Raises:
      TypeError, ValueError: when run, if finished is not booleans `[B]` or the next inputs are not like the first.
    """

    sample_fn: Any
    start_inputs: Any
    end_fn: Any
    next_inputs_fn: Any = None

    def __post_init__(self) -> None:
        keep_as_pytrees(self, "sample_fn", "end_fn", "next_inputs_fn")

    def initialize(self):
        check.functions(self, next_inputs_fn=self.next_inputs_fn)
        check.functions_of(self, "sample_fn", "end_fn")
        inputs = check.arrays(self.start_inputs, f"{type(self).__name__}: start_inputs")
        return jnp.zeros(check.batch_of(inputs, "start_inputs"), bool), inputs

    def sample(self, time, outputs, state, key):
        return with_key(self.sample_fn, key)(outputs)

    def next_inputs(self, time, outputs, state, sample_ids, key):
        inputs = sample_ids if self.next_inputs_fn is None else self.next_inputs_fn(sample_ids)
        return self.end_fn(sample_ids), inputs, state


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CustomHelper:
    """A helper of three functions; TF1's `tf.contrib.seq2seq.CustomHelper`.

    Attributes:
      initialize_fn: `() -> (finished, inputs)`, booleans `[B]` and the first inputs `[B, ...]`.
      sample_fn: `(time, outputs, state) -> sample_ids`, called by these names; time is an int32 scalar.
      next_inputs_fn: `(time, outputs, state, sample_ids) -> (finished, inputs, state)`, which may change the state.

    sample_fn and next_inputs_fn may have an argument `key`: a PRNG key each, or None in a run without one. Functions may read
    arrays around them; a helper that is an argument of a jitted function has them in a `jax.tree_util.Partial`.

    sample_id: what sample_fn returns.

    Raises:
      TypeError, ValueError: when run, if a function does not return that.

    Example: a cell that reads what it wrote, for as many steps as a row asks for.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell, steps = jaxrnn.GRUCell(num_units=3), jnp.array([2, 5])
      >>> helper = jaxrnn.seq2seq.CustomHelper(
      ...     lambda: (steps == 0, jnp.ones((2, 3))),
      ...     lambda time, outputs, state: jnp.argmax(outputs, -1),
      ...     lambda time, outputs, state, sample_ids: (time + 1 >= steps, outputs, state))
      >>> _, _, lengths = jaxrnn.seq2seq.dynamic_decode(
      ...     jaxrnn.seq2seq.BasicDecoder(cell), cell.init(jax.random.key(0), 3), helper, cell.initial_state(2),
      ...     maximum_iterations=9)
      >>> lengths.tolist()
      [2, 5]
    """

    initialize_fn: Any
    sample_fn: Any
    next_inputs_fn: Any

    def __post_init__(self) -> None:
        keep_as_pytrees(self, "initialize_fn", "sample_fn", "next_inputs_fn")

    def initialize(self):
        check.functions_of(self, "initialize_fn", "sample_fn", "next_inputs_fn")
        finished, inputs = check.started(type(self).__name__, self.initialize_fn())
        return check.arrays(finished, f"{type(self).__name__}: finished"), inputs

    def sample(self, time, outputs, state, key):
        return with_key(self.sample_fn, key)(time=time, outputs=outputs, state=state)

    def next_inputs(self, time, outputs, state, sample_ids, key):
        return with_key(self.next_inputs_fn, key)(time=time, outputs=outputs, state=state, sample_ids=sample_ids)


# ---- what helpers share


def keep_as_pytrees(helper: Any, *names: str) -> None:
    """Functions as `jax.tree_util.Partial`, which JAX takes among arrays."""
    for name in names:
        function = getattr(helper, name)
        if callable(function) and not isinstance(function, jax.tree_util.Partial):
            object.__setattr__(helper, name, jax.tree_util.Partial(function))


def with_key(function: Callable, key: jax.Array | None) -> Callable:
    """`function` that is passed the key if it has an argument for it."""
    return (lambda *args, **names: function(*args, **names, key=key)) if takes_key(function) else function


def best_word(helper: Any, outputs: Outputs, embedding: Any = None) -> jax.Array:
    """The first of the largest logits, int32 `[B]`."""
    check.logits(type(helper).__name__, outputs, rows(embedding))
    return jnp.argmax(outputs, -1).astype(jnp.int32)


def rows(embedding: Any) -> int | None:
    """How many words an embedding has, where it is a matrix."""
    return None if embedding is None or callable(embedding) else embedding.shape[0]


def look_up(embedding: Any, ids: jax.Array) -> Inputs:
    """The embeddings of words `[N]`."""
    return embedding(ids) if callable(embedding) else jnp.asarray(embedding)[ids]
