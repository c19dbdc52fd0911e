"""Tools for layouts. They work on numpy arrays and on JAX's, tracers too, and give back what they got."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
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


def rows_of(kernel: Any, state_size: int) -> dict[str, Any]:
    """One kernel for the inputs and the state side by side, as two."""
    return {"kernel": kernel[:-state_size], "recurrent_kernel": kernel[-state_size:]}


def one_kernel(params: Weights) -> Any:
    """The inverse of `rows_of`."""
    return join([params["kernel"], params["recurrent_kernel"]], axis=0)


def fold_biases(inputs: Any, state: Any) -> dict[str, Any]:
    """A GRU's biases of the inputs' and of the state's product, in the order r, u, n: but for n's they are only added."""
    gates = 2 * inputs.shape[0] // 3
    return {"bias": join([inputs[:gates] + state[:gates], inputs[gates:]]), "recurrent_bias": state[gates:]}


def two_biases(params: Weights) -> tuple[Any, Any]:
    """The inverse of `fold_biases`, if the sum is the inputs'."""
    bias, recurrent_bias = params["bias"], params["recurrent_bias"]
    gates = bias[: 2 * recurrent_bias.shape[0]]
    return bias, join([zeros_like(gates), recurrent_bias])


def flatten(tree: Any, scope: str = "") -> Weights:
    """Mappings inside mappings as one, whose names are paths: `{"a": {"b": x}}` as `{"a/b": x}`."""
    if not isinstance(tree, Mapping):
        return {scope: tree}
    inner = (flatten(part, f"{scope}/{name}" if scope else str(name)) for name, part in tree.items())
    return {path: leaf for weights in inner for path, leaf in weights.items()}


def nest(weights: Weights) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, array in weights.items():
        *scopes, name = path.split("/")
        functools.reduce(lambda part, scope: part.setdefault(scope, {}), scopes, tree)[name] = array
    return tree


def stack(arrays: Sequence[Any]) -> Any:
    """The arrays as rows of one."""
    return _numpy_of(*arrays).stack(arrays)


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
