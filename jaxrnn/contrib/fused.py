"""Layers over time: TF1's fused cells.

A fused cell is a function of a whole sequence, `fused(params, inputs, initial_state=None, sequence_length=None)`, with inputs
`[T, B, ...]`, which returns `(outputs [T, B, ...], state)`. TF1's abstract bases, `FusedRNNCell` and `LSTMBlockWrapper`, are
this signature and no more, and have no counterpart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.contrib.block import LSTMBlockCell
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.typing import Inputs, Outputs, Params, State, Tree


class _Fused:
    """A layer around a `cell`, whose params it has."""

    cell: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> Params:
        """The cell's params for inputs `[T, B, input_size]`."""
        return self.cell.init(key, input_size, dtype)

    def __call__(
        self,
        params: Params,
        inputs: Inputs,
        initial_state: State | None = None,
        sequence_length: ArrayLike | None = None,
        *,
        key: jax.Array | None = None,
    ) -> tuple[Outputs, State]:
        """The whole sequence; the arguments are those of `jaxrnn.dynamic_rnn(..., time_major=True)`, which has more of them."""
        return dynamic_rnn(
            self.cell,
            params,
            inputs,
            initial_state=initial_state,
            sequence_length=sequence_length,
            time_major=True,
            key=key,
        )


@dataclasses.dataclass(frozen=True)
class FusedRNNCellAdaptor(_Fused):
    """A cell as a layer over time; TF1's `tf.contrib.rnn.FusedRNNCellAdaptor`, always with its use_dynamic_rnn.

    Attributes:
      cell: the cell.

    Params and state: the cell's. Inputs `[T, B, D]`, outputs `[T, B, H]`; TF1 also takes lists of steps.

    Raises:
      TypeError: if it is no cell with `init` and `initial_state`.

    Example:
      >>> import jax, jaxrnn
      >>> fused = jaxrnn.contrib.FusedRNNCellAdaptor(jaxrnn.GRUCell(5))
      >>> params = fused.init(jax.random.key(0), input_size=3)
      >>> outputs, state = fused(params, jax.numpy.ones((7, 4, 3)), sequence_length=jax.numpy.array([7, 0, 3, 5]))
      >>> outputs.shape, state.shape
      ((7, 4, 5), (4, 5))
    """

    cell: Any

    def __post_init__(self) -> None:
        check.full_cell(self.cell, "FusedRNNCellAdaptor")


@dataclasses.dataclass(frozen=True)
class LSTMBlockFusedCell(_Fused):
    """`LSTMBlockCell` as a layer over time; TF1's `tf.contrib.rnn.LSTMBlockFusedCell`.

    What the padding holds reaches no value and no gradient, and lengths are those of `dynamic_rnn`: in TF1 NaN there spreads,
    and a length above T ends the process.

    Attributes:
      num_units, forget_bias, cell_clip, use_peephole: as for `LSTMBlockCell`.

    Params and state: the cell's, `LSTMStateTuple(c, h)` of `[B, H]`. Inputs `[T, B, D]`, outputs `[T, B, H]`.

    Raises:
      ValueError: as `LSTMBlockCell`.

    Example:
      >>> import jax, jaxrnn
      >>> fused = jaxrnn.contrib.LSTMBlockFusedCell(num_units=5)
      >>> params = fused.init(jax.random.key(0), input_size=3)
      >>> outputs, state = fused(params, jax.numpy.ones((7, 4, 3)))
      >>> outputs.shape, state.c.shape
      ((7, 4, 5), (4, 5))
    """

    num_units: int
    forget_bias: float = 1.0
    cell_clip: float | None = None
    use_peephole: bool = False

    __post_init__ = LSTMBlockCell.__post_init__

    @property
    def cell(self) -> LSTMBlockCell:
        return LSTMBlockCell(self.num_units, self.forget_bias, self.cell_clip, self.use_peephole)


@dataclasses.dataclass(frozen=True)
class TimeReversedFusedRNN(_Fused):
    """A fused cell that runs from each row's last valid step to its first; TF1's `tf.contrib.rnn.TimeReversedFusedRNN`.

    Outputs stand at their inputs' places. `dynamic_rnn(..., reverse=True)` is the same of a cell.

    Attributes:
      cell: a fused cell, or any function `(params, inputs, initial_state, sequence_length) -> (outputs, state)`.

    Params and state: the fused cell's. Inputs `[T, B, ...]`, outputs `[T, B, ...]`.

    Raises:
      TypeError: if it is no function, or a cell of one step.

    Example:
      >>> import jax, jaxrnn
      >>> backward = jaxrnn.contrib.TimeReversedFusedRNN(jaxrnn.contrib.LSTMBlockFusedCell(5))
      >>> params = backward.init(jax.random.key(0), input_size=3)
      >>> outputs, state = backward(params, jax.numpy.ones((7, 4, 3)))
      >>> bool((outputs[0] == state.h).all())
      True
    """

    cell: Callable

    def __post_init__(self) -> None:
        check.fused_cell(self)

    def __call__(self, params, inputs, initial_state=None, sequence_length=None, *, key=None):
        inputs = check.arrays(inputs, "inputs")
        time, batch = check.sequence(inputs, 0)
        lengths = check.lengths(sequence_length, batch, time)
        given = {} if key is None else {"key": key}
        outputs, state = self.cell(params, _reversed(inputs, lengths), initial_state, lengths, **given)
        return _reversed(outputs, lengths), state


def _reversed(tree: Tree, lengths: jax.Array | None) -> Any:
    """Leaves `[T, B, ...]` with each row's first `length` steps in the other order; its padding stays where it is."""
    if lengths is None:
        return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)

    def reverse(row, length):
        steps, length = jnp.arange(row.shape[0], dtype=jnp.int32), jnp.clip(length, 0, row.shape[0])
        return row[jnp.where(steps < length, length - 1 - steps, steps)]

    return jax.tree.map(lambda leaf: jax.vmap(reverse, (1, 0), 1)(leaf, lengths), tree)
