"""Shapes of weights, whose only unknown is the input size D. It is read off the arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np


class Shape(NamedTuple):
    """A shape as a function of D."""

    base: tuple[int, ...]  # for D = 0
    slope: tuple[Fraction, ...]  # 1 for an axis that grows with D, 1/G for one of D/G, else 0

    def at(self, input_size: int | None) -> tuple[int, ...] | None:
        """The shape for inputs of that size; None if it depends on a size that is not known."""
        if input_size is None and any(self.slope):
            return None
        return tuple(int(b + s * (input_size or 0)) for b, s in zip(self.base, self.slope, strict=True))

    def input_size(self, shape: tuple[int, ...]) -> int | None:
        """The D of a given shape, if there is one."""
        if len(shape) != len(self.base) or not any(self.slope):
            return None
        axis = next(i for i, slope in enumerate(self.slope) if slope)
        size = int((shape[axis] - self.base[axis]) / self.slope[axis])
        return size if size > 0 and self.at(size) == shape else None

    def __str__(self) -> str:
        axes = [_axis(b, s) for b, s in zip(self.base, self.slope, strict=True)]
        return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _axis(base: int, slope: Fraction) -> str:
    grows = "D" if slope == 1 else f"D/{1 / slope}" if slope else ""
    return " + ".join(filter(None, (grows, str(base) if base or not slope else "")))


def shapes_of(make: Callable[[int], Mapping[str, Any]], multiple: int = 1) -> dict[str, Shape]:
    """The shapes of the arrays `make(input_size)`, in its order, from two sizes; nothing is computed.

    `multiple` is what the input size is a multiple of.
    """
    names: list[str] = []

    def arrays(size: int) -> list[Any]:
        made = make(size)
        names[:] = made
        return list(made.values())

    one, two = (jax.eval_shape(functools.partial(arrays, size)) for size in (multiple, 2 * multiple))
    pairs = [list(zip(a.shape, b.shape, strict=True)) for a, b in zip(one, two, strict=True)]
    shapes = [Shape(tuple(2 * a - b for a, b in pair), tuple(Fraction(b - a, multiple) for a, b in pair)) for pair in pairs]
    return dict(zip(names, shapes, strict=True))


def input_size(shapes: Mapping[str, Shape], arrays: Mapping[str, Any]) -> int | None:
    """The D of the first array that tells it."""
    sizes = (shapes[name].input_size(np.shape(array)) for name, array in arrays.items() if name in shapes)
    return next((size for size in sizes if size), None)
