"""Zoneout around a cell."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.engine.chunk import chunk_of_four, is_fused, plain_chunk
from jaxrnn.engine.step import draws
from jaxrnn.keys import StepKey, as_step_key, call_cell, fold_in, fold_step
from jaxrnn.typing import State

_INNER, _MASKS = 0, 1  # each draws from keys of its own


@dataclasses.dataclass(frozen=True)
class ZoneoutWrapper(RNNCell):
    """Lets elements of a cell's state keep their old value (Krueger et al., 2017, arXiv:1606.01305); TF1 has none.

        s' = m s + (1 - m) cell(s)          with a key: each m is 1 with probability p, else 0, drawn anew in every step and row
        s' = p s + (1 - p) cell(s)          without one: the expectation

    Attributes:
      cell: the inner cell. Put zoneout directly around a cell in four functions, such as `LSTMCell`, inside of stacks and other
        wrappers: around these it is right too, but they are then run step by step, which is slower.
      state_zoneout_prob: p, the probability in [0, 1] to keep an old value: a number, or numbers in the structure of the state
        (or of its first levels), such as `LSTMStateTuple(c=0.5, h=0.05)`, the paper's for characters. Python or numpy numbers,
        not arrays; see `DropoutWrapper`. 0 draws nothing.

    Params and state: the inner cell's. Output: the inner cell's; but where a cell in four functions puts out a part of its new
    state, such as the h of an LSTM, that part after zoneout, as in the paper.

    An output that joins parts of the state, such as that of `jaxrnn.contrib.TimeFreqLSTMCell`, is put out without zoneout.

    A part of the state that is not floating, or belongs to no row, is left alone.

    Memory: "save" keeps the masks beside the gates, one byte for each element of the state a step. Where the states are kept
    instead (on a GPU, or by "offload"), and in the other modes, masks are drawn again in the backward pass.

    Raises:
      ValueError: if a probability is outside [0, 1], or state_zoneout_prob is not of the state's structure.
      TypeError: if one is no number, or an array.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ZoneoutWrapper(jaxrnn.LSTMCell(5), jaxrnn.LSTMStateTuple(c=0.5, h=0.05))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> inputs = jax.numpy.ones((4, 7, 3))
      >>> train, _ = jaxrnn.dynamic_rnn(cell, params, inputs, key=jax.random.key(1))
      >>> evaluate, _ = jaxrnn.dynamic_rnn(cell, params, inputs)
      >>> train.shape
      (4, 7, 5)
    """

    cell: Any
    state_zoneout_prob: Any

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)
        check.zoneout(self, self.state_zoneout_prob)

    @property
    def inner_cells(self) -> tuple:
        return (self.cell,) if is_fused(self.cell) else ()  # another cell's chunk is not part of this one's

    @property
    def state_size(self) -> Any:
        return self.cell.state_size

    @property
    def output_size(self) -> Any:
        return self.cell.output_size

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> Any:
        return self.cell.init(key, input_size, dtype)

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> Any:
        return self.cell.initial_state(batch_size, dtype)

    def check_inputs(self, inputs):
        return check.input_size(self.cell, inputs)

    # ---- around a cell in four functions

    def project(self, params, inputs, *, key=None):
        options = {"key": fold_step(key, _INNER)} if draws(self.cell) else {}
        batch = jax.tree.leaves(inputs)[0].shape[0]
        state = jax.eval_shape(lambda: self.cell.initial_state(batch))
        return self.cell.project(params, inputs, **options), self.masks(state, key)

    def recur(self, params, state):
        return self.cell.recur(params, state)

    def gates(self, params, z, r, state):
        z, masks = z
        return self.cell.gates(params, z, r, state), masks

    def combine(self, params, g, state):
        g, masks = g
        output, new = check.pair_of_results(self.cell, self.cell.combine(params, g, state))
        zoned = self._zoned(masks, state, new)
        pairs = list(zip(jax.tree.leaves(new), jax.tree.leaves(zoned), strict=True))
        in_state = lambda leaf: next((after for before, after in pairs if before is leaf), leaf)
        return jax.tree.map(in_state, output), zoned

    # ---- around any other

    def __call__(self, params, inputs, state, *, key=None):
        if is_fused(self.cell):
            return super().__call__(params, inputs, state, key=key)
        state, key = check.step(self, params, inputs, state, key), as_step_key(key)
        output, new = call_cell(self.cell, params, inputs, state, fold_step(key, _INNER))
        return output, self._zoned(self.masks(state, key), state, new)

    def chunk(self, params, xs, state, steps):
        return (chunk_of_four if is_fused(self.cell) else plain_chunk)(self, params, xs, state, steps)

    # ---- zoneout

    def masks(self, state: State, key: StepKey | None) -> Any:
        """True where an element of the new state keeps its old value; None for a leaf of which none is drawn."""
        if key is None:
            return None
        base, (leaves, treedef) = fold_in(key.step, _MASKS), jax.tree.flatten(state)
        probabilities = jax.tree.leaves(self._probabilities(state))
        draw = lambda i, p, leaf: jax.random.bernoulli(fold_in(base, i), p, leaf.shape) if p and _has_rows(leaf) else None
        return treedef.unflatten([draw(i, *each) for i, each in enumerate(zip(probabilities, leaves, strict=True))])

    def _zoned(self, masks: Any, state: State, new: State) -> Any:
        expected = lambda p, old, new: p * old + (1 - p) * new if p and _has_rows(old) else new
        if masks is None:
            return jax.tree.map(expected, self._probabilities(state), state, new)
        drawn = lambda mask, old, new: new if mask is None else jnp.where(mask, old, new)
        return jax.tree.map(drawn, masks, state, new, is_leaf=lambda mask: mask is None)

    def _probabilities(self, state: State) -> Any:
        """One for each leaf of the state."""
        return jax.tree.broadcast(self.state_zoneout_prob, state)


def _has_rows(leaf: Any) -> bool:
    return leaf.ndim > 0 and jnp.issubdtype(leaf.dtype, jnp.inexact)
