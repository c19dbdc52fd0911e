"""Matrices of which each device has a part, and their products. A cell writes `x @ params["kernel"]`, and need not know.

    y = x W          x `[..., M]` and y `[..., N]`, the axis of one or both split over n devices

    rows and columns split (a recurrent kernel)    y_d = all_gather(x) W[:, d]        `Gathered`
    rows split (a projection)                      y   = sum over d of x_d W[d]       `Summed`
    columns split (a kernel of whole inputs)       y_d = x W[:, d]                    a plain array

The transpose of `all_gather` is a sum that leaves each device its own part: one collective in each direction.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import lax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gathered:
    """All rows and this device's columns of a matrix, `[M, N/n]`; its product gathers x first.

    To its cell it has the shape of a whole matrix of one device's units.
    """

    matrix: jax.Array
    axis: str = dataclasses.field(metadata={"static": True})
    devices: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0] // self.devices, self.matrix.shape[1]

    def __getitem__(self, part: Any) -> Gathered:
        return dataclasses.replace(self, matrix=self.matrix[part])

    def __rmatmul__(self, x: jax.Array) -> jax.Array:
        return lax.all_gather(x, self.axis, axis=x.ndim - 1, tiled=True) @ self.matrix


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Summed:
    """This device's rows of a matrix, `[M/n, N]`; its product is the sum of all devices' products."""

    matrix: jax.Array
    axis: str = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def __getitem__(self, part: Any) -> Summed:
        return dataclasses.replace(self, matrix=self.matrix[part])

    def __rmatmul__(self, x: jax.Array) -> jax.Array:
        total = lax.psum(x @ self.matrix, self.axis)
        # A run's carry counts as another array on each device, be it equal; so the sum does too. `jax.vmap` has no such types.
        mapped = self.axis in jax.sharding.get_abstract_mesh().axis_names
        return lax.pcast(total, self.axis, to="varying") if mapped else total
