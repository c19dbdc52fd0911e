"""What a run reads is spread over the devices in one way: in `jax.shard_map`, and on a mesh of explicit axes.

There an array's type says over which axes of the mesh it is split or differs. A loop wants its carry to have one type, which
zeros made from a shape alone would not have. And where params, say, are the same on all devices, their gradient is a sum
over these, which belongs behind the loop: inside, where one device skips a chunk and another does not, it would wait forever.

So everything is made to depend, in type but not in value, on everything that was given. That says it for every version of
JAX, and the compiler removes it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from jaxrnn.runners.problem import Problem
from jaxrnn.typing import Tree


def no_rows(problem: Problem) -> jax.Array | None:
    """`[B]`, False everywhere, of a type that depends on all that was given; None where types say nothing of devices."""
    if all(kind == AxisType.Auto for kind in jax.sharding.get_abstract_mesh().axis_types):
        return None
    nowhere = jnp.zeros(problem.time_and_batch[1], bool)
    for name, axis in _batch_axes(problem).items():
        for leaf in jax.tree.leaves(getattr(problem, name)):
            leaf = jax.random.key_data(leaf) if name == "key" else jnp.asarray(leaf)
            nowhere |= jnp.any(leaf != leaf, axis=_all_but(axis, leaf))
    return nowhere & False


def all_manual() -> bool:
    """Whether each device has whole arrays: in a `jax.shard_map` over all axes, or without a mesh."""
    return all(kind == AxisType.Manual for kind in jax.sharding.get_abstract_mesh().axis_types)


def spread_alike(problem: Problem, rows: jax.Array | None) -> Problem:
    """The problem with all its arrays of the type of `rows`."""
    axes = {name: axis for name, axis in _batch_axes(problem).items() if name != "key"}
    return dataclasses.replace(problem, **{name: spread(getattr(problem, name), rows, axes[name]) for name in axes})


def spread(tree: Tree, rows: jax.Array | None, axis: int | None = 0) -> Any:
    """`tree` with the type of `rows` along the batch axis of its leaves; a leaf without that axis belongs to every row."""
    if rows is None:
        return tree

    def one(leaf):
        leaf = jnp.asarray(leaf)
        whole = axis is None or leaf.ndim <= axis
        nothing = (jnp.any(rows) if whole else jnp.expand_dims(rows, _all_but(axis, leaf))).astype(leaf.dtype)
        return leaf | nothing if leaf.dtype == jnp.bool_ else leaf + nothing

    return jax.tree.map(one, tree)


def _batch_axes(problem: Problem) -> dict[str, int | None]:
    """What a run reads, and where its batch axis is."""
    axis = 1 if problem.time_major else 0
    of_states = dict.fromkeys(("sequence_length", "initial_state", "reset_state"), 0)
    return {"params": None, "key": None, **dict.fromkeys(("inputs", "resets", "mask"), axis), **of_states}


def _all_but(axis: int | None, leaf: Any) -> tuple[int, ...]:
    return tuple(i for i in range(leaf.ndim) if i != axis)
