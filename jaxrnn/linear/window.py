"""A window over the last inputs: a causal convolution in front of a cell."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.engine.at_once import elements, states_of
from jaxrnn.engine.chunk import run_chunk
from jaxrnn.engine.masking import Steps, replace_rows
from jaxrnn.keys import as_step_key, call_cell, fold_step
from jaxrnn.memory.modes import OUTPUTS, named_for_gradients
from jaxrnn.typing import Params, State


@dataclasses.dataclass(frozen=True)
class CausalWindow(RNNCell):
    """A cell that reads the last inputs side by side, the oldest first: x_{t-k+1}, ..., x_{t-1}, x_t.

    With it a product of the cell with its inputs is a causal convolution of width k, as a QRNN has it (Bradbury et al., 2017,
    arXiv:1611.01576). The window reaches across no reset, and steps left out by a mask or a length are not in it.

    Attributes:
      cell: the inner cell, which is made for inputs of size k D.
      size: k, 1 or more.
      input_size: D, which the state has to know.

    Params: the inner cell's. State: `(past, inner)`, past a tuple of the last k - 1 inputs `[B, D]`, the latest first.
    Output: the inner cell's.

    Raises:
      TypeError, ValueError: if size or input_size is below 1; when run, if D is not input_size.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.CausalWindow(jaxrnn.linear.QRNNCell(5), size=2, input_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> params["kernel"].shape
      (6, 15)
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.numpy.ones((4, 7, 3)))
      >>> outputs.shape
      (4, 7, 5)
    """

    cell: Any
    size: int
    input_size: int

    in_chunks = True  # a chunk of a run in place does not see the lengths

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)
        check.at_least_one(self, size=self.size, input_size=self.input_size)

    @property
    def inner_cells(self) -> tuple:
        return (self.cell,)

    @property
    def state_size(self) -> tuple:
        return (self.input_size,) * (self.size - 1), self.cell.state_size

    @property
    def output_size(self) -> Any:
        return self.cell.output_size

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> Any:
        check.inputs_of_size(self, input_size)
        return self.cell.init(key, self.size * input_size, dtype)

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> tuple:
        past = super().initial_state(batch_size, dtype)[0] if self.size > 1 else ()
        return past, self.cell.initial_state(batch_size, dtype)

    def check_inputs(self, inputs):
        return check.inputs_of_size(self, check.features(self, inputs))

    def __call__(self, params, inputs, state, *, key=None):
        past, inner = check.step(self, params, inputs, state, key)
        window = (inputs, *past)
        inputs = jnp.concatenate(window[::-1], -1)
        output, inner = call_cell(self.cell, params, inputs, inner, fold_step(as_step_key(key), 1))
        return output, (window[:-1], inner)

    def chunk(self, params: Params, xs: jax.Array, state: State, steps: Steps):
        (past, inner), window, new = state, [xs], []
        for i, start in enumerate(past):
            before, last = _delayed(window[-1], start, steps.layer(0).layer(i))
            window.append(before)
            new.append(last)
        inputs = named_for_gradients(jnp.concatenate(window[::-1], -1), OUTPUTS) if past else xs
        outputs, inner = run_chunk(self.cell, params, inputs, inner, steps.layer(1))
        return outputs, (tuple(new), inner)


def _delayed(xs: jax.Array, start: jax.Array, steps: Steps) -> tuple[jax.Array, jax.Array]:
    """What each of K steps finds as the last input, and what the last step leaves: a recurrence with a = 0 and b = x."""
    entering, left, last = start, xs, xs[-1]
    if (steps.valid, steps.again, steps.drop, steps.recurrence) != (None,) * 4:
        entering, left, last = states_of(*elements(jnp.zeros_like(xs), xs, steps), start, steps)
    before = jnp.concatenate([entering[None], left[:-1]])
    if steps.again is not None:
        before = jax.vmap(replace_rows, (0, None, 0))(steps.again, steps.start, before)
    return before, last
