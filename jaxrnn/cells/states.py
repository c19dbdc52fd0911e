"""A cell whose outputs have its states in them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.engine.chunk import chunk_of_four, is_fused, plain_chunk
from jaxrnn.keys import as_step_key, call_cell

inner_project: Any = property(lambda self: self.cell.project)  # with an argument `key` if that has one


@dataclasses.dataclass(frozen=True)
class StateOutputWrapper(RNNCell):
    """Puts out every step's new state beside the output: `(output, new_state)`, to look at, or for a loss that reads it.

    Attributes:
      cell: the inner cell.

    Params and state: the inner cell's. Output: a pair of the inner cell's output `[B, H]` and its new state, leaves
    `[B, ...]`; of a run `[B, T, H]` and `[B, T, ...]`, zeros in the padding. A cell in four functions stays one, with all its
    memory modes; a stack or a wrapper is run step by step.

    Raises:
      TypeError: if cell is not one.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.StateOutputWrapper(jaxrnn.LSTMCell(5))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> (outputs, states), last = jaxrnn.dynamic_rnn(cell, params, jnp.ones((4, 7, 3)))
      >>> states.c.shape, bool((states.c[:, -1] == last.c).all())
      ((4, 7, 5), True)
    """

    cell: Any

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)

    @property
    def inner_cells(self) -> tuple:
        return (self.cell,) if is_fused(self.cell) else ()  # another cell's chunk is not part of this one's

    @property
    def state_size(self) -> Any:
        return self.cell.state_size

    @property
    def output_size(self) -> Any:
        return self.cell.output_size, self.cell.state_size

    def init(self, key, input_size, dtype: DTypeLike = jnp.float32):
        return self.cell.init(key, input_size, dtype)

    def initial_state(self, batch_size, dtype: DTypeLike = jnp.float32):
        return self.cell.initial_state(batch_size, dtype)

    def check_inputs(self, inputs):
        return check.input_size(self.cell, inputs)

    project = inner_project

    def recur(self, params, state):
        return self.cell.recur(params, state)

    def gates(self, params, z, r, state):
        return self.cell.gates(params, z, r, state)

    def combine(self, params, g, state):
        output, new = self.cell.combine(params, g, state)
        return (output, new), new

    def __call__(self, params, inputs, state, *, key=None):
        output, new = call_cell(self.cell, params, inputs, check.step(self, params, inputs, state, key), as_step_key(key))
        return (output, new), new

    def chunk(self, params, xs, state, steps):
        return (chunk_of_four if is_fused(self.cell) else plain_chunk)(self, params, xs, state, steps)
