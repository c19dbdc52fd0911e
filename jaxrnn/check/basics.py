"""How an error text names what came."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]
NO_NUMBERS = ("O", "S", "U", "M", "m")  # NumPy's kinds of dtypes


def describe(value: Any) -> str:
    """`float32[4, 3]` for an array, the type's name for anything else."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return f"a {type(value).__name__}: {' '.join(_shown(value).split()):.80}"


def name_of(cell: Any) -> str:
    return getattr(cell, "__name__", None) or _shown(cell)


def _shown(value: Any) -> str:
    """Its repr without addresses, which are others in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def rnn_cell(kind: type) -> Any:
    """`jaxrnn.RNNCell`, if a class descends from it."""
    return next((ancestor for ancestor in reversed(kind.__mro__) if "check_inputs" in vars(ancestor)), None)


def arrays(tree: Any, what: str) -> Any:
    """`tree` with every leaf a JAX array."""

    def convert(path, leaf):
        try:
            return jnp.asarray(leaf)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)}: expected an array, got {describe(leaf)}. "
                "Pass numbers or arrays; leave out leaves that are not."
            ) from error

    return jax.tree_util.tree_map_with_path(convert, tree)


def shaped(tree: Any, what: str) -> Any:
    """`tree` with every leaf an array, or what has the shape and dtype of one."""
    kind = lambda leaf: getattr(getattr(leaf, "dtype", np.dtype(object)), "kind", "")
    return jax.tree.map(lambda leaf: arrays(leaf, what) if kind(leaf) in NO_NUMBERS else leaf, tree)


def hash_of(value: Any) -> int | None:
    """None of what has no hash."""
    try:
        return hash(value)
    except TypeError:
        return None


def just_like(tree: Any, structs: Any) -> bool:
    """Whether arrays have this very structure, and these shapes and dtypes: the usual case, soon told."""
    leaves, treedef = jax.tree.flatten(tree)
    wanted, structure = jax.tree.flatten(structs)
    told = lambda leaf: (getattr(leaf, "shape", None), getattr(leaf, "dtype", None))
    return treedef == structure and all(told(a) == (b.shape, b.dtype) for a, b in zip(leaves, wanted, strict=True))


def by_path(tree: Any) -> list[tuple[str, Any]]:
    has_shape = lambda node: hasattr(node, "shape")  # arrays, and what stands for one: `jaxrnn.distributed.matrices`
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=has_shape)]


def batch_of(inputs: Any, what: str = "inputs") -> int:
    """B, if all leaves of a step `[B, ...]` share it."""
    leaves = by_path(inputs)
    for path, leaf in leaves:
        if leaf.ndim < 1:
            raise ValueError(f"{what}{path}: expected a step [B, ...], got {describe(leaf)}. Add the batch axis.")
        if leaf.shape[0] != leaves[0][1].shape[0]:
            raise ValueError(
                f"{what}{path}: expected the same batch size B in every leaf, {leaves[0][1].shape[0]}, got {describe(leaf)}."
            )
    if not leaves:
        raise ValueError(f"{what}: expected at least one array [B, ...] a step, got none.")
    return leaves[0][1].shape[0]


def prng_key(key: Any) -> None:
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = hasattr(key, "dtype") and key.dtype == jnp.uint32
    if not (typed and key.shape == ()) and not (raw and key.shape == jax.eval_shape(jax.random.PRNGKey, 0).shape):
        raise TypeError(f"key: expected one PRNG key, got {describe(key)}. Make it with jax.random.key(seed).")


def at_least(name: str, value: Any, unit: str) -> None:
    """An int of 1 or more, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int or None, got {describe(value)}.")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1{unit}, got {value}. None lets the library choose.")
