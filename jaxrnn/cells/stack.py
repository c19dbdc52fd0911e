"""Layers of cells, as one cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.inner import output_size, part
from jaxrnn.engine.chunk import run_chunk
from jaxrnn.keys import as_step_key, call_cell, fold_step
from jaxrnn.memory.modes import OUTPUTS, named_for_gradients


@dataclasses.dataclass(frozen=True)
class MultiRNNCell(RNNCell):
    """Cells on top of each other: each reads the output of the one below; TF1's `MultiRNNCell`.

    Nothing flows from the top of the stack back to its bottom within a run, so K steps of the stack are K steps of the
    first layer, then K of the second, and so on: every layer keeps its fast chunk.

    Attributes:
      cells: a list or tuple of cells, the lowest first; any objects with `init(key, input_size, dtype)` and
        `initial_state(batch_size, dtype)` that can be called as cells. Equal cells do not share weights.

    Params: `{"cell_0": ..., "cell_1": ...}`; a layer without any can be left out. State: a tuple of the layers' states.
    Output: the top layer's.

    Raises:
      TypeError: if cells is not a list or tuple of cells.
      ValueError: if it is empty.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(5), jaxrnn.GRUCell(2)])
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, (lstm_state, gru_state) = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 2)
    """

    cells: Sequence[Any]

    def __post_init__(self) -> None:
        check.cell_sequence(self.cells, "MultiRNNCell")
        object.__setattr__(self, "cells", tuple(self.cells))

    @property
    def inner_cells(self) -> Sequence[Any]:
        return self.cells

    @property
    def state_size(self) -> tuple:
        return tuple(cell.state_size for cell in self.cells)

    @property
    def output_size(self) -> Any:
        return self.cells[-1].output_size

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        check.prng_key(key)
        params, last = {}, len(self.cells) - 1
        for i, cell in enumerate(self.cells):
            params[f"cell_{i}"] = cell.init(jax.random.fold_in(key, i), input_size, dtype)
            input_size = None if i == last else output_size(cell, params[f"cell_{i}"], input_size, dtype)
        return params

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> tuple:
        return tuple(cell.initial_state(batch_size, dtype) for cell in self.cells)

    def check_inputs(self, inputs):
        return check.input_size(self.cells[0], inputs)

    def __call__(self, params, inputs, state, *, key=None):
        state = check.step(self, params, inputs, state, key)
        key, new_state = as_step_key(key), []
        for i, cell in enumerate(self.cells):
            inputs, new = call_cell(cell, part(params, f"cell_{i}"), inputs, state[i], fold_step(key, i))
            new_state.append(new)
        return inputs, tuple(new_state)

    def chunk(self, params, xs, state, steps):
        new_state = []
        for i, cell in enumerate(self.cells):
            # A layer's weights need its inputs again in the backward pass: keep them rather than run the layers below.
            xs = named_for_gradients(xs, OUTPUTS) if i else xs
            xs, new = run_chunk(cell, part(params, f"cell_{i}"), xs, state[i], steps.layer(i))
            new_state.append(new)
        return xs, tuple(new_state)
