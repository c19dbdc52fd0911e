"""What attention is built with, and the memory that it reads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.check.basics import arrays, describe, hash_of, name_of
from jaxrnn.check.fields import plain_number
from jaxrnn.check.runs import lengths as checked_lengths
from jaxrnn.check.states import as_its_own

_MODES = ("recursive", "parallel", "hard")


def mask_value(mechanism: Any, **values: Any) -> None:
    """A number, -inf among them."""
    for name, value in values.items():
        number = None if value is None else plain_number(value, jnp.number)
        if value is not None and (number is None or number != number or number == float("inf")):
            raise TypeError(
                f"{type(mechanism).__name__}: expected {name} to be a number, or None for -inf, got {describe(value)}."
            )
        object.__setattr__(mechanism, name, number)


def not_negative(mechanism: Any, **values: Any) -> None:
    for name, value in values.items():
        number = plain_number(value, jnp.number)
        if number is None or not 0 <= number < float("inf"):
            raise ValueError(f"{type(mechanism).__name__}: expected {name} to be a number from 0, got {describe(value)}.")
        object.__setattr__(mechanism, name, number)


def monotonic_mode(where: str, mode: Any) -> None:
    if mode not in _MODES:
        raise ValueError(f"{where}: expected mode to be one of {', '.join(map(repr, _MODES))}, got {mode!r}.")


def monotonic(p: Any, previous: Any, mode: Any) -> None:
    monotonic_mode("monotonic_attention", mode)
    if p.ndim != 2 or p.shape != previous.shape or p.dtype != previous.dtype or not jnp.issubdtype(p.dtype, jnp.floating):
        raise ValueError(
            "monotonic_attention: expected p_choose_i and previous_attention to be floating [B, M], of one shape and dtype, "
            f"got {describe(p)} and {describe(previous)}."
        )


# ---- the wrapper's parts


def attention_parts(cell: Any) -> None:
    """Mechanisms, and layers for them."""
    several = isinstance(cell.attention_mechanism, tuple)
    mechanisms = cell.attention_mechanism if several else (cell.attention_mechanism,)
    if not mechanisms:
        raise ValueError("AttentionWrapper: expected at least one mechanism, got an empty tuple.")
    for mechanism in mechanisms:
        _part(mechanism, "an attention mechanism, such as LuongAttention(num_units, memory_size)", ("init", "prepare", "score"))
    if cell.attention_layer_size is not None and cell.attention_layer is not None:
        raise ValueError(
            "AttentionWrapper: expected attention_layer_size or attention_layer, got both. A layer has a size of its own."
        )
    for name in ("attention_layer_size", "attention_layer"):
        if (given := getattr(cell, name)) is not None:
            each = one_each(cell, name, given) if several else (given,)
            for layer in each if name == "attention_layer" else ():
                _part(layer, "attention_layer to be a layer, such as Dense(units)", ("init", "units"))


def _part(given: Any, what: str, members: tuple[str, ...]) -> None:
    if isinstance(given, type) or not callable(given) or not all(hasattr(given, name) for name in members):
        raise TypeError(f"AttentionWrapper: expected {what}, got {describe(given)}.")
    if hash_of(given) is None:
        raise TypeError(f"AttentionWrapper: expected {what}, that can be hashed, got {describe(given)}. Make it frozen.")


def one_each(cell: Any, name: str, given: Any) -> tuple:
    """One for each of several mechanisms."""
    count = len(cell.attention_mechanism)
    if not isinstance(given, (list, tuple)) or len(given) != count:
        got = f"{len(given)}" if isinstance(given, (list, tuple)) else describe(given)
        raise ValueError(f"AttentionWrapper: expected {name} to be a tuple with one for each of {count} mechanisms, got {got}.")
    return tuple(given)


def one_size(cell: Any, size: Any) -> int:
    """The size of an inner cell's output, if that is one array `[B, H]`."""
    if plain_number(size, jnp.integer) is None:
        raise ValueError(
            f"{name_of(cell)}: expected the inner cell's output to be one array [B, H], got the size {size!r}. Wrap a cell "
            "that puts out one array."
        )
    return size


