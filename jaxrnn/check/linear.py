"""Linear cells: what they are built with, and what they read."""

from __future__ import annotations

from typing import Any

from jaxrnn.check.basics import describe, name_of


def one_of(name: str, value: Any, values: tuple[str, ...]) -> None:
    """A name among a few."""
    if not isinstance(value, str) or value not in values:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, values))}, got {describe(value)}.")


def ring(cell: Any, least: float, most: float) -> None:
    """Where the sizes of complex numbers start."""
    if not 0 <= least < most <= 1:
        raise ValueError(f"{type(cell).__name__}: expected 0 <= r_min < r_max <= 1, got r_min={least}, r_max={most}.")


def equal_heads(cell: Any, units: int, heads: int) -> None:
    """Blocks of one size."""
    if units % heads:
        raise ValueError(
            f"{type(cell).__name__}: expected num_heads to divide num_units={units}, got {heads}. Each head has as many units."
        )


def inputs_of_units(cell: Any, size: int, advice: str = "") -> int:
    """D, if it is num_units."""
    if size != cell.num_units:
        advice = advice or f"Wrap the cell in an InputProjectionWrapper(cell, {cell.num_units})"
        raise ValueError(
            f"{name_of(cell)}: expected inputs of size num_units={cell.num_units}, got size {size}. {advice}, which projects "
            "them."
        )
    return size


def inputs_of_size(cell: Any, size: int) -> int:
    """D, if it is input_size."""
    if size != cell.input_size:
        raise ValueError(f"{name_of(cell)}: expected inputs of size input_size={cell.input_size}, got size {size}.")
    return size


def linear_cell(cell: Any, linear: bool, where: str) -> None:
    """A cell whose every recurrence is linear."""
    if not linear:
        raise TypeError(
            f"{where}: expected a jaxrnn.LinearCell, or wrappers and stacks of such cells alone, got {name_of(cell)}. Split "
            "the batch over the devices instead."
        )
