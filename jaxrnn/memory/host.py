"""Arrays in the host's memory."""

from __future__ import annotations

from typing import Any

import jax

from jaxrnn.typing import Tree

_HOST, _DEVICE = jax.memory.Space.Host, jax.memory.Space.Device


def on_host(tree: Tree) -> bool:
    """Whether any leaf of `tree`, of any shape, lives in the host's memory rather than the device's."""
    return any(_space(leaf) == _HOST for leaf in jax.tree.leaves(tree))


def to_host(tree: Tree) -> Any:
    """`tree` with its leaves, of any shape, in the host's memory ("pinned_host"); for use under `jax.jit`.

    Its derivative moves cotangents the other way, which `jax.device_put(x, jax.memory.Space.Host)` alone does not.
    """
    return _move(tree, _HOST)


def to_device(tree: Tree) -> Any:
    """`tree` with its leaves, of any shape, in the device's memory; for use under `jax.jit`. See `to_host`."""
    return _move(tree, _DEVICE)


def _space(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return _HOST if leaf.sharding is not None and leaf.sharding.memory_kind == "pinned_host" else _DEVICE
    return getattr(jax.typeof(leaf), "memory_space", _DEVICE) if isinstance(leaf, jax.Array) else _DEVICE


def _move(tree, space):
    # Without its source a transfer is transposed into none at all, and the cotangent stays in the wrong memory.
    return jax.tree.map(lambda x: x if _space(x) == space else jax.device_put(x, space, src=_space(x)), tree)
