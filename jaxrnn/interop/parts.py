"""Layouts of cells made of cells, for frameworks in which each part has its names under a scope of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxrnn.interop.arrays import inside, under
from jaxrnn.interop.weights import Framework, Layout


def layers(framework: Callable[[], Framework], scopes: Callable[[Sequence[Any]], Sequence[str]]) -> Layout:
    """A `MultiRNNCell` whose layers have their names under `scopes(layers)`. `framework()` is the table that this is in."""

    def read(cell, take):
        each = enumerate(zip(cell.cells, scopes(cell.cells), strict=True))
        return {f"cell_{i}": framework().read(layer, inside(scope, take)) for i, (layer, scope) in each}

    def write(cell, params):
        weights = {}
        for i, (layer, scope) in enumerate(zip(cell.cells, scopes(cell.cells), strict=True)):
            weights.update(under(scope, framework().write(layer, params[f"cell_{i}"])))
        return weights

    return Layout(read, write)


def numbered(scope: str) -> Callable[[Sequence[Any]], Sequence[str]]:
    """The scopes of layers that are numbered from 0: `numbered("cell_{}/")`."""
    return lambda cells: [scope.format(i) for i in range(len(cells))]


def directions(framework: Callable[[], Framework], fw: str, bw: str) -> Layout:
    """A pair of cells, one a direction, with their names under the scopes `fw` and `bw`."""

    def read(cells, take):
        return tuple(framework().read(cell, inside(scope, take)) for cell, scope in zip(cells, (fw, bw), strict=True))

    def write(cells, params):
        forward, backward = (framework().write(*each) for each in zip(cells, params, strict=True))
        return {**under(fw, forward), **under(bw, backward)}

    return Layout(read, write)
