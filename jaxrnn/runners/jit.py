"""Compilation, cached by the value of the cell."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax


@functools.cache
def _jitted(run: Callable, static: tuple[str, ...]) -> Callable:
    return jax.jit(run, static_argnames=static, inline=True)


def jit_by_value(run: Callable, cell: object, static: tuple[str, ...]) -> Callable:
    """`jax.jit(run)` with the cell as a static argument, so that an equal cell is not compiled again.

    A cell that cannot be hashed (a function object that holds arrays, say) has no value to go by: it runs as it is, to
    be compiled by the caller's own `jax.jit`.
    """
    return _jitted(run, static) if is_value(cell) else run


def is_value(cell: object) -> bool:
    """Whether equal cells can be told to be equal."""
    try:
        hash(cell)
    except TypeError:
        return False
    return True
