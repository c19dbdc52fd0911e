"""Dropout around a cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cells.lstm import LSTMStateTuple
from jaxrnn.cells.wrappers import Wrapper, inner_output_size
from jaxrnn.keys import StepKey, fold_in
from jaxrnn.typing import State, Tree

_INPUT, _STATE, _OUTPUT = 1, 2, 3  # each place draws from keys of its own


def drop_all_but_c(state: State) -> Any:
    """Which parts of a state dropout may touch: all but the `c` of an LSTM, which has to carry its memory on."""
    return LSTMStateTuple(c=False, h=True) if isinstance(state, LSTMStateTuple) else True


@dataclasses.dataclass(frozen=True)
class DropoutWrapper(Wrapper):
    """Dropout on a cell's inputs, state and outputs; TF1's `DropoutWrapper`, in its order: input, cell, state, output.

    It acts if and only if a key is given, to the runner or to the step. What is dropped becomes zero, what is kept is
    divided by its keep probability. The dropped output is not fed back.

    Attributes:
      cell: the inner cell.
      input_keep_prob, output_keep_prob, state_keep_prob: probabilities in [0, 1] to keep an element; 1 draws nothing. Python
        or numpy numbers, not arrays, for a cell holds none: training and testing with one cell is a run with a key and a run
        without one; a schedule builds the cell anew with each value, `dataclasses.replace(cell, input_keep_prob=0.7)`, and
        each is compiled once.
      variational_recurrent: whether all steps of a run share one mask (Gal and Ghahramani, 2016). As in TF1 such a mask
        has batch size 1: the whole batch shares it too. Else every step and row draws anew (Zaremba et al., 2014).
      dropout_state_filter_visitor: a function of a part of the state that says whether it may be dropped (True, False, or
        a structure of these); the `c` of an LSTM never is by default.

    Params and state: the inner cell's.

    What is not floating is left alone. Where ids are read, dropout belongs inside: `EmbeddingWrapper(DropoutWrapper(cell))`.

    Raises:
      ValueError: if a keep probability is outside [0, 1].
      TypeError: if it is no number, or an array; when run, if nothing of the inputs or outputs is floating.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.DropoutWrapper(jaxrnn.LSTMCell(5), input_keep_prob=0.9, state_keep_prob=0.5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> inputs = jax.numpy.ones((4, 7, 3))
      >>> train, _ = jaxrnn.dynamic_rnn(cell, params, inputs, key=jax.random.key(1))
      >>> evaluate, _ = jaxrnn.dynamic_rnn(cell, params, inputs)
    """

    cell: Any
    input_keep_prob: float = 1.0
    output_keep_prob: float = 1.0
    state_keep_prob: float = 1.0
    variational_recurrent: bool = False
    dropout_state_filter_visitor: Callable = drop_all_but_c
    output_size = inner_output_size

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("input_keep_prob", "output_keep_prob", "state_keep_prob")
        check.probabilities(self, **{name: getattr(self, name) for name in names})
        check.flags(self, variational_recurrent=self.variational_recurrent)

    def before(self, params, inputs, key):
        return self._dropped(inputs, self.input_keep_prob, key, _INPUT)

    def after(self, params, inputs, outputs, key):
        return self._dropped(outputs, self.output_keep_prob, key, _OUTPUT)

    def drop(self, state, key):
        if self.state_keep_prob == 1:
            return None
        is_lstm = lambda part: isinstance(part, LSTMStateTuple)
        wanted = jax.tree.map(self.dropout_state_filter_visitor, state, is_leaf=is_lstm)
        factors = self._factors(state, self.state_keep_prob, key, _STATE)
        return jax.tree.map(lambda want, factor: factor if want else None, wanted, factors)

    def _dropped(self, tree, keep, key, place):
        if key is None or keep == 1:
            return tree
        check.droppable(self, "inputs" if place == _INPUT else "outputs", tree)
        drop = lambda leaf, factor: leaf if factor is None else leaf * factor
        return jax.tree.map(drop, tree, self._factors(tree, keep, key, place))

    def _factors(self, tree: Tree, keep: float, key: StepKey, place: int) -> Any:
        """0 or 1 / keep for every element of `tree`; None for a leaf that is not floating."""
        leaves, treedef = jax.tree.flatten(tree)
        base = fold_in(key.run if self.variational_recurrent else key.step, place)
        factors = [self._leaf_factors(leaf, keep, fold_in(base, i)) for i, leaf in enumerate(leaves)]
        return jax.tree.unflatten(treedef, factors)

    def _leaf_factors(self, leaf, keep, key):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return None
        shape = (1, *leaf.shape[1:])[: leaf.ndim] if self.variational_recurrent else leaf.shape
        return draw_factors(key, keep, shape, leaf.dtype)


def draw_factors(key: jax.Array, keep: float, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """1 / keep with probability keep, else 0."""
    scale = 1 / keep if keep else 0.0
    return jnp.where(jax.random.bernoulli(key, keep, shape), jnp.asarray(scale, dtype), jnp.zeros((), dtype))
