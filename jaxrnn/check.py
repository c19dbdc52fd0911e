"""Every check of what a caller passed, and its error text: what was expected, what came, what to do.

Shapes and dtypes are known while tracing, so the checks cost nothing at run time; only `lengths` looks at
numbers, where it can see them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.core
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
    state_tree(cell, state, _first_leaf(inputs).shape[0])


@functools.lru_cache(maxsize=256)
def _param_shapes(cell: Any, input_size: Any) -> dict[str, Shape]:
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size))
    return {path: leaf.shape for path, leaf in _by_path(params)}


@functools.lru_cache(maxsize=256)
def _state_shapes(cell: Any, batch: int) -> tuple[Any, list]:
    state = jax.eval_shape(lambda: cell.initial_state(batch))
    return jax.tree.structure(state), [leaf.shape for leaf in jax.tree.leaves(state)]


def param_tree(cell: Any, params: Any, input_size: Any) -> None:
    """The params that `cell.init(key, input_size)` makes, leaf by leaf."""
    want = _param_shapes(cell, input_size)
    got = {path: getattr(leaf, "shape", None) for path, leaf in _by_path(params)}
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
    for (path, leaf), shape in zip(_by_path(state), shapes, strict=True):
        if jnp.shape(leaf) != shape:
            raise ValueError(
                f"{name_of(cell)}: expected state{path} of shape {shape}, got shape {jnp.shape(leaf)}. "
                f"Build it like cell.initial_state({batch})."
            )
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"{name_of(cell)}: expected state{path} to be floating, got {describe(leaf)}. Convert it to the run's dtype."
            )


def stable_state(cell: Any, state: Any, new: Any) -> None:
    """A step gives back a state of the same structure, shapes and dtypes. For plain functions: ours see to it."""
    if jax.tree.structure(new) != jax.tree.structure(state):
        raise ValueError(
            f"{name_of(cell)}: expected the new state to have the structure of the state, {jax.tree.structure(state)}, "
            f"got {jax.tree.structure(new)}. A cell returns (output, new_state), in this order."
        )
    for (path, a), (_, b) in zip(_by_path(state), _by_path(new), strict=True):
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


# ---- what a runner is called with


def sequence(inputs: Any, time_axis: int) -> tuple[int, int]:
    """(T, B) that all leaves of `inputs` share; time is axis 0 or 1 and batch the other one."""
    layout = "[T, B, ...]" if time_axis == 0 else "[B, T, ...]"
    leaves = _by_path(inputs)
    if not leaves:
        raise ValueError(f"inputs: expected at least one array {layout}, got none.")
    for path, leaf in leaves:
        if leaf.ndim < 2:
            raise ValueError(f"inputs{path}: expected {layout}, got {describe(leaf)}. Add the missing batch or time axis.")
    (first, a), *others = leaves
    for path, b in others:
        for axis, what in ((time_axis, "time steps T"), (1 - time_axis, "batch size B")):
            if a.shape[axis] != b.shape[axis]:
                raise ValueError(
                    f"inputs{path}: expected the same {what} in every leaf, {a.shape[axis]} as in inputs{first}, got "
                    f"{b.shape[axis]} in {describe(b)} (layout {layout})."
                )
    return a.shape[time_axis], a.shape[1 - time_axis]


def step_list(inputs: Any) -> None:
    """A list of T steps, for static_rnn."""
    if not isinstance(inputs, (list, tuple)) or hasattr(inputs, "_fields"):
        raise TypeError(
            f"static_rnn: expected inputs to be a list of T steps [B, ...], got {describe(inputs)}. Split a tensor with "
            "list(jnp.moveaxis(inputs, 1, 0)), or call dynamic_rnn."
        )
    if not inputs:
        raise ValueError("static_rnn: expected at least one step, got an empty list. dynamic_rnn takes T = 0.")


def same_steps(inputs: list) -> int:
    """B, if all T steps of the list are alike."""
    shapes = [[leaf.shape for leaf in jax.tree.leaves(x)] for x in inputs]
    structures = [jax.tree.structure(x) for x in inputs]
    for t in range(1, len(inputs)):
        if structures[t] != structures[0] or shapes[t] != shapes[0]:
            raise ValueError(
                f"static_rnn: expected every step like the first, {structures[0]} of shapes {shapes[0]}, got "
                f"{structures[t]} of shapes {shapes[t]} at step {t}."
            )
    return batch_of(inputs[0])


def batch_of(inputs: Any) -> int:
    """B, if all leaves of a step `[B, ...]` share it."""
    leaves = _by_path(inputs)
    for path, leaf in leaves:
        if leaf.ndim < 1:
            raise ValueError(f"inputs{path}: expected a step [B, ...], got {describe(leaf)}. Add the batch axis.")
        if leaf.shape[0] != leaves[0][1].shape[0]:
            raise ValueError(
                f"inputs{path}: expected the same batch size B in every leaf, {leaves[0][1].shape[0]}, got {describe(leaf)}."
            )
    if not leaves:
        raise ValueError("inputs: expected at least one array [B, ...] a step, got none.")
    return leaves[0][1].shape[0]


def lengths(sequence_length: Any, batch: int, time: int) -> jax.Array | None:
    """The lengths as int32 `[B]`, if they are an integer vector with values in [0, T] where these can be seen."""
    if sequence_length is None:
        return None
    seen = not isinstance(sequence_length, jax.core.Tracer)  # under jit, jnp.asarray makes tracers of numbers too
    values = np.asarray(sequence_length) if seen else sequence_length
    sequence_length = jnp.asarray(sequence_length)
    if not jnp.issubdtype(sequence_length.dtype, jnp.integer):
        raise TypeError(
            f"sequence_length: expected integers, got {describe(sequence_length)}. Convert it with .astype(jnp.int32)."
        )
    if sequence_length.shape != (batch,):
        raise ValueError(
            f"sequence_length must be a vector [B] with one length a row: expected shape ({batch},), got "
            f"{describe(sequence_length)}."
        )
    if seen and batch and (values.min() < 0 or values.max() > time):
        raise ValueError(
            f"sequence_length: expected lengths in [0, T] = [0, {time}], got values from {values.min()} to "
            f"{values.max()}. Clip them, or pad the inputs further. (Under jit they count as clipped.)"
        )
    return sequence_length.astype(jnp.int32)


def resets(flags: Any, shape: Shape, layout: str) -> jax.Array | None:
    """Booleans laid out as the inputs."""
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    if flags.dtype != jnp.bool_:
        raise TypeError(
            f"resets: expected booleans, True where a sequence starts again, got {describe(flags)}. Convert with .astype(bool)."
        )
    if flags.shape != shape:
        raise ValueError(f"resets: expected {layout} = {list(shape)}, as the inputs, got {describe(flags)}.")
    return flags


def prng_key(key: Any) -> None:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.shape != (() if typed else (2,)) or not (typed or key.dtype == jnp.uint32):
        raise TypeError(f"key: expected one PRNG key, got {describe(key)}. Make it with jax.random.key(seed).")


def initial_state(cell: Any, state: Any, batch: int) -> None:
    """A given initial state: what the cell makes, or for a plain function any arrays `[B, ...]`."""
    if hasattr(cell, "initial_state"):
        state_tree(cell, state, batch)
        return
    for path, leaf in _by_path(state):
        if leaf.ndim and leaf.shape[0] != batch:
            raise ValueError(f"initial_state{path}: expected [B, ...] with B = {batch}, got {describe(leaf)}.")


def state_from_dtype(cell: Any) -> None:
    if not hasattr(cell, "initial_state"):
        raise ValueError(
            f"{name_of(cell)}: expected an initial_state, got None. A cell without an initial_state method (a plain "
            "function) needs it; give a pytree of arrays [B, ...]."
        )


def state_dtype(state: Any, dtype: Any) -> None:
    for path, leaf in _by_path(state):
        if dtype is not None and jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.dtype != jnp.dtype(dtype):
            raise ValueError(
                f"initial_state{path}: expected dtype {jnp.dtype(dtype)}, as the argument dtype says, got {describe(leaf)}. "
                "Give one of the two."
            )


def memory(mode: Any, swap_memory: bool, names: tuple[str, ...]) -> None:
    """A mode's name or a policy, and one way to say it."""
    if not callable(mode) and mode not in names:
        raise ValueError(f"memory: expected one of {', '.join(map(repr, names))} or a jax.checkpoint policy, got {mode!r}.")
    if swap_memory and mode not in ("save", "offload"):
        raise ValueError(
            f"swap_memory=True is memory='offload': expected no other memory mode beside it, got memory={mode!r}. "
            "Give one of the two."
        )


def chunk_size(size: Any) -> None:
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"chunk_size: expected an int or None, got {describe(size)}.")
    if size < 1:
        raise ValueError(f"chunk_size: expected at least 1 step, got {size}. None lets the library choose.")


def pair(value: Any, what: str) -> None:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{what}: expected a pair (forward, backward), got {describe(value)}.")


# ---- helpers


def _by_path(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _first_leaf(tree: Any) -> Any:
    return jax.tree.leaves(tree)[0]
