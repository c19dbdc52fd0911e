"""What the cells of `jaxrnn.contrib` are built with and read, where it is theirs alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.check.basics import by_path, describe, name_of, rnn_cell
from jaxrnn.check.cells import features, full_cell, hashable, runs_itself
from jaxrnn.check.fields import at_least_one, finite, plain_number, positive
from jaxrnn.check.linear import inputs_of_units


def conv_ndims(cell: Any, count: Any) -> None:
    at_least_one(cell, conv_ndims=count)
    if count > 3:
        raise ValueError(f"{type(cell).__name__}: expected conv_ndims to be 1, 2 or 3, got {count}.")


def shape(cell: Any, count: int, **shapes: Any) -> None:
    """Shapes of `count` axes, which the cell holds as tuples from now on."""
    for name, given in shapes.items():
        sizes = [plain_number(size, jnp.integer) for size in given] if isinstance(given, (list, tuple)) else []
        if len(sizes) != count or any(size is None or size < 1 for size in sizes):
            raise ValueError(
                f"{type(cell).__name__}: expected {name} to be {count} whole numbers from 1, got {given!r}. Give a tuple."
            )
        object.__setattr__(cell, name, tuple(sizes))


def examples(cell: Any, inputs: Any, wanted: Sequence[int]) -> Sequence[int]:
    """The shape of one example, if `inputs` are floating `[B, *wanted]`."""
    if not hasattr(inputs, "shape") or not jnp.issubdtype(inputs.dtype, jnp.inexact):
        raise TypeError(f"{name_of(cell)}: expected floating inputs of a step, one array, got {describe(inputs)}.")
    if inputs.shape[1:] != wanted:
        raise ValueError(
            f"{name_of(cell)}: expected inputs of a step to be [B, {', '.join(map(str, wanted))}], as input_shape says, got a "
            f"step of {describe(inputs)}."
        )
    return wanted


def projected_to_units(cell: Any) -> None:
    """Inputs that are projected have the cell's size from then on."""
    if cell.num_in_proj not in (None, cell.num_units):
        raise ValueError(
            f"{type(cell).__name__}: expected num_in_proj to be num_units={cell.num_units} or None, got {cell.num_in_proj}. "
            "Inputs and state are mixed, so that both have num_units."
        )


def features_of_units(cell: Any, inputs: Any) -> int:
    """D, if it is num_units."""
    return inputs_of_units(cell, features(cell, inputs), f"Set num_in_proj={cell.num_units}")


def fused_cell(layer: Any) -> None:
    """A function of a whole sequence."""
    where, cell = type(layer).__name__, layer.cell
    if not callable(cell) or isinstance(cell, type):
        raise TypeError(f"{where}: expected a fused cell, got {describe(cell)}. Pass a FusedRNNCellAdaptor, say.")
    if rnn_cell(type(cell)):
        raise TypeError(
            f"{where}: expected a fused cell, which runs a whole sequence, got {name_of(cell)}, which runs a step. Wrap it: "
            f"{where}(FusedRNNCellAdaptor(cell))."
        )
    hashable(cell)


def cell_of_gates(wrapper: Any, cell: Any) -> None:
    """A cell whose products can be changed between its functions, in blocks of num_units columns."""
    where = type(wrapper).__name__
    full_cell(cell, where)
    if runs_itself(type(cell)) or "key" in inspect.signature(cell.project).parameters:
        raise TypeError(
            f"{where}: expected a cell in four functions that draws nothing, got {name_of(cell)}. Wrap the cells inside a "
            "stack or a wrapper, each by itself."
        )
    if plain_number(getattr(cell, "num_units", None), jnp.integer) is None:
        raise TypeError(f"{where}: expected a cell with num_units, got {name_of(cell)}. Give it one, the columns of a gate.")


def products_alone(wrapper: Any, cell: Any) -> None:
    if not getattr(cell, "only_products", True):
        raise TypeError(
            f"{type(wrapper).__name__}: expected a cell whose project gives products alone, got {name_of(cell)}. Such a cell "
            "has to normalise by itself."
        )


def some_blocks(wrapper: Any, columns: int) -> None:
    if not columns:
        raise ValueError(
            f"{type(wrapper).__name__}: expected products in blocks of {wrapper.cell.num_units} columns, got none of "
            f"{name_of(wrapper.cell)}. Such a cell has to normalise by itself."
        )


def cycle(cell: Any) -> None:
    """How a phased unit opens and closes."""
    finite(cell, leak=cell.leak, ratio_on=cell.ratio_on)
    positive(cell, ratio_on=cell.ratio_on, period_init_min=cell.period_init_min, period_init_max=cell.period_init_max)
    finite(cell, period_init_max=cell.period_init_max)
    for name in ("leak", "ratio_on"):
        if not 0 <= getattr(cell, name) <= 1:
            raise ValueError(f"{type(cell).__name__}: expected {name} to be in [0, 1], got {getattr(cell, name)}.")
    if cell.period_init_min > cell.period_init_max:
        raise ValueError(
            f"{type(cell).__name__}: expected period_init_min to be at most period_init_max={cell.period_init_max}, got "
            f"{cell.period_init_min}."
        )


def time_and_features(cell: Any, inputs: Any) -> int:
    """D, if `inputs` are a pair of floating arrays, `[B, 1]` and `[B, D]`."""
    if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
        raise TypeError(
            f"{name_of(cell)}: expected inputs of a step to be a pair (time [B, 1], features [B, D]), got {describe(inputs)}."
        )
    time, x = inputs
    if features(cell, time) != 1:
        raise ValueError(f"{name_of(cell)}: expected the time of a step to be [B, 1], got {describe(time)}. Give each row one.")
    return features(cell, x)


def in_groups(cell: Any, **sizes: int | None) -> None:
    """Sizes that are cut into equal groups."""
    for name, size in sizes.items():
        if size is not None and size % cell.number_of_groups:
            raise ValueError(
                f"{type(cell).__name__}: expected {name} to be a multiple of number_of_groups={cell.number_of_groups}, got "
                f"{size}. Change one of the two."
            )


def attends(cell: Any) -> None:
    """An inner cell whose output is of a known size, and whose state can be joined to one row of numbers."""
    who, inner = type(cell).__name__, cell.cell
    size = getattr(inner, "output_size", None)
    if cell.attn_size is None and not isinstance(size, int):
        raise ValueError(f"{who}: expected attn_size beside a cell whose output_size is {size!r}, got None. Give the size.")
    for path, leaf in by_path(jax.eval_shape(lambda: inner.initial_state(1))):
        if leaf.ndim != 2 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"{who}: expected the parts of the cell's state to be floating [B, size], got state{path} of {describe(leaf)} "
                f"from {name_of(inner)}."
            )


def one_highway(cell: Any, weights: dict[str, Any]) -> None:
    """TF1 gives the weights of a highway inside of another one the same names."""
    if "carry_w" in weights:
        raise ValueError(
            f"tf1: expected at most one HighwayWrapper around a cell, got {name_of(cell)}, whose weights would have the same "
            "names twice. Convert its parts by themselves."
        )
