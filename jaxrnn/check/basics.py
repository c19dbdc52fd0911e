"""How an error text names what came."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


def describe(value: Any) -> str:
    """`float32[4, 3]` for an array, the type's name for anything else."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return f"a {type(value).__name__}: {value!r:.80}"


def name_of(cell: Any) -> str:
    return getattr(cell, "__name__", None) or repr(cell)


def arrays(tree: Any, what: str) -> Any:
    """`tree` with every leaf a JAX array."""

    def convert(path, leaf):
        try:
            return jnp.asarray(leaf)
        except TypeError as error:
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)}: expected an array, got {describe(leaf)}. "
                "Pass numbers or arrays; leave out leaves that are not."
            ) from error

    return jax.tree_util.tree_map_with_path(convert, tree)


def by_path(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def first_leaf(tree: Any) -> Any:
    return jax.tree.leaves(tree)[0]


def at_least(name: str, value: Any, unit: str) -> None:
    """An int of 1 or more, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int or None, got {describe(value)}.")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1{unit}, got {value}. None lets the library choose.")
