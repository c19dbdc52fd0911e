"""What a cell is built with and called with."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.check.basics import Shape, by_path, describe, first_leaf, name_of

# ---- the configuration of cells


def at_least_one(cell: Any, **sizes: int | None) -> None:
    """Sizes of a cell are whole numbers from 1."""
    for name, size in sizes.items():
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"{type(cell).__name__}: expected {name} to be an int, got {describe(size)}.")
        if size < 1:
            raise ValueError(f"{type(cell).__name__}: expected {name} to be at least 1, got {size}.")


def positive(cell: Any, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(
                f"{type(cell).__name__}: expected {name} to be above 0, got {value}. Leave it None for no clipping."
            )


def goes_with(cell: Any, other: str, **values: Any) -> None:
    """Options that mean nothing without another one."""
    for name, value in values.items():
        if value is not None and getattr(cell, other) is None:
            raise ValueError(f"{type(cell).__name__}: expected {other} beside {name}={value}, got {other}=None. Give both.")


def probabilities(cell: Any, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(
                f"{type(cell).__name__}: expected {name} to be in [0, 1], got {value}. It is the probability to keep an "
                "element; 1.0 keeps all."
            )


def is_cell(cell: Any, where: str) -> None:
    if not callable(cell):
        raise TypeError(
            f"{where}: expected a cell, got {describe(cell)}. A cell is a jaxrnn cell or any function "
            "cell(params, inputs, state) -> (output, new_state)."
        )
    if isinstance(cell, type):
        raise TypeError(f"{where}: expected a cell, got the class {cell.__name__}. Make one: {cell.__name__}(...).")


def cell_sequence(cells: Any, where: str) -> None:
    if not isinstance(cells, (list, tuple)):
        raise TypeError(f"{where}: expected a list or tuple of cells, got {describe(cells)}.")
    if not cells:
        raise ValueError(f"{where}: expected at least one cell, got an empty {type(cells).__name__}.")
    for cell in cells:
        full_cell(cell, where)


def full_cell(cell: Any, where: str) -> None:
    """A cell that makes its own params and state, so that another one can wrap it."""
    is_cell(cell, where)
    if not (hasattr(cell, "init") and hasattr(cell, "initial_state")):
        raise TypeError(
            f"{where}: expected a cell with init and initial_state, got {describe(cell)}. Write it as a jaxrnn.RNNCell; "
            "plain functions are for the runners only."
        )


# ---- one step of a cell


def features(cell: Any, inputs: Any) -> int:
    """D, if `inputs` are floating `[B, D]`."""
    if not hasattr(inputs, "shape"):
        raise TypeError(f"{name_of(cell)}: expected inputs of a step to be one array [B, D], got {describe(inputs)}.")
    if not jnp.issubdtype(inputs.dtype, jnp.inexact):
        raise TypeError(
            f"{name_of(cell)}: expected floating inputs, got {describe(inputs)}. Convert them, or wrap the cell in an "
            "EmbeddingWrapper if they are ids."
        )
    if inputs.ndim != 2:
        raise ValueError(
            f"{name_of(cell)}: expected inputs of a step to be [B, D] (of a sequence: [B, T, D]), got a step of "
            f"{describe(inputs)}. Reshape the features to one axis."
        )
    return inputs.shape[1]


def ids(cell: Any, inputs: Any) -> None:
    """Integer ids `[B]` or `[B, 1]`."""
    if not hasattr(inputs, "shape") or not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise TypeError(f"{name_of(cell)}: expected integer ids as inputs, got {describe(inputs)}.")
    if inputs.ndim not in (1, 2) or inputs.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{name_of(cell)}: expected the ids of a step to be [B] or [B, 1] (of a sequence: [B, T]), got a step of "
            f"{describe(inputs)}."
        )


def step(cell: Any, params: Any, inputs: Any, state: Any) -> None:
    """What a cell of this package is called with."""
    param_tree(cell, params, cell.check_inputs(inputs))
    state_tree(cell, state, first_leaf(inputs).shape[0])


@functools.lru_cache(maxsize=256)
def _param_shapes(cell: Any, input_size: Any) -> dict[str, Shape]:
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size))
    return {path: leaf.shape for path, leaf in by_path(params)}


@functools.lru_cache(maxsize=256)
def _state_shapes(cell: Any, batch: int) -> tuple[Any, list]:
    state = jax.eval_shape(lambda: cell.initial_state(batch))
    return jax.tree.structure(state), [leaf.shape for leaf in jax.tree.leaves(state)]


def param_tree(cell: Any, params: Any, input_size: Any) -> None:
    """The params that `cell.init(key, input_size)` makes, leaf by leaf."""
    want = _param_shapes(cell, input_size)
    got = {path: getattr(leaf, "shape", None) for path, leaf in by_path(params)}
    advice = f"Pass what cell.init(key, {input_size}) returns."
    missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
    if missing or extra:
        lacks = f" They lack params{', params'.join(missing)}." if missing else ""
        has = f" They have params{', params'.join(extra)}, which it does not know." if extra else ""
        raise ValueError(f"{name_of(cell)}: the params are not this cell's.{lacks}{has} {advice}")
    for path, shape in want.items():
        if got[path] != shape:
            raise ValueError(
                f"{name_of(cell)}: expected params{path} of shape {shape} for inputs of size {input_size}, got shape "
                f"{got[path]}. {advice}"
            )


def state_tree(cell: Any, state: Any, batch: int) -> None:
    """The state that `cell.initial_state(batch)` makes."""
    structure, shapes = _state_shapes(cell, batch)
    if jax.tree.structure(state) != structure:
        raise ValueError(
            f"{name_of(cell)}: expected a state of the structure {structure}, got {jax.tree.structure(state)}. "
            f"Build it like cell.initial_state({batch})."
        )
    for (path, leaf), shape in zip(by_path(state), shapes, strict=True):
        if jnp.shape(leaf) != shape:
            raise ValueError(
                f"{name_of(cell)}: expected state{path} of shape {shape}, got shape {jnp.shape(leaf)}. "
                f"Build it like cell.initial_state({batch})."
            )
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"{name_of(cell)}: expected state{path} to be floating, got {describe(leaf)}. Convert it to the run's dtype."
            )


def four_functions(cell: Any, is_fused: bool, where: str) -> None:
    if not is_fused:
        raise TypeError(
            f"{where}: expected a cell in four functions (a jaxrnn.RNNCell with no chunk of its own), got {name_of(cell)}. Run "
            "a stack or a wrapper by its own chunk, with Steps(of_four=...), and a function by plain_chunk."
        )


def back_end(name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ValueError(f"expected back_end to be one of {', '.join(map(repr, known))}, got {name!r}.")
    if "mosaic" in name and jax.__version_info__ < (0, 12):
        raise ValueError(f"back_end={name!r}: expected jax 0.12 or later, got {jax.__version__}. Use 'triton'.")


def rows_of_state(cell: Any, state: Any, batch: int) -> None:
    for path, leaf in by_path(state):
        if not leaf.ndim or leaf.shape[0] != batch:
            raise ValueError(
                f"{name_of(cell)}: expected state{path} to have {batch} rows, as the inputs have, got {describe(leaf)}. "
                "A kernel takes a batch apart into rows: use fused_chunk for a state with a part that belongs to none."
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


def same_shapes(cell: Any, inputs: Any, outputs: Any) -> None:
    """A sum of inputs and outputs needs both alike."""
    same = jax.tree.structure(inputs) == jax.tree.structure(outputs)
    if not same or any(a.shape != b.shape for a, b in zip(jax.tree.leaves(inputs), jax.tree.leaves(outputs), strict=True)):
        sizes = (
            [describe(leaf) for leaf in jax.tree.leaves(inputs)],
            [describe(leaf) for leaf in jax.tree.leaves(outputs)],
        )
        raise ValueError(
            f"{name_of(cell)}: expected inputs like the inner cell's outputs, {sizes[1]}, got {sizes[0]}. Make the sizes "
            "equal or give a residual_fn(inputs, outputs)."
        )


def pair_of_results(cell: Any, result: Any) -> Any:
    """`(output, new_state)`, which is what a step returns."""
    if not isinstance(result, (tuple, list)) or len(result) != 2 or hasattr(result, "_fields"):
        got = f"{len(result)} things" if isinstance(result, (tuple, list)) else describe(result)
        raise TypeError(f"{name_of(cell)}: expected a step to return the pair (output, new_state), got {got}.")
    return result
