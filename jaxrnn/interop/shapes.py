"""Shapes of weights, whose only unknown is the input size D. It is read off the arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Shape(NamedTuple):
    """A shape as a function of D."""

    base: tuple[int, ...]  # for D = 0
    slope: tuple[int, ...]  # 1 for an axis that grows with D, else 0

    def at(self, input_size: int | None) -> tuple[int, ...] | None:
        """The shape for inputs of that size; None if it depends on a size that is not known."""
        if input_size is None and any(self.slope):
            return None
        return tuple(b + s * (input_size or 0) for b, s in zip(self.base, self.slope, strict=True))

    def input_size(self, shape: tuple[int, ...]) -> int | None:
        """The D of a given shape, if there is one."""
        if len(shape) != len(self.base) or not any(self.slope):
            return None
        axis = self.slope.index(1)
        size = shape[axis] - self.base[axis]
        return size if size > 0 and self.at(size) == shape else None

    def __str__(self) -> str:
        axes = [_axis(b, s) for b, s in zip(self.base, self.slope, strict=True)]
        return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _axis(base: int, slope: int) -> str:
    return str(base) if not slope else f"D + {base}" if base else "D"


def shapes_of(make: Callable[[int], Mapping[str, Any]]) -> dict[str, Shape]:
    """The shapes of the arrays `make(input_size)`, in its order, from two sizes; nothing is computed."""
    names: list[str] = []

    def arrays(size: int) -> list[Any]:
        made = make(size)
        names[:] = made
        return list(made.values())

    one, two = (jax.eval_shape(functools.partial(arrays, size)) for size in (1, 2))
    pairs = [list(zip(a.shape, b.shape, strict=True)) for a, b in zip(one, two, strict=True)]
    shapes = [Shape(tuple(2 * a - b for a, b in pair), tuple(b - a for a, b in pair)) for pair in pairs]
    return dict(zip(names, shapes, strict=True))


def input_size(shapes: Mapping[str, Shape], arrays: Mapping[str, Any]) -> int | None:
    """The D of the first array that tells it."""
    sizes = (shapes[name].input_size(np.shape(array)) for name, array in arrays.items() if name in shapes)
    return next((size for size in sizes if size), None)
