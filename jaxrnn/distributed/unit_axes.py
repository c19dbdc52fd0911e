"""Which axes of a cell's params are its hidden units: those that are n times shorter in a cell of H/n units.

A kernel `[D, 4H]` has four blocks of H columns. How many blocks there are shows in a cell of one more unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.distributed.matrices import Gathered, Summed


@dataclasses.dataclass(frozen=True)
class UnitAxes:
    """How a leaf of the params depends on the units.

    Attributes:
      ndim: its rank.
      rows, columns: how many times its first and its last axis have all units, 0 for never; the axis of a vector is its
        columns.
    """

    ndim: int
    rows: int
    columns: int

    def spec(self, axis: str) -> PartitionSpec:
        whole = [None] * self.ndim
        if self.columns:
            return PartitionSpec(*whole[1:], axis)
        return PartitionSpec(axis, *whole[1:]) if self.rows else PartitionSpec()

    def split(self, array: jax.Array, devices: int) -> jax.Array:
        """A device's units side by side, along each axis of units."""
        array = _regrouped(array, -1, self.columns, devices)
        return _regrouped(array, 0, self.rows, devices)

    def join(self, array: jax.Array, devices: int) -> jax.Array:
        """The inverse."""
        array = _regrouped(array, -1, devices, self.columns)
        return _regrouped(array, 0, devices, self.rows)

    def wrap(self, array: jax.Array, axis: str, devices: int) -> Any:
        if not self.rows:
            return array
        return Gathered(array, axis, devices) if self.columns else Summed(array, axis)


def unit_axes(cell: RNNCell, input_size: Any, devices: int) -> Any:
    """A `UnitAxes` for every leaf of the params."""
    shapes = lambda cell: jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size))
    whole, local, one_more = map(shapes, (cell, with_units(cell, lambda count: count // devices), one_more_unit(cell)))

    def leaf(path, whole, local, one_more):
        changed = [i for i, (a, b) in enumerate(zip(whole.shape, one_more.shape, strict=True)) if a != b]
        fits = all(whole.shape[i] == devices * local.shape[i] for i in changed) and whole.ndim <= 2
        check.unit_axes(cell, jax.tree_util.keystr(path), whole.shape, local.shape, fits or not changed)
        blocks = [b - a for a, b in zip(whole.shape, one_more.shape, strict=True)]
        return UnitAxes(whole.ndim, rows=blocks[0] if len(blocks) > 1 else 0, columns=blocks[-1] if blocks else 0)

    return jax.tree_util.tree_map_with_path(leaf, whole, local, one_more)


def _regrouped(array: jax.Array, axis: int, outer: int, inner: int) -> jax.Array:
    """An axis of `outer` groups of `inner` runs as `inner` groups of `outer` runs; as it is if there is no group."""
    if 0 in (outer, inner):
        return array
    moved = jnp.moveaxis(array, axis, 0)
    runs = jnp.reshape(moved, (outer, inner, -1, *moved.shape[1:]))
    return jnp.moveaxis(jnp.reshape(jnp.swapaxes(runs, 0, 1), moved.shape), 0, axis)


def with_units(cell: Any, change: Callable[[int], int]) -> Any:
    """The cell, and the cells inside it, with `change(num_units)` units."""

    def changed(name, value):
        if name == "num_units":
            return change(value)
        if isinstance(value, RNNCell):
            return with_units(value, change)
        if isinstance(value, (tuple, list)) and any(isinstance(part, RNNCell) for part in value):
            return type(value)(with_units(part, change) for part in value)
        return value

    fields = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell) if field.init}
    return dataclasses.replace(cell, **{name: changed(name, value) for name, value in fields.items()})


def one_more_unit(cell: Any) -> Any:
    """An axis of units is one that is longer here."""
    return with_units(cell, lambda count: count + 1)
