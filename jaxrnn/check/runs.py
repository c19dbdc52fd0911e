"""What a runner is called with."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxrnn.check.basics import NO_NUMBERS, Shape, batch_of, by_path, describe


def sequence(inputs: Any, time_axis: int) -> tuple[int, int]:
    """(T, B) that all leaves of `inputs` share; time is axis 0 or 1 and batch the other one."""
    layout = "[T, B, ...]" if time_axis == 0 else "[B, T, ...]"
    leaves = by_path(inputs)
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


def lengths(sequence_length: Any, batch: Any, time: Any, name: str = "sequence_length", axis: str = "T") -> jax.Array | None:
    """The lengths as int32 `[B]`, if they are an integer vector with values in [0, T] where these can be seen."""
    if sequence_length is None:
        return None
    given = numbers(name, sequence_length, "integers [B]")
    vector = jnp.asarray(given)
    if not jnp.issubdtype(vector.dtype, jnp.integer) and vector.size:
        raise TypeError(f"{name}: expected integers, got {describe(vector)}. Convert it with .astype(jnp.int32).")
    if vector.shape != (batch,):
        raise ValueError(
            f"{name} must be a vector [B] with one length a row: expected shape ({batch},), got {describe(vector)}."
        )
    if not isinstance(given, jax.core.Tracer) and vector.size:  # under jit, jnp.asarray makes tracers of numbers too
        values = np.asarray(given)
        if values.min() < 0 or (not is_symbolic_dim(time) and values.max() > time):
            raise ValueError(
                f"{name}: expected lengths in [0, {axis}] = [0, {time}], got values from {values.min()} to "
                f"{values.max()}. Clip them, or pad the inputs further. (Under jit they count as clipped.)"
            )
    return vector.astype(jnp.int32)


def booleans(name: str, given: Any, shape: Shape, layout: str, meaning: str) -> jax.Array | None:
    """Booleans laid out as the inputs."""
    if given is None:
        return None
    array = jnp.asarray(numbers(name, given, f"booleans {layout}"))
    if array.dtype != jnp.bool_ and array.size:
        raise TypeError(f"{name}: expected booleans, {meaning}, got {describe(array)}. Convert with .astype(bool).")
    if array.shape != shape:
        raise ValueError(f"{name}: expected {layout} = {list(shape)}, as the inputs, got {describe(array)}.")
    return array.astype(bool)


def booleans_of_rank(name: str, given: Any, rank: int, expected: str) -> jax.Array:
    array = jnp.asarray(numbers(name, given, expected))
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name}: expected {expected}, got {describe(array)}. Convert with .astype(bool).")
    if array.ndim != rank:
        raise ValueError(f"{name}: expected {expected}, got {describe(array)}.")
    return array


def as_many(name: str, count: Any, other: str, rows: Any) -> None:
    if count != rows:
        raise ValueError(f"{name}: expected one for each of the {rows} rows of {other}, got {count}.")


def numbers(name: str, value: Any, expected: str) -> Any:
    """One array, of numbers that may be in lists, traced or not; NumPy's where they can be seen."""
    if isinstance(value, jax.Array):
        return value
    try:
        if isinstance(value, (dict, set, frozenset)):
            raise TypeError("it has no order")
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
        array = jnp.asarray(value) if traced else np.asarray(value)
        if array.dtype.kind in NO_NUMBERS:
            raise TypeError("it holds other things than numbers")
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"{name}: expected an array of {expected}, got {describe(value)}. Pass an array, or a list of equally many numbers "
            "a row."
        ) from error
    return array


def dtype(given: Any) -> str | None:
    """A floating dtype by its name, as JAX has it: np.dtype("float64") == None, and what is compiled for one of them is not
    for the other."""
    if given is None:
        return None
    try:
        kind = jax.dtypes.canonicalize_dtype(given)
    except (TypeError, ValueError) as error:
        raise TypeError(f"dtype: expected a floating dtype, got {describe(given)}. Pass one such as jnp.float32.") from error
    if not jnp.issubdtype(kind, jnp.inexact):
        raise TypeError(f"dtype: expected a floating dtype, got {kind}. It is the state's: pass one such as jnp.float32.")
    return kind.name


def truncation(k1: Any, k2: Any) -> tuple[int, int]:
    """(k1, k2), with k1 for a k2 of None."""
    k2 = k1 if k2 is None else k2
    for name, steps in (("k1", k1), ("k2", k2)):
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
            raise TypeError(f"{name}: expected a number of steps, an int, got {describe(steps)}.")
    if not 1 <= k1 <= k2:
        raise ValueError(
            f"k1, k2: expected 1 <= k1 <= k2, got k1={k1}, k2={k2}. A window has k1 steps, and the gradient goes back k2 from "
            "its end."
        )
    return int(k1), int(k2)


def pieces(time: int, k1: int, streamed: bool) -> None:
    """Pieces of a stream, whole windows on the device."""
    if time % k1:
        raise ValueError(f"inputs: expected T to be a multiple of k1={k1}, got T = {time}. Keep the rest for the next call.")
    if streamed:
        raise ValueError(
            "inputs: expected the next piece of a stream on the device, got it in the host's memory. Move it with "
            "jaxrnn.memory.to_device, or take shorter pieces."
        )


def of_a_stream(given: Any, kind: type) -> Any:
    if not isinstance(given, kind):
        raise TypeError(f"stream: expected the {kind.__name__} that the call before returned, got {describe(given)}.")
    return given


def stream(given: Any, like: Any) -> Any:
    """The state of a stream that has the cell, the batch, k1 and k2 of `like`."""
    for name, what in (("resets", "resets"), ("mask", "a mask or lengths")):
        had, has = (what if getattr(stream, name) is not None else f"no {name}" for stream in (given, like))
        if had != has:
            raise ValueError(
                f"stream: expected {had}, as in the calls before, got {has}. Pass {what} in every call or in none."
            )
    for name, a, b in zip(like._fields, given, like, strict=True):
        if jax.tree.structure(a) != jax.tree.structure(b):
            raise ValueError(
                f"stream.{name}: expected the structure {jax.tree.structure(b)}, got {jax.tree.structure(a)}. Pass what the "
                "call before returned, for the same cell and inputs."
            )
    for (path, a), (_, b) in zip(by_path(given), by_path(like), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"stream{path}: expected {describe(b)}, got {describe(a)}. Go on with the cell, batch, dtype, k1 and k2 that "
                "the stream began with."
            )
    return given


def pair(value: Any, what: str) -> None:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{what}: expected a pair (forward, backward), got {describe(value)}.")


def layers(**lists: Any) -> None:
    """Lists of equally many layers, one or more."""
    for name, value in lists.items():
        if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
            raise TypeError(f"{name}: expected a list with one item a layer, got {describe(value)}.")
    (first, one), *others = lists.items()
    if not one:
        raise ValueError(f"{first}: expected at least one layer, got an empty {type(one).__name__}.")
    for name, value in others:
        if len(value) != len(one):
            raise ValueError(f"{name}: expected {len(one)} layers, as {first} has, got {len(value)}.")


def steps_discarded(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"discard: expected a number of steps, an int, got {describe(count)}.")
    if count < 0:
        raise ValueError(f"discard: expected 0 steps or more, got {count}.")
    return int(count)
