"""Windows and blocks of features, dimensions of grids: what those cells of `jaxrnn.contrib` are built with and read."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.check.basics import describe, name_of
from jaxrnn.check.cells import features
from jaxrnn.check.contrib import cell_of_gates
from jaxrnn.check.fields import plain_number, size_of_inputs


def given(cell: Any, **values: Any) -> None:
    """Arguments that have to be given, though TF1's order puts them behind others that have a default."""
    for name, value in values.items():
        if value is None:
            raise TypeError(f"{type(cell).__name__}: expected {name}, got None. Build the cell with {name}=...")


def whole_numbers(cell: Any, **values: Any) -> None:
    """Integers of either sign."""
    for name, value in values.items():
        number = plain_number(value, jnp.integer)
        if number is None:
            raise TypeError(f"{type(cell).__name__}: expected {name} to be an int, got {describe(value)}.")
        object.__setattr__(cell, name, number)


def lists_of_ints(cell: Any, least: int, **lists: Any) -> None:
    """Lists of whole numbers from `least`, which the cell holds as tuples from now on; None is none."""
    for name, value in lists.items():
        if value is None:
            continue
        numbers = [plain_number(each, jnp.integer) for each in value] if isinstance(value, (list, tuple)) else []
        if not numbers or any(number is None or number < least for number in numbers):
            raise TypeError(f"{type(cell).__name__}: expected {name} to be a list of ints from {least}, got {describe(value)}.")
        object.__setattr__(cell, name, tuple(numbers))


def one_window(cell: Any) -> None:
    """At least one window of features."""
    if cell.feature_size > cell.input_size:
        raise ValueError(
            f"{type(cell).__name__}: expected feature_size to be at most input_size={cell.input_size}, got {cell.feature_size}."
        )


def frequency_blocks(cell: Any) -> None:
    """Blocks that have as many windows as is said."""
    where = type(cell).__name__
    lists_of_ints(cell, 1, num_frequency_blocks=cell.num_frequency_blocks, end_freqindex_list=cell.end_freqindex_list)
    lists_of_ints(cell, 0, start_freqindex_list=cell.start_freqindex_list)
    counts: Any = cell.num_frequency_blocks
    starts: Any = cell.start_freqindex_list
    ends: Any = cell.end_freqindex_list
    if starts is None and ends is None:
        if len(counts) != 1:
            raise ValueError(
                f"{where}: expected num_frequency_blocks to be one number, of the one block of all features, got {counts}. "
                "Give start_freqindex_list and end_freqindex_list for more."
            )
        return
    if starts is None or ends is None or not len(starts) == len(ends) == len(counts):
        raise ValueError(
            f"{where}: expected start_freqindex_list and end_freqindex_list to have {len(counts)} numbers each, as "
            f"num_frequency_blocks={counts}, got {starts} and {ends}."
        )
    for b, (count, start, end) in enumerate(zip(counts, starts, ends, strict=True)):
        has = window_count(cell, end - start)
        if has != count:
            raise ValueError(
                f"{where}: expected num_frequency_blocks[{b}] to be {has}, the windows of feature_size={cell.feature_size}, "
                f"frequency_skip={cell.frequency_skip} in [{start}, {end}), got {count}."
            )


def features_of_size(cell: Any, inputs: Any, size: int) -> int:
    """D, if `inputs` are floating `[B, D]` of the size that the cell is built for."""
    if features(cell, inputs) != size:
        raise ValueError(
            f"{name_of(cell)}: expected inputs of a step to be [B, {size}], as input_size says, got {describe(inputs)}."
        )
    return size


def features_of_blocks(cell: Any, inputs: Any) -> int:
    """D, if `inputs` are floating `[B, D]` with the blocks in them."""
    size = features(cell, inputs)
    if cell.end_freqindex_list is None:
        has, count = window_count(cell, size), cell.num_frequency_blocks[0]
        if has != count:
            raise ValueError(
                f"{name_of(cell)}: expected inputs with {count} windows, as num_frequency_blocks says, got {describe(inputs)}, "
                f"which has {has}. Build the cell with num_frequency_blocks=[{has}]."
            )
    elif size < max(cell.end_freqindex_list):
        raise ValueError(
            f"{name_of(cell)}: expected inputs with at least {max(cell.end_freqindex_list)} features, as end_freqindex_list "
            f"says, got {describe(inputs)}."
        )
    return size


def window_count(cell: Any, size: int) -> int:
    """How many windows fit into so many features."""
    return max((size - cell.feature_size) // cell.frequency_skip + 1, 0)


def grid_dims(cell: Any) -> None:
    """Dimensions of a grid, which the cell holds as sorted tuples from now on."""
    where = type(cell).__name__
    for name in ("input_dims", "output_dims", "priority_dims", "non_recurrent_dims"):
        value = getattr(cell, name)
        given = () if value is None else value if isinstance(value, (list, tuple)) else (value,)
        dims = [plain_number(each, jnp.integer) for each in given]
        if not all(d is not None and 0 <= d < cell.num_dims for d in dims):
            raise ValueError(
                f"{where}: expected {name} to be dimensions from 0 to {cell.num_dims - 1}, as num_dims={cell.num_dims} says, "
                f"got {value!r}. Give an int, a list of ints or None."
            )
        object.__setattr__(cell, name, tuple(d for d in range(cell.num_dims) if d in dims))
    if not cell.output_dims:
        raise ValueError(f"{where}: expected output_dims to be one dimension or more, got none.")
    stateless = sorted(set(cell.non_recurrent_dims) - set(cell.input_dims))
    if stateless:
        raise ValueError(
            f"{where}: expected non_recurrent_dims to be among input_dims={cell.input_dims}, got {stateless[0]}, which has "
            "neither a state nor inputs to start a step from."
        )


def cell_of_grid(grid: Any, cell: Any) -> None:
    """A cell that a grid can take apart."""
    cell_of_gates(grid, cell)
    h = grid.num_units
    if jax.tree.leaves(cell.state_size) not in ([h], [h, h]) or cell.output_size != h:
        raise TypeError(
            f"{type(grid).__name__}: expected cell_fn to make a cell with a state h or (c, h) and an output h, each of "
            f"num_units={h}, got {name_of(cell)}."
        )


def part_of_inputs(cell: Any, size: int) -> int:
    """The size of each input dimension's part of the inputs."""
    size_of_inputs(size)
    count = cell.input_multiple
    if size % count:
        raise ValueError(
            f"{name_of(cell)}: expected inputs whose size can be cut into {count} equal parts, one for each of input_dims, got "
            f"size {size}."
        )
    return size // count