def one_array(cell: Any, output: Any) -> None:
    if getattr(output, "ndim", None) != 2:
        raise ValueError(f"{name_of(cell)}: expected the inner cell's output to be one array [B, H], got {describe(output)}.")


def query_size(mechanism: Any, size: Any) -> None:
    """Luong's keys and queries are multiplied."""
    if size != mechanism.num_units:
        raise ValueError(
            f"{type(mechanism).__name__}: expected queries of size num_units={mechanism.num_units}, got size {size}. Make "
            "num_units the size of the inner cell's output."
        )


# ---- the memory


def attention_memory(mechanism: Any, params: Any, memory: Any, lengths: Any) -> tuple[jax.Array, jax.Array | None]:
    """A memory `[B, M, Dm]` and its lengths, int32 `[B]`."""
    memory, name = arrays(memory, "memory"), type(mechanism).__name__
    kernel = params["memory_kernel"]
    shape = getattr(memory, "shape", ())
    if len(shape) != 3 or shape[2] != mechanism.memory_size or shape[1] == 0:
        raise ValueError(
            f"{name}: expected a memory [B, M, {mechanism.memory_size}], as memory_size says, with one position or more, got "
            f"{describe(memory)}."
        )
    if memory.dtype != kernel.dtype:
        raise TypeError(f"{name}: expected a memory of the weights' dtype, {kernel.dtype}, got {describe(memory)}. Convert it.")
    return memory, checked_lengths(lengths, shape[0], shape[1], "memory_sequence_length", "M")


def keys_and_values(mechanism: Any, result: Any, keys: Any) -> tuple[jax.Array, jax.Array]:
    """What a custom_key_value_fn returns."""
    ok = isinstance(result, (tuple, list)) and len(result) == 2
    if not ok or result[0].shape != keys.shape or result[1].ndim != 3 or result[1].shape[:2] != keys.shape[:2]:
        got = ", ".join(map(describe, result)) if ok else describe(result)
        raise ValueError(
            f"{type(mechanism).__name__}: expected custom_key_value_fn to return keys like {describe(keys)} and values "
            f"[{keys.shape[0]}, {keys.shape[1]}, any], got {got}."
        )
    return result[0], result[1]


def has_attention(cell: Any, params: Any) -> None:
    if not isinstance(params, dict) or "attention" not in params:
        raise ValueError(f"{name_of(cell)}: expected params of cell.init(key, input_size), got {_names(params)}.")


def has_memory(cell: Any, params: Any) -> Any:
    has_attention(cell, params)
    if "memory" not in params:
        raise ValueError(
            f"{name_of(cell)}: expected params with a memory, got {_names(params)}. Add it: params = cell.with_memory(params, "
            "memory, memory_sequence_length)."
        )
    return params


def _names(params: Any) -> str:
    return f"params with {', '.join(map(repr, params))}" if isinstance(params, dict) else describe(params)


def no_initial_state(cell: Any, batch: Any) -> Any:
    raise ValueError(
        f"{name_of(cell)}: expected zero_state(params), got initial_state({batch}). The state has a place for each position of "
        "the memory, and that is in the params: give the runners initial_state=cell.zero_state(params)."
    )


def attention_state(cell: Any, state: Any, own: Any, inputs: Any) -> Any:
    """The state that `zero_state` makes, for inputs of the memory's batch."""
    rows, batch = own.attention.shape[0], jax.tree.leaves(inputs)[0].shape[0]
    if rows != batch:
        raise ValueError(
            f"{name_of(cell)}: expected inputs of as many rows as the memory has, {rows}, got {batch}. For beams tile the "
            "memory and its lengths with tile_batch before with_memory."
        )
    return as_its_own(cell, state, own, "state", "Build it with cell.zero_state(params).")
