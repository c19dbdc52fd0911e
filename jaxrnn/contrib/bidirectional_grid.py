"""A grid of time and frequency that is walked both ways."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cells.initializers import split
from jaxrnn.contrib.grid import GridLSTMCell


@dataclasses.dataclass(frozen=True)
class BidirectionalGridLSTMCell(GridLSTMCell):
    """Two `GridLSTMCell`s, which walk over the windows of each block in opposite directions; TF1's
    `tf.contrib.rnn.BidirectionalGridLSTMCell`.

        output = [outputs of the forward grid; outputs of the backward grid]

    The backward grid has weights and states of its own. Its windows count in the order in which they are walked: its first is
    the last one of the block. That is so in its state and in its output.

    Attributes:
      num_units ... couple_input_forget_gates: as in `GridLSTMCell`.
      backward_slice_offset: how far the backward windows are shifted to the right, to the left if it is negative. Features
        outside the inputs are zeros.

    Params: `{"fwd": ..., "bwd": ...}`, each as of `GridLSTMCell`. State: a pair of those of `GridLSTMCell`, (forward,
    backward). Output: `[B, 4 N H]` for N windows.

    Raises:
      TypeError, ValueError: as `GridLSTMCell`, and if backward_slice_offset is not an int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.BidirectionalGridLSTMCell(5, feature_size=4, frequency_skip=2, num_frequency_blocks=[3])
      >>> params = cell.init(jax.random.key(0), input_size=8)
      >>> output, (forward, backward) = cell(params, jax.numpy.ones((2, 8)), cell.initial_state(2))
      >>> output.shape, backward[0][2].c.shape
      ((2, 60), (2, 5))
    """

    backward_slice_offset: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.whole_numbers(self, backward_slice_offset=self.backward_slice_offset)

    @property
    def state_size(self) -> tuple:
        return super().state_size, super().state_size

    @property
    def output_size(self) -> int:
        return 2 * super().output_size

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        forward, backward = split(key, 2)
        return {"fwd": super().init(forward, input_size, dtype), "bwd": super().init(backward, input_size, dtype)}

    def project(self, params, inputs):
        shift = self.backward_slice_offset
        padded = jnp.pad(inputs, ((0, 0), (max(-shift, 0), max(shift, 0))))
        starts = [[start + max(shift, 0) for start in reversed(each)] for each in self._starts]
        return self._project(params["fwd"], inputs, self._starts), self._project(params["bwd"], padded, starts)

    def recur(self, params, state):
        forward, backward = state
        return super().recur(params["fwd"], forward), super().recur(params["bwd"], backward)

    def gates(self, params, z, r, state):
        forward, backward = zip(z, r, state, strict=True)
        return super().gates(params["fwd"], *forward), super().gates(params["bwd"], *backward)

    def combine(self, params, g, state):
        forward, new_forward = super().combine(params["fwd"], g[0], state[0])
        backward, new_backward = super().combine(params["bwd"], g[1], state[1])
        return jnp.concatenate([forward, backward], -1), (new_forward, new_backward)
