"""The recurrent product at one step of a loop, and its tangent, in the form that a CPU has done soonest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxrnn.tangents import several_devices, tangent_of
from jaxrnn.traced import Trace, read_leaves

_MANY_ROWS = 8  # of a batch, of which a step's product is one of matrices
_FEW_ROWS = range(2, 7)
_LITTLE_WORK = 50_000  # multiplications


def recur(cell: Any, params: Any, state: Any) -> Any:
    """`cell.recur(params, state)`, of a few rows one by one.

    From jax 0.11 on XLA compiles a loop of small arrays into one function, with the products of vectors in it; for a product
    of matrices it calls a library, at every step. A training step takes 0.35 to 0.7 of the time with two rows, 0.5 to 0.8 with
    four.
    """
    rows = rows_of(state)
    if not _one_by_one(cell, params, state, rows):
        return cell.recur(params, state)
    row = lambda i: jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, i, i + 1), state)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(cell.recur(params, row(i)) for i in range(rows)))


def recur_tangent(cell: Any, params: Any, rows: int) -> Callable:
    """`(state, .state) -> r(.state)`, at every step of a loop over `rows` rows.

    The backward loop multiplies by the transpose of the recurrent matrices. They are turned once, in front of the loop, and
    back inside it, where the compiler makes one product of the two: 5 to 20 % of a training step on a CPU, from a few rows on
    (fewer are products of a vector, for which it is slower, up to five times; so may be those of a symbolic number).
    """
    leaves, tree = jax.tree.flatten(params)
    matrices = [many_rows(rows) and leaf.ndim == 2 for leaf in leaves]
    turned = [lax.optimization_barrier(leaf.T) if m else leaf for leaf, m in zip(leaves, matrices, strict=True)]

    def tangent(state, dstate):
        params = tree.unflatten([leaf.T if m else leaf for leaf, m in zip(turned, matrices, strict=True)])
        return tangent_of(lambda s: recur(cell, params, s), (state,), (dstate,))

    return tangent


def rows_of(state: Any) -> Any:
    """B; 1 if no part of the state has rows."""
    return next((leaf.shape[0] for leaf in jax.tree.leaves(state) if leaf.ndim), 1)


def many_rows(rows: Any) -> bool:
    """Whether a batch is so large that a step takes longer than it takes to start its operations; unknown sizes are not."""
    return not is_symbolic_dim(rows) and rows >= _MANY_ROWS


def _one_by_one(cell, params, state, rows):
    if jax.default_backend() != "cpu" or jax.__version_info__ < (0, 11) or several_devices() or is_symbolic_dim(rows):
        return False
    read = read_leaves(lambda p: cell.recur(p, state), params) if rows in _FEW_ROWS else []
    if not read or rows * sum(leaf.size for leaf in read) > _LITTLE_WORK:
        return False
    trace = Trace.of(cell.recur, params, state)
    leaves = [*trace.closed.out_avals, *jax.tree.leaves(state)]
    return all(trace.varies) and all(leaf.ndim and leaf.shape[0] == rows for leaf in leaves)
