"""Tools for layouts. They work on numpy arrays and on JAX's, tracers too, and give back what they got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Weights = dict[str, Any]  # a framework's names -> arrays
Take = Callable[[str], Any]  # a name -> its array


def join(parts: Sequence[Any], axis: int = -1) -> Any:
    """The parts, one after the other along an axis."""
    return _numpy_of(*parts).concatenate(parts, axis)


def split(array: Any, count: int, axis: int = -1) -> list[Any]:
    """`count` equal parts along an axis."""
    return _numpy_of(array).split(array, count, axis)


def reorder(array: Any, have: str, want: str, axis: int = -1) -> Any:
    """The gates' blocks in another order, one letter a gate: `reorder(kernel, "ijfo", "ifjo")`."""
    blocks = dict(zip(have, split(array, len(have), axis), strict=True))
    return join([blocks[gate] for gate in want], axis)


def zeros_like(array: Any) -> Any:
    """Zeros of the array's shape and dtype."""
    return _numpy_of(array).zeros_like(array)


def inside(scope: str, take: Take) -> Take:
    """`take` for the names under `scope`."""
    return lambda name: take(scope + name)


def under(scope: str, weights: Weights) -> Weights:
    """`weights`, with `scope` in front of the names."""
    return {scope + name: array for name, array in weights.items()}


def _numpy_of(*arrays: Any) -> Any:
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np
