"""Compilation, cached by the value of the cell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable

import jax


@functools.cache
def _jitted(run: Callable, static: tuple[str, ...]) -> Callable:
    return jax.jit(run, static_argnames=static, inline=True)


def jit_by_value(run: Callable, cell: object, static: tuple[str, ...]) -> Callable:
    """`jax.jit(run)` with the cell as a static argument, so that an equal cell is not compiled again.

    A cell that cannot be hashed (a function object that holds arrays, say) has no value to go by: it runs as it is, to
    be compiled by the caller's own `jax.jit`.
    """
    if isinstance(cell, Hashable):
        try:
            hash(cell)
        except TypeError:
            return run
        return _jitted(run, static)
    return run
