"""Tries out whether a cell's units can be split: a step in n parts beside a whole one."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.distributed.unit_axes import unit_axes, with_units
from jaxrnn.typing import Params, Tree


@functools.lru_cache(maxsize=256)
def try_out(cell: RNNCell, input_size: Any, devices: int) -> None:
    """An error if a step in parts gives other numbers than a whole one: of few units, or of all where few do not fit."""
    with jax.ensure_compile_time_eval():
        try:
            difference = _largest_difference(with_units(cell, lambda _: 2 * devices), input_size, devices)
        except Exception:  # it has sizes that go with its own number of units
            with check.trying_units(cell):
                difference = _largest_difference(cell, input_size, devices)
    check.same_in_parts(cell, difference)


def _largest_difference(cell: RNNCell, input_size: Any, devices: int) -> float:
    """Between a whole step, with random numbers, and that step in parts."""
    keys = iter(jax.random.split(jax.random.key(0), 1000))
    random = lambda leaf: jax.random.normal(next(keys), leaf.shape, leaf.dtype)
    params = jax.tree.map(random, cell.init(jax.random.key(0), input_size))
    state = jax.tree.map(random, cell.initial_state(2))
    ids = jnp.arange(2, dtype=jnp.int32)
    inputs = ids if input_size is None else jax.tree.map(lambda size: random(jnp.zeros((2, size))), input_size)
    want, got = cell(params, inputs, state), _in_parts(cell, input_size, devices, params, inputs, state)
    return max(jax.tree.leaves(jax.tree.map(_difference, want, got)))


def _in_parts(cell: RNNCell, input_size: Any, devices: int, params: Params, inputs: Tree, state: Tree) -> Any:
    """What every device has of a step, leaves `[n, ...]`; `jax.vmap` stands for the devices."""
    axis, local, leaves = "devices", with_units(cell, lambda n: n // devices), unit_axes(cell, input_size, devices)
    everywhere = lambda array: jnp.stack([array] * devices)
    parts = lambda array, along: jnp.stack(jnp.split(array, devices, along))

    def of_params(leaf, array):
        array = leaf.split(array, devices)
        return parts(array, -1) if leaf.columns else parts(array, 0) if leaf.rows else everywhere(array)

    def of_state(array, shape):
        return parts(array, -1) if array.shape != shape.shape else everywhere(array)

    def one(params, state):
        return local(jax.tree.map(lambda leaf, array: leaf.wrap(array, axis, devices), leaves, params), inputs, state)

    shapes = jax.eval_shape(lambda: local.initial_state(2))
    return jax.vmap(one, axis_name=axis)(jax.tree.map(of_params, leaves, params), jax.tree.map(of_state, state, shapes))


def _difference(want: jax.Array, got: jax.Array) -> float:
    """The largest one between an array and its parts `[n, ...]`, side by side or all of them the whole."""
    want = want[None]
    got = got if got.shape[1:] == want.shape[1:] else jnp.concatenate(list(got), -1)[None]
    return float(jnp.max(jnp.abs(got - jnp.broadcast_to(want, got.shape))))
