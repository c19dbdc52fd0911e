"""The state that a cell is given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.check.basics import by_path, describe, just_like, name_of, rnn_cell
from jaxrnn.jit import remembered


@remembered
def _own_state(cell: Any, batch: Any) -> Any:
    return jax.eval_shape(lambda: cell.initial_state(batch))


def makes_state(cell: Any) -> bool:
    """Whether a cell, and all that it is made of, has a state to start from."""
    if not hasattr(cell, "initial_state") or reads_memory(cell):
        return False
    base = rnn_cell(type(cell))
    from_sizes = base is not None and type(cell).initial_state is base.initial_state
    return (not from_sizes or hasattr(cell, "state_size")) and all(map(makes_state, getattr(cell, "inner_cells", ())))


def reads_memory(cell: Any) -> bool:
    """Whether it is an `AttentionWrapper`, or has one inside: its params hold more than `init` makes, and make its state."""
    inside = getattr(cell, "inner_cells", ()) or ((cell.cell,) if hasattr(cell, "cell") else ())
    return hasattr(cell, "with_memory") or any(map(reads_memory, inside))


def _why_given(cell: Any) -> str:
    if reads_memory(cell):
        return "The AttentionWrapper's state depends on its memory: give zero_state(params) for it."
    return (
        "A cell without an initial_state method or a state_size (a plain function) needs it; give a pytree of arrays [B, ...]."
    )


def state_from_dtype(cell: Any) -> None:
    if not makes_state(cell):
        raise ValueError(f"{name_of(cell)}: expected an initial_state, got None. {_why_given(cell)}")


def as_state(cell: Any, state: Any, batch: Any, name: str = "initial_state") -> Any:
    """The state that `cell.initial_state(batch)` makes; plain tuples and lists stand for the cell's own. Of a cell that makes
    none (a plain function): any arrays `[B, ...]`."""
    if makes_state(cell):
        return _like_its_own(cell, state, batch, name)
    for path, leaf in by_path(state):
        if jnp.ndim(leaf) and jnp.shape(leaf)[0] != batch:
            raise ValueError(f"{name}{path}: expected [B, ...] with B = {batch}, got {describe(leaf)}.")
    return state


def _like_its_own(cell, state, batch, name):
    advice = f"Build it like cell.initial_state({batch})."
    return as_its_own(cell, state, _own_state(cell, batch), "state" if name == "initial_state" else name, advice)


def as_its_own(cell: Any, state: Any, own: Any, name: str, advice: str) -> Any:
    """A state like `own`, which has the cell's shapes; plain tuples and lists stand for what it has."""
    if just_like(state, own):
        return state
    state = like(own, state)
    if jax.tree.structure(state) != jax.tree.structure(own):
        raise ValueError(
            f"{name_of(cell)}: expected a {name} of the structure {jax.tree.structure(own)}, got {jax.tree.structure(state)}. "
            f"{advice}"
        )
    for (path, leaf), want in zip(by_path(state), jax.tree.leaves(own), strict=True):
        if jnp.shape(leaf) != want.shape:
            raise ValueError(
                f"{name_of(cell)}: expected {name}{path} of shape {want.shape}, got shape {jnp.shape(leaf)}. {advice}"
            )
        if not _of_a_kind(jnp.result_type(leaf), want.dtype):
            kind = "floating" if jnp.issubdtype(want.dtype, jnp.floating) else str(want.dtype)
            raise TypeError(
                f"{name_of(cell)}: expected {name}{path} to be {kind}, got {describe(leaf)}. Convert it to the run's dtype."
            )
    return state


def _of_a_kind(dtype, own):
    """Any precision will do, and complex numbers where floats would; all else is what it is."""
    if jnp.issubdtype(own, jnp.floating):
        return jnp.issubdtype(dtype, jnp.inexact)
    return jnp.issubdtype(dtype, jnp.complexfloating) if jnp.issubdtype(own, jnp.complexfloating) else dtype == own


def like(own: Any, given: Any) -> Any:
    """`given`, with plain tuples and lists made what they are in `own`, where they have as many parts."""
    if isinstance(own, dict) and isinstance(given, dict) and own.keys() == given.keys():
        return {key: like(own[key], given[key]) for key in given}
    if not (isinstance(own, (tuple, list)) and isinstance(given, (tuple, list)) and len(own) == len(given)):
        return given
    names = getattr(own, "_fields", None)
    if getattr(given, "_fields", names) != names:
        return given
    parts = map(like, own, given)
    return type(own)(*parts) if names else type(own)(parts)


def state_dtype(state: Any, dtype: Any) -> None:
    for path, leaf in by_path(state):
        if dtype is not None and jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.dtype != dtype:
            raise ValueError(
                f"initial_state{path}: expected dtype {dtype}, as the argument dtype says, got {describe(leaf)}. Give one of "
                "the two."
            )


def stable_state(cell: Any, state: Any, new: Any) -> None:
    """A step gives back a state of the same structure, shapes and dtypes. For plain functions: ours see to it."""
    if jax.tree.structure(new) != jax.tree.structure(state):
        raise ValueError(
            f"{name_of(cell)}: expected the new state to have the structure of the state, {jax.tree.structure(state)}, "
            f"got {jax.tree.structure(new)}. A cell returns (output, new_state), in this order."
        )
    for (path, a), (_, b) in zip(by_path(state), by_path(new), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"{name_of(cell)}: expected the new state{path} to be {describe(a)}, as the state, got {describe(b)}. "
                "Cast it in the cell, or give an initial_state of the other dtype or shape."
            )


def reset_state(cell: Any, state: Any, given: Any) -> None:
    """What resets go back to is like the state that is carried; where it is not given, the cell makes it."""
    if given is None and not makes_state(cell):
        raise ValueError(f"{name_of(cell)}: expected a reset_state beside resets, got None. {_why_given(cell)}")
    if given is not None and jax.tree.structure(given) != jax.tree.structure(state):
        raise ValueError(
            f"reset_state: expected the structure of the initial_state, {jax.tree.structure(state)}, got "
            f"{jax.tree.structure(given)}."
        )
    for (path, got), want in zip(by_path(given), jax.tree.leaves(state), strict=False):
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise ValueError(f"reset_state{path}: expected {describe(want)}, as the initial_state, got {describe(got)}.")


def rows_of_state(cell: Any, state: Any, batch: int) -> None:
    for path, leaf in by_path(state):
        if not leaf.ndim or leaf.shape[0] != batch:
            raise ValueError(
                f"{name_of(cell)}: expected state{path} to have {batch} rows, as the inputs have, got {describe(leaf)}. "
                "A kernel takes a batch apart into rows: use fused_chunk for a state with a part that belongs to none."
            )


def solvable(cell: Any, state: Any, batch: Any) -> None:
    """A state that Newton's method can correct."""
    for path, leaf in by_path(state):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or not leaf.ndim or leaf.shape[0] != batch:
            raise ValueError(
                f"parallel: expected state{path} of {name_of(cell)} to be floating [B, ...] with B = {batch}, got "
                f"{describe(leaf)}. Leave parallel out: the loop runs any state."
            )
