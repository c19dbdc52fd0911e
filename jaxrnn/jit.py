"""Compilation, cached by the value of the cell."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable

import jax


@functools.cache
def _jitted(run: Callable, static: tuple[str, ...]) -> Callable:
    return jax.jit(run, static_argnames=static, inline=True)


def jit_by_value(run: Callable, cell: object, static: tuple[str, ...]) -> Callable:
    """`jax.jit(run)` with the cell as a static argument, so that an equal cell is not compiled again.

    A cell whose value cannot be told (it holds arrays, or what may change) runs as it is, to be compiled by the caller's
    own `jax.jit`.
    """
    return _jitted(run, static) if is_value(cell) else run


def is_value(cell: object, seen: tuple[int, ...] = ()) -> bool:
    """Whether cells that are equal now will always do the same.

    An object that is hashed by its identity may hold anything, and change. A function is hashed so too; what it does is
    told by what it closes over.
    """
    if id(cell) in seen or cell is None or isinstance(cell, (type, types.ModuleType, types.BuiltinFunctionType)):
        return True
    parts = _parts(cell)
    if parts is None:
        return type(cell).__hash__ is not object.__hash__ and _has_hash(cell)
    return all(is_value(part, (*seen, id(cell))) for part in parts) and _has_hash(cell)


def _parts(cell):
    """What a function, a tuple or a dataclass holds; None for anything else."""
    if isinstance(cell, types.MethodType):
        return [cell.__self__]
    if isinstance(cell, functools.partial):
        return [cell.func, *cell.args, *cell.keywords.values()]
    if inspect.isfunction(function := inspect.unwrap(cell) if callable(cell) else cell):
        return [*(held.cell_contents for held in function.__closure__ or ()), *(function.__defaults__ or ())]
    if dataclasses.is_dataclass(cell) and type(cell).__hash__ is not object.__hash__:
        return [getattr(cell, field.name) for field in dataclasses.fields(cell)]
    return cell if isinstance(cell, tuple) else None


def _has_hash(cell: object) -> bool:
    try:
        hash(cell)
    except TypeError:
        return False
    return True
