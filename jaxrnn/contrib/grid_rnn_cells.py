"""The ready-made grids of `tf.contrib.grid_rnn`.

Each is a `GridRNNCell` of fixed dimensions, with its equations, params, state and output: dimension 0 has the inputs and the
output, and is the priority dimension. What they are built with is in `ReadyMadeGrid`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.contrib.grid_rnn import GridRNNCell


def _of_the_grid(name: str) -> Any:
    return property(lambda self: getattr(self.grid, name))


class ReadyMadeGrid(RNNCell):
    """A grid under a name of its own: a subclass is a frozen dataclass that says its `num_dims` and its `cell_fn`.

    Attributes:
      num_units: H.
      tied: whether the recurrent dimensions share their weights.
      non_recurrent_fn: elementwise; it makes dimension 0 non-recurrent. None leaves it recurrent.
      use_peepholes, forget_bias: as in `jaxrnn.LSTMCell`.
      output_is_tuple: whether the output is a tuple of one array `[B, H]`, or that array.
    """

    num_dims: Any
    cell_fn: Any

    def __post_init__(self) -> None:
        fields = vars(self)
        among = lambda *names: {name: fields[name] for name in names if name in fields}
        check.at_least_one(self, **among("num_units"))
        check.flags(self, **among("tied", "use_peepholes", "output_is_tuple"))
        check.functions(self, **among("non_recurrent_fn"))
        check.finite(self, **among("forget_bias"))

    @functools.cached_property
    def grid(self) -> GridRNNCell:
        """The grid that this is."""
        fields = vars(self)
        return GridRNNCell(
            fields["num_units"],
            self.num_dims,
            input_dims=0,
            output_dims=0,
            priority_dims=0,
            non_recurrent_dims=None if fields.get("non_recurrent_fn") is None else 0,
            tied=fields.get("tied", False),
            cell_fn=self.cell_fn,
            non_recurrent_fn=fields.get("non_recurrent_fn"),
            output_is_tuple=fields["output_is_tuple"],
        )

    state_size, output_size, project = map(_of_the_grid, ("state_size", "output_size", "project"))
    recur, gates, combine = map(_of_the_grid, ("recur", "gates", "combine"))

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        return self.grid.init(key, input_size, dtype)


@dataclasses.dataclass(frozen=True)
class Grid1BasicRNNCell(ReadyMadeGrid):
    """One `BasicRNNCell` in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid1BasicRNNCell`. Output: a tuple of
    one array `[B, H]`, or that array. It is not recurrent: the inputs replace its only state.
    """

    num_units: int
    output_is_tuple: bool = True
    num_dims = 1
    cell_fn = BasicRNNCell


@dataclasses.dataclass(frozen=True)
class Grid2BasicRNNCell(ReadyMadeGrid):
    """Two `BasicRNNCell`s in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid2BasicRNNCell`. Output: a tuple of one
    array `[B, H]`, or that array.
    """

    num_units: int
    tied: bool = False
    non_recurrent_fn: Callable | None = None
    output_is_tuple: bool = True
    num_dims = 2
    cell_fn = BasicRNNCell


@dataclasses.dataclass(frozen=True)
class Grid1BasicLSTMCell(ReadyMadeGrid):
    """One `LSTMCell` in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid1BasicLSTMCell`. Output: a tuple of
    one array `[B, H]`, or that array. It is not recurrent: the inputs replace its only state.
    """

    num_units: int
    forget_bias: float = 1.0
    output_is_tuple: bool = True
    num_dims = 1
    cell_fn = property(lambda self: functools.partial(LSTMCell, forget_bias=self.forget_bias))


@dataclasses.dataclass(frozen=True)
class Grid2BasicLSTMCell(ReadyMadeGrid):
    """Two `LSTMCell`s in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid2BasicLSTMCell`. Output: a tuple of one
    array `[B, H]`, or that array.
    """

    num_units: int
    tied: bool = False
    non_recurrent_fn: Callable | None = None
    forget_bias: float = 1.0
    output_is_tuple: bool = True
    num_dims = 2
    cell_fn = property(lambda self: functools.partial(LSTMCell, forget_bias=self.forget_bias))


@dataclasses.dataclass(frozen=True)
class Grid1LSTMCell(ReadyMadeGrid):
    """One `LSTMCell` in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid1LSTMCell`. Output: a tuple of
    one array `[B, H]`, or that array. It is not recurrent: the inputs replace its only state.
    """

    num_units: int
    use_peepholes: bool = False
    forget_bias: float = 1.0
    output_is_tuple: bool = True
    num_dims = 1
    cell_fn = property(lambda self: functools.partial(LSTMCell, use_peepholes=self.use_peepholes, forget_bias=self.forget_bias))


@dataclasses.dataclass(frozen=True)
class Grid2LSTMCell(ReadyMadeGrid):
    """Two `LSTMCell`s in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid2LSTMCell`. Output: a tuple of one array
    `[B, H]`, or that array.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.Grid2LSTMCell(num_units=5, use_peepholes=True)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> (output,), state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, len(state)
      ((4, 5), 2)
    """

    num_units: int
    tied: bool = False
    non_recurrent_fn: Callable | None = None
    use_peepholes: bool = False
    forget_bias: float = 1.0
    output_is_tuple: bool = True
    num_dims = 2
    cell_fn = property(lambda self: functools.partial(LSTMCell, use_peepholes=self.use_peepholes, forget_bias=self.forget_bias))


@dataclasses.dataclass(frozen=True)
class Grid3LSTMCell(ReadyMadeGrid):
    """Three `LSTMCell`s in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid3LSTMCell`. Output: a tuple of one
    array `[B, H]`, or that array.
    """

    num_units: int
    tied: bool = False
    non_recurrent_fn: Callable | None = None
    use_peepholes: bool = False
    forget_bias: float = 1.0
    output_is_tuple: bool = True
    num_dims = 3
    cell_fn = property(lambda self: functools.partial(LSTMCell, use_peepholes=self.use_peepholes, forget_bias=self.forget_bias))


@dataclasses.dataclass(frozen=True)
class Grid2GRUCell(ReadyMadeGrid):
    """Two `GRUCell`s of TF1's form (reset_after=False) in a `GridRNNCell`; TF1's `tf.contrib.grid_rnn.Grid2GRUCell`.

    Output: a tuple of one array `[B, H]`, or that array.
    """

    num_units: int
    tied: bool = False
    non_recurrent_fn: Callable | None = None
    output_is_tuple: bool = True
    num_dims = 2
    cell_fn = property(lambda self: functools.partial(GRUCell, reset_after=False))
