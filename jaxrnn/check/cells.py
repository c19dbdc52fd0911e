"""What a cell is, and what a step of it is called with and gives."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.check.basics import Shape, batch_of, by_path, describe, hash_of, just_like, name_of, prng_key, rnn_cell
from jaxrnn.check.states import as_state, reads_memory
from jaxrnn.jit import remembered

_FOUR = ("project", "recur", "gates", "combine")
ANY_SIZE = "any"  # the size of inputs that a cell may read, but that its `init` is not known to be made for


def is_cell(cell: Any, where: str) -> None:
    if not callable(cell):
        raise TypeError(
            f"{where}: expected a cell, got {describe(cell)}. A cell is a jaxrnn cell or any function "
            "cell(params, inputs, state) -> (output, new_state)."
        )
    if isinstance(cell, type):
        raise TypeError(f"{where}: expected a cell, got the class {cell.__name__}. Make one: {cell.__name__}(...).")
    if hasattr(cell, "check_inputs"):
        complete(cell)


def complete(cell: Any) -> None:
    """A `jaxrnn.RNNCell` that can be run, and whose value can be told."""
    if lacking := _lacking(type(cell)):
        raise TypeError(
            f"{type(cell).__name__}: expected a cell in four functions ({', '.join(_FOUR)}), or with a __call__, got one "
            f"without {', '.join(lacking)}. Write them as methods of the class."
        )
    if drawing := _drawing(type(cell)):
        raise TypeError(
            f"{type(cell).__name__}: expected `project` alone to have an argument key, got one of {', '.join(drawing)}. Draw "
            "in project(params, inputs, *, key=None), and hand on what is drawn in z."
        )
    hashable(cell)


def hashable(cell: Any) -> None:
    if hash_of(cell) is not None:
        return
    fields = dataclasses.fields(cell) if dataclasses.is_dataclass(cell) else ()
    held = {field.name: getattr(cell, field.name) for field in fields}
    what = [f" whose {name} is {describe(value)}" for name, value in held.items() if hash_of(value) is None]
    raise TypeError(
        f"{type(cell).__name__}: expected a hashable, frozen cell, got one{' and'.join(what) or ' without a hash'}. Make it a "
        "dataclass(frozen=True) of plain values and tuples; arrays belong in its params."
    )


@functools.lru_cache(maxsize=256)
def _lacking(kind: type) -> list[str]:
    """Which of the four functions a class has not, if it has nothing in their place."""
    base = rnn_cell(kind)
    return [] if runs_itself(kind) else [name for name in _FOUR if getattr(kind, name) is getattr(base, name)]


@functools.lru_cache(maxsize=256)
def _drawing(kind: type) -> list[str]:
    """Which of the other three functions ask for a key, which they are not given."""
    asks = lambda function: inspect.isfunction(function) and "key" in inspect.signature(function).parameters
    return [] if runs_itself(kind) else [name for name in _FOUR[1:] if asks(getattr(kind, name))]


def runs_itself(kind: type) -> bool:
    """Whether a class is run by a `__call__` or a chunk of its own, which may call the four functions as it likes."""
    base = rnn_cell(kind)
    return base is None or any(getattr(kind, name) is not getattr(base, name) for name in ("__call__", "chunk"))


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
    hashable(cell)


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


def step(cell: Any, params: Any, inputs: Any, state: Any, key: Any = None) -> Any:
    """What a `jaxrnn.RNNCell` is called with; the state as the cell has it. A class with a `__call__` of its own may read other
    inputs and params than those that its `init` is made for."""
    complete(cell)
    is_step_key = getattr(key, "_fields", ())[:2] == ("run", "step")
    for part in () if key is None else key[:2] if is_step_key else (key,):
        prng_key(part)
    if not own_call(type(cell)):
        param_tree(cell, params, cell.check_inputs(inputs))
    # Of a layer that reads nothing, on top of one that puts nothing out, the state tells the batch.
    return as_state(cell, state, batch_of(inputs if jax.tree.leaves(inputs) else state))


def input_size(cell: Any, inputs: Any) -> Any:
    """The size that `init` is given for these inputs, of a cell inside another one, which need not be ours."""
    if hasattr(cell, "check_inputs") and not own_call(type(cell)):
        return cell.check_inputs(inputs)
    is_array = hasattr(inputs, "shape") and jnp.issubdtype(inputs.dtype, jnp.inexact)
    return inputs.shape[1] if is_array and inputs.ndim == 2 else ANY_SIZE


def own_call(kind: type) -> bool:
    """Whether a class of cells has a `__call__` that its chunk knows nothing of: the runners call it as a plain function."""
    return _depth(kind, "__call__") < _depth(kind, "chunk")


def _depth(kind, name):
    """How far back in its ancestry a class has what it calls by this name."""
    return next((i for i, ancestor in enumerate(kind.__mro__) if name in vars(ancestor)), len(kind.__mro__))


@remembered
def _own_params(cell: Any, input_size: Any) -> tuple[Any, dict[str, Shape]] | None:
    try:
        params = jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size))
    except (
        NotImplementedError,
        TypeError,
        ValueError,
    ):  # none, or one that asks for more than a size: the step itself will tell
        return None
    return params, {path: leaf.shape for path, leaf in by_path(params)}


def param_tree(cell: Any, params: Any, input_size: Any) -> None:
    """The params that `cell.init(key, input_size)` makes, leaf by leaf."""
    own = None if input_size is ANY_SIZE else _own_params(cell, input_size)
    if own is None or just_like(params, own[0]):
        return
    want = own[1]
    beside = "['memory']" if reads_memory(cell) else None  # which is no weight
    got = {path: getattr(leaf, "shape", None) for path, leaf in by_path(params) if not (beside and beside in path)}
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


def four_functions(cell: Any, is_fused: bool, where: str) -> None:
    if not is_fused:
        raise TypeError(
            f"{where}: expected a cell in four functions (a jaxrnn.RNNCell with no chunk of its own), got {name_of(cell)}. Run "
            "a stack or a wrapper by its own chunk, with Steps(of_four=...), and a function by plain_chunk."
        )


def same_shapes(cell: Any, inputs: Any, outputs: Any, advice: str) -> None:
    """A sum of inputs and outputs needs both alike."""
    same = jax.tree.structure(inputs) == jax.tree.structure(outputs)
    if not same or any(a.shape != b.shape for a, b in zip(jax.tree.leaves(inputs), jax.tree.leaves(outputs), strict=True)):
        sizes = (
            [describe(leaf) for leaf in jax.tree.leaves(inputs)],
            [describe(leaf) for leaf in jax.tree.leaves(outputs)],
        )
        raise ValueError(
            f"{name_of(cell)}: expected inputs like the inner cell's outputs, {sizes[1]}, got {sizes[0]}. {advice}"
        )


def droppable(cell: Any, what: str, tree: Any) -> None:
    """Something to drop elements of."""
    leaves = jax.tree.leaves(tree)
    if not any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves):
        raise TypeError(
            f"{name_of(cell)}: expected floating {what} to drop elements of, got {', '.join(map(describe, leaves)) or 'none'}. "
            "Put the dropout inside: EmbeddingWrapper(DropoutWrapper(cell, ...), ...)."
        )


def pair_of_results(cell: Any, result: Any) -> Any:
    """`(output, new_state)`, which is what a step returns."""
    if not isinstance(result, (tuple, list)) or len(result) != 2 or hasattr(result, "_fields"):
        got = f"{len(result)} things" if isinstance(result, (tuple, list)) else describe(result)
        raise TypeError(f"{name_of(cell)}: expected a step to return the pair (output, new_state), got {got}.")
    return result
