"""What the function that makes a loop's inputs returns."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from jaxrnn.check.basics import by_path, describe

_PARTS = "(elements_finished, next_input, next_cell_state, emit_output, next_loop_state)"


def automatic_axes(where: str) -> None:
    if any(kind != AxisType.Auto for kind in jax.sharding.get_abstract_mesh().axis_types):
        raise ValueError(
            f"{where}: expected a mesh with automatic axes, or none, got {jax.sharding.get_abstract_mesh()}. Call it outside "
            "jax.shard_map, on arrays that are placed by jax.device_put: the compiler spreads the run."
        )


def loop_fn(function: Any) -> None:
    if not callable(function):
        raise TypeError(
            f"raw_rnn: expected loop_fn to be a function (time, cell_output, cell_state, loop_state) -> {_PARTS}, got "
            f"{describe(function)}."
        )


def max_steps(count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"max_steps: expected an int, got {describe(count)}. It is the size of what is emitted.")
    if count < 0:
        raise ValueError(f"max_steps: expected 0 or more, got {count}.")


def loop_result(result: Any) -> tuple:
    if not isinstance(result, (tuple, list)) or len(result) != 5:
        got = f"{len(result)} things" if isinstance(result, (tuple, list)) else describe(result)
        raise TypeError(f"loop_fn: expected it to return five things, {_PARTS}, got {got}. Give None for what there is not.")
    return tuple(result)


def finished(flags: Any, batch: int) -> None:
    if getattr(flags, "dtype", None) != jnp.bool_ or flags.shape != (batch,):
        raise TypeError(
            f"loop_fn: expected elements_finished to be bool[{batch}], one for each row of next_input, got {describe(flags)}."
        )


def later_call(before: tuple, after: tuple, emit: Any) -> None:
    """What goes round the loop, `(elements_finished, next_input, next_cell_state, next_loop_state)`, is what it was but for the
    numbers, and what is emitted has the batch's rows."""
    batch = before[0].shape[0]
    finished(after[0], batch)
    for what, a, b in zip(("next_input", "next_cell_state", "next_loop_state"), before[1:], after[1:], strict=True):
        if jax.tree.structure(a) != jax.tree.structure(b):
            raise ValueError(
                f"loop_fn: expected {what} to have the structure that it had at time 0, {jax.tree.structure(a)}, got "
                f"{jax.tree.structure(b)}. All calls return the same but for the numbers."
            )
        for (path, x), (_, y) in zip(by_path(a), by_path(b), strict=True):
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                raise ValueError(
                    f"loop_fn: expected {what}{path} to be {describe(x)}, as at time 0, got {describe(y)}. All calls "
                    "return the same but for the numbers."
                )
    for path, leaf in by_path(emit):
        if leaf.ndim and leaf.shape[0] != batch:
            raise ValueError(f"loop_fn: expected emit_output{path} to be [B, ...] with B = {batch}, got {describe(leaf)}.")
