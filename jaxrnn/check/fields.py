"""What a cell is built with: plain numbers, so that cells built alike are equal and are compiled once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxrnn.check.basics import describe
from jaxrnn.check.states import like


def at_least_one(cell: Any, **sizes: Any) -> None:
    """Sizes of a cell are whole numbers from 1."""
    for name, size in _numbers(cell, sizes, "an int", jnp.integer):
        if size < 1:
            raise ValueError(f"{type(cell).__name__}: expected {name} to be at least 1, got {size}.")


def positive(cell: Any, without: str = "no clipping", **values: Any) -> None:
    """Numbers above 0; None is `without`."""
    for name, value in _numbers(cell, values, "a number"):
        if not value > 0:
            advice = f" Leave it None for {without}." if _none_by_default(cell, name) else ""
            raise ValueError(f"{type(cell).__name__}: expected {name} to be above 0, got {value}.{advice}")


def finite(cell: Any, **values: Any) -> None:
    for name, value in _numbers(cell, values, "a number"):
        if not math.isfinite(value):
            raise ValueError(f"{type(cell).__name__}: expected {name} to be finite, got {value}.")


def probabilities(cell: Any, **values: Any) -> None:
    advice = " Dropout acts only where a key is given: leave the key out at test time."
    for name, value in _numbers(cell, values, "a number", advice=advice):
        if not 0 <= value <= 1:
            raise ValueError(
                f"{type(cell).__name__}: expected {name} to be in [0, 1], got {value}. It is the probability to keep an "
                "element; 1.0 keeps all."
            )


def zoneout(cell: Any, given: Any) -> None:
    """Probabilities, one or as many as the inner cell's state has parts, which the cell holds as numbers from now on."""
    leaves, structure = jax.tree.flatten(given, is_leaf=lambda part: part is None)
    numbers = [_number(cell, "state_zoneout_prob", value, "a number, or numbers in the state's structure") for value in leaves]
    for number in numbers:
        if not 0 <= number <= 1:
            raise ValueError(
                f"{type(cell).__name__}: expected state_zoneout_prob to be in [0, 1], got {number}. It is the probability that "
                "an element of the state keeps its old value; 0.0 keeps none."
            )
    own = None if structure.num_leaves == structure.num_nodes == 1 else jax.eval_shape(lambda: cell.cell.initial_state(1))
    probabilities = like(own, structure.unflatten(numbers))
    try:
        jax.tree.broadcast(probabilities, own)
    except ValueError as error:
        raise ValueError(
            f"{type(cell).__name__}: expected state_zoneout_prob to be a number, or to have the structure of the state, "
            f"{jax.tree.structure(own)}, or of its first levels, got {given!r}."
        ) from error
    object.__setattr__(cell, "state_zoneout_prob", probabilities)


def flags(cell: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(cell, name, flag(f"{type(cell).__name__}: {name}", value))


def functions(cell: Any, **values: Any) -> None:
    for name, value in values.items():
        if value is not None and not callable(value):
            raise TypeError(
                f"{type(cell).__name__}: expected {name} to be a function, such as jnp.tanh, or None, got {describe(value)}."
            )


def goes_with(cell: Any, other: str, **values: Any) -> None:
    """Options that mean nothing without another one."""
    for name, value in values.items():
        if value is not None and getattr(cell, other) is None:
            raise ValueError(f"{type(cell).__name__}: expected {other} beside {name}={value}, got {other}=None. Give both.")


def flag(name: str, value: Any) -> bool:
    """A choice between two programs."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{name}: expected True or False, got {describe(value)}. It says which program is made: an array comes too late."
        )
    return bool(value)


def _numbers(cell: Any, values: dict[str, Any], what: str, kind: Any = jnp.number, advice: str = "") -> Iterator:
    """Name by name the numbers that are there, each as a Python number, which the cell holds from now on."""
    for name, value in values.items():
        if value is None and _none_by_default(cell, name):
            continue
        number = _number(cell, name, value, what, kind, advice)
        object.__setattr__(cell, name, number)
        yield name, number


def _number(cell: Any, name: str, value: Any, what: str, kind: Any = jnp.number, advice: str = "") -> int | float:
    text = f"{type(cell).__name__}: expected {name} to be {what}, got {describe(value)}."
    if isinstance(value, jax.Array):
        raise TypeError(
            f"{text} A cell holds no arrays: build it anew for each value, dataclasses.replace(cell, {name}=...), and each "
            f"is compiled once.{advice}"
        )
    number = plain_number(value, kind)
    if number is None:
        raise TypeError(text)
    return number


def plain_number(value: Any, kind: Any) -> int | float | None:
    """The Python number that a number of this kind is; None if it is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.generic, np.ndarray)):
        return None
    dtype = np.asarray(value).dtype
    if np.ndim(value) or not jnp.issubdtype(dtype, kind) or jnp.issubdtype(dtype, jnp.complexfloating):
        return None
    return int(value) if kind is jnp.integer else float(value)


def _none_by_default(cell, name):
    return dataclasses.is_dataclass(cell) and type(cell).__dataclass_fields__[name].default is None


def size_of_inputs(size: Any) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"input_size: expected an int, the D of inputs [B, D], got {describe(size)}.")
    if size < 0:
        raise ValueError(f"input_size: expected 0 or more, got {size}.")


def batch_size(size: Any) -> None:
    if is_symbolic_dim(size):
        return
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"batch_size: expected an int, got {describe(size)}. It is a shape: inputs.shape[0], say.")
    if size < 0:
        raise ValueError(f"batch_size: expected 0 or more, got {size}.")
