"""What every runner does first: look at what it was given, and make the initial state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.engine.chunk import fused_throughout
from jaxrnn.keys import StepKey, call_cell
from jaxrnn.typing import Params, Shapes, State, Tree

Struct = jax.ShapeDtypeStruct


def first_state(
    cell: Any, params: Params, one_step: Shapes, initial_state: State, dtype: str | None, key: StepKey | None
) -> State:
    """The initial state of a run, leaves `[B, ...]`, after everything that the cell will see has been checked.

    Args:
      cell, params: the cell and its params.
      one_step: the inputs of one step, as shapes `[B, ...]`.
      initial_state: what the caller gave, or None for the cell's own in `dtype`, or else in the dtype that the params and
        the inputs have together.
      dtype: its name; see above.
      key: one step's keys, as shapes.
    """
    batch = check.batch_of(one_step)
    if initial_state is None:
        check.state_from_dtype(cell)
        of_zeros = _common_dtype(params, one_step) if dtype is None else jnp.dtype(dtype)
        state = strong(check.arrays(cell.initial_state(batch, of_zeros), "initial_state"))
    else:
        state = strong(check.as_state(cell, check.arrays(initial_state, "initial_state"), batch))
        check.state_dtype(state, dtype)
    if hasattr(cell, "check_inputs"):
        check.step(cell, params, one_step, state, key)
    if not fused_throughout(cell):
        new = jax.eval_shape(lambda *args: call_cell(cell, *args)[1], params, one_step, state, key)
        check.stable_state(cell, state, new)
    return state


def state_at_resets(cell: Any, state: State, given: State, batch: Any) -> State:
    """What resets go back to: what the caller gave, or None for the cell's own; like the state that is carried."""
    given = None if given is None else strong(check.as_state(cell, check.arrays(given, "reset_state"), batch, "reset_state"))
    check.reset_state(cell, state, given)
    if given is not None:
        return given
    floats = [leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    own = cell.initial_state(batch, *floats[:1])
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf).astype(like.dtype), own, state)


def key_struct(key: jax.Array | None) -> StepKey | None:
    """A step's keys, as shapes."""
    if key is None:
        return None
    one = Struct(key.shape, key.dtype)
    return StepKey(one, one, Struct((), jnp.int32))


def _common_dtype(*trees: Tree) -> Any:
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(trees) if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    return jnp.result_type(*dtypes) if dtypes else jnp.float32


def strong(tree: Tree) -> Tree:
    """Python numbers make arrays of a weak dtype, which a carry cannot have."""
    is_weak = lambda leaf: getattr(leaf, "weak_type", False)  # a key says nothing of it
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype) if is_weak(leaf) else leaf, tree)
