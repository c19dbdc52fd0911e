"""What is split over devices."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxrnn.check.basics import by_path, describe, name_of

_INSTEAD = (
    "Split the batch, or the layers (pipelined_rnn); or place the params by jaxrnn.distributed.split_evenly, which is for any "
    "cell and exchanges more."
)


def axis_name(axis: Any) -> str:
    if not isinstance(axis, str):
        raise TypeError(f'axis: expected the name of a mesh axis, such as "units", got {describe(axis)}.')
    return axis


def mesh_axis(mesh: Any, axis: Any) -> int:
    """The size of a mesh's axis."""
    if axis_name(axis) not in mesh.shape:
        raise ValueError(f"axis: expected one of the mesh's axes {tuple(mesh.shape)}, got {axis!r}.")
    return mesh.shape[axis]


def units(cell: Any, devices: int) -> None:
    """A cell that says how many units it has, a multiple of the devices."""
    counts = list(_unit_counts(cell))
    if not counts:
        raise TypeError(
            f"HiddenUnits: expected a cell that is a frozen dataclass with a field num_units, or one made of such, got "
            f"{name_of(cell)}. {_INSTEAD}"
        )
    for count in counts:
        if count % devices:
            raise ValueError(
                f"HiddenUnits: expected num_units to be a multiple of the {devices} devices, got {count} in {name_of(cell)}."
            )


def _unit_counts(cell: Any) -> Iterator[int]:
    for field in dataclasses.fields(cell) if dataclasses.is_dataclass(cell) else ():
        value = getattr(cell, field.name)
        if field.name == "num_units":
            yield value
        for part in value if isinstance(value, (tuple, list)) else (value,):
            yield from _unit_counts(part)


def unit_axes(cell: Any, path: str, whole: tuple, local: tuple, fits: bool) -> None:
    if not fits:
        raise ValueError(
            f"HiddenUnits: expected params{path} of {name_of(cell)} in one or two axes, each of units alone or without any, "
            f"got shape {whole}, and {local} with one device's units. {_INSTEAD}"
        )


@contextlib.contextmanager
def trying_units(cell: Any) -> Iterator[None]:
    """An error inside is one of a cell whose units cannot be split."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"HiddenUnits: {name_of(cell)} cannot run with a part of its units on each device: a small step of such a part "
            f"fails ({error}). {_INSTEAD}"
        ) from error


def same_in_parts(cell: Any, difference: float) -> None:
    if not difference < 1e-3:
        raise ValueError(
            f"HiddenUnits: {name_of(cell)} gives other numbers with a part of its units on each device (a difference of "
            f"{difference:.2g} in a small step). Its units meet otherwise than in products x @ params[name]; a normalisation "
            f"over units does. {_INSTEAD}"
        )


def inside_shard_map(axis: str, where: str) -> int:
    """The size of a mesh axis, inside a `jax.shard_map` over it that tells JAX's types what differs over devices."""
    try:
        size = lax.axis_size(axis)
    except NameError as error:
        raise ValueError(
            f"{where}: expected to be inside a jax.shard_map over a mesh axis {axis!r}, got no such axis. Call it in the "
            "function that jax.shard_map is given."
        ) from error
    try:
        lax.pcast(lax.axis_index(axis), axis, to="varying")
    except ValueError:
        return size  # it varies already, which a type can only say if types say anything
    raise ValueError(
        f"{where}: expected a jax.shard_map with check_vma=True, its default, got one with False, in which the gradient of a "
        "sum over devices is another. Leave check_vma out."
    )


def number_of_devices(units: Any, axis: str, devices: int) -> None:
    if (size := inside_shard_map(axis, "HiddenUnits.local")) != devices:
        raise ValueError(f"HiddenUnits.local: expected devices={devices} along {axis!r}, got {size}. Make {units} for {size}.")


def equal_layers(cell: Any, where: str) -> Any:
    """The layers of a stack, which have to be alike."""
    cells = getattr(cell, "cells", None)
    if not isinstance(cells, tuple) or any(layer != cells[0] for layer in cells):
        raise TypeError(
            f"{where}: expected a MultiRNNCell of equal cells, got {name_of(cell)}. Every device runs the same program on its "
            "own layers. Put what differs (an embedding, a projection) before or behind the call."
        )
    return cells


def layers_alike(trees: list, what: str, where: str) -> None:
    """Params or states of equal layers, of equal shapes."""
    first = [(path, leaf.shape) for path, leaf in by_path(trees[0])]
    for i, tree in enumerate(trees):
        for (path, shape), (other, leaf) in zip(first, by_path(tree), strict=False):
            if (path, shape) != (other, leaf.shape):
                raise ValueError(
                    f"{where}: expected {what} of equal shapes in all layers, got {shape} of layer 0 and {leaf.shape} of layer "
                    f"{i} in {other}. Project the inputs to the size that a layer puts out, in front of the first layer."
                )
        if len(first) != len(jax.tree.leaves(tree)):
            raise ValueError(f"{where}: expected {what} of equal structure in all layers, got another of layer {i}.")


def stacked(tree: Any, layers: int, devices: int, what: str) -> None:
    """This device's layers of what `stack_layers` made."""
    if layers % devices:
        raise ValueError(
            f"pipelined_rnn: expected a number of layers that is a multiple of the {devices} devices, got {layers} layers."
        )
    for path, leaf in by_path(tree):
        if np.ndim(leaf) < 1 or jnp.shape(leaf)[0] != layers // devices:
            raise ValueError(
                f"{what}{path}: expected {layers // devices} of the {layers} layers, [{layers // devices}, ...], got "
                f"{describe(leaf)}. Pass jaxrnn.distributed.stack_layers(...) through in_specs=P(axis)."
            )


def feeds_itself(inputs: Any, outputs: Any) -> None:
    a, b = jax.tree.map(jnp.shape, inputs), jax.tree.map(jnp.shape, outputs)
    if a != b:
        raise ValueError(
            f"pipelined_rnn: expected inputs of the size that a layer puts out, {b} a step, got {a}. Project or embed them "
            "first."
        )
