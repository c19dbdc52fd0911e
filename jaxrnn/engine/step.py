"""One step of a cell in four functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.keys import StepKey, takes_key
from jaxrnn.typing import FourFunctions, Inputs, Outputs, Params, State, Tree


def step(
    params: Params, inputs: Inputs, state: State, key: StepKey | None = None, *, cell: FourFunctions
) -> tuple[Outputs, State]:
    """`(output, new_state)`."""
    options = {"key": key} if draws(cell) else {}
    return update(cell, params, cell.project(params, inputs, **options), cell.recur(params, state), state)


def draws(cell: FourFunctions) -> bool:
    """Whether the cell's `project` reads a key."""
    return takes_key(cell.project)


def update(cell: FourFunctions, params: Params, z: Tree, r: Tree, state: State) -> tuple[Outputs, State]:
    """The step, from its projected inputs and its recurrent product."""
    return finish(cell, params, cell.gates(params, z, r, state), state)


def finish(cell: FourFunctions, params: Params, g: Tree, state: State) -> tuple[Outputs, State]:
    """`combine`, its results in the state's dtype: a carry keeps its dtype, and TF1's outputs have it too."""
    output, new = check.pair_of_results(cell, cell.combine(params, g, state))
    if jax.tree.structure(new) == jax.tree.structure(state):
        new = jax.tree.map(lambda n, s: _cast(n, s.dtype), new, state)
    check.stable_state(cell, state, new)
    return in_dtype_of(state, output), new


def in_dtype_of(state: State, output: Outputs) -> Outputs:
    """The output in the state's dtype."""
    first = next(iter(jax.tree.leaves(state)), None)
    return output if first is None else jax.tree.map(lambda leaf: _cast(leaf, first.dtype), output)


def _cast(leaf: Any, dtype: DTypeLike) -> Any:
    """A float in another float dtype; integers, say, are what they are."""
    leaf = jnp.asarray(leaf)
    both = jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.issubdtype(dtype, jnp.floating)
    return leaf.astype(dtype) if both else leaf
