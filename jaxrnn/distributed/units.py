"""Hidden units over devices: each device has some of the units, with all their gates.

Which parts of the params belong to which units follows from shapes: an axis that is n times shorter in the params of a cell
with H/n units is an axis of units. A kernel `[D, 4H]` has four blocks of H columns, and a device needs its columns of every
block. `HiddenUnits.split` puts these side by side; then a device's part is one slice, which a `PartitionSpec` can say.

Inside `jax.shard_map` a device runs the cell of H/n units. Where a product needs the other units, `jaxrnn.distributed.matrices`
fetches them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.distributed.matrices import Gathered, Summed
from jaxrnn.typing import Params, Tree


@dataclasses.dataclass(frozen=True)
class HiddenUnits:
    """A cell whose hidden units are split over the devices of a mesh axis.

    Each step gathers the state's h `[B, H]` once, and sums its cotangent once. A GRU with reset_after=False needs a second
    gathering, for its second product; a projection needs a sum in place of the gathering. Everything else of a step is a
    device's own. Between the layers of a stack a chunk's outputs are gathered once.

    It fits every cell that is a frozen dataclass with `num_units`, and stacks and wrappers of such cells, if its units meet in
    products `x @ params[name]` alone. That is tried out once: a small step in n parts has to give the numbers of a whole one.

    Attributes:
      cell: the whole cell, of H units.
      input_size: D, as `cell.init` takes it.
      devices: n, the size of the mesh axis; it divides H.
      axis: the name of the mesh axis.

    Raises:
      TypeError, ValueError: if n does not divide the units, or the units meet in another way (a layer normalisation, say).

    Example: an LSTM of 8 units over the devices of the axis "units" of a mesh.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> from jax.sharding import AxisType, PartitionSpec as P
      >>> n = 2 if jax.device_count() > 1 else 1
      >>> mesh = jax.make_mesh((n,), ("units",), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])
      >>> units = jaxrnn.distributed.HiddenUnits(jaxrnn.LSTMCell(8), input_size=3, devices=n, axis="units")
      >>> params = units.split(units.cell.init(jax.random.key(0), 3))
      >>> def run(params, inputs):
      ...     return jaxrnn.dynamic_rnn(units.local_cell, units.local(params), inputs)
      >>> out_specs = units.output_specs, units.state_specs
      >>> run = jax.shard_map(run, mesh=mesh, in_specs=(units.specs, P()), out_specs=out_specs)
      >>> outputs, state = jax.jit(run)(params, jnp.ones((4, 7, 3)))
      >>> outputs.shape, state.c.shape, units.specs["kernel"]
      ((4, 7, 8), (4, 8), P(None, 'units'))
    """

    cell: RNNCell
    input_size: Any
    devices: int
    axis: str

    def __post_init__(self) -> None:
        check.at_least_one(self, devices=self.devices)
        check.axis_name(self.axis)
        check.units(self.cell, self.devices)
        if self.devices > 1:
            _try_out(self.cell, _small(self.input_size), self.devices)

    @functools.cached_property
    def local_cell(self) -> RNNCell:
        """The cell that each device runs, of H/n units."""
        return with_units(self.cell, lambda count: count // self.devices)

    @property
    def specs(self) -> Any:
        """Of the params that `split` returns: a `PartitionSpec` for every leaf, for `jax.shard_map` and `NamedSharding`."""
        return jax.tree.map(lambda leaf: leaf.spec(self.axis), self._leaves)

    @property
    def state_specs(self) -> Any:
        """Of the cell's state, leaves `[B, H]`."""
        return jax.tree.map(lambda *sizes: self._spec(1, *sizes), self.cell.state_size, _one_more(self.cell).state_size)

    @property
    def output_specs(self) -> Any:
        """Of a run's outputs, leaves `[B, T, H]`; whole ones, of a projection, are on all devices."""
        return jax.tree.map(lambda *sizes: self._spec(2, *sizes), self.cell.output_size, _one_more(self.cell).output_size)

    def _spec(self, before, size, with_one_more):
        return PartitionSpec() if size == with_one_more else PartitionSpec(*[None] * before, self.axis)

    def split(self, params: Params) -> Any:
        """`params`, or a gradient, in the order of `specs`: a device's units side by side. The shapes stay."""
        return jax.tree.map(lambda leaf, array: leaf.regroup(array, leaf.blocks, self.devices), self._leaves, params)

    def join(self, params: Params) -> Any:
        """The inverse of `split`: the params of `cell`, for a checkpoint or another number of devices."""
        return jax.tree.map(lambda leaf, array: leaf.regroup(array, self.devices, leaf.blocks), self._leaves, params)

    def local(self, params: Params) -> Any:
        """The params of `local_cell`, from this device's part of what `split` returned; inside `jax.shard_map`."""
        check.number_of_devices(self, self.axis, self.devices)
        return jax.tree.map(lambda leaf, array: leaf.wrap(array, self.axis, self.devices), self._leaves, params)

    @functools.cached_property
    def _leaves(self):
        return _leaves(self.cell, self.input_size, self.devices)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """How a leaf of the params depends on the units.

    Attributes:
      ndim: its rank.
      rows, columns: whether its first and its last axis are units; of a vector the axis is its columns.
      blocks: how many times the columns have all units.
    """

    ndim: int
    rows: bool
    columns: bool
    blocks: int

    def spec(self, axis: str) -> PartitionSpec:
        whole = [None] * self.ndim
        if self.columns:
            return PartitionSpec(*whole[1:], axis)
        return PartitionSpec(axis, *whole[1:]) if self.rows else PartitionSpec()

    def regroup(self, array: jax.Array, outer: int, inner: int) -> jax.Array:
        """Columns in `outer` groups of `inner` runs as `inner` groups of `outer` runs."""
        if not self.columns or self.blocks == 1:
            return array
        runs = jnp.reshape(array, (*array.shape[:-1], outer, inner, -1))
        return jnp.reshape(jnp.swapaxes(runs, -3, -2), array.shape)

    def wrap(self, array: jax.Array, axis: str, devices: int) -> Any:
        if not self.rows:
            return array
        return Gathered(array, axis, devices) if self.columns else Summed(array, axis)


def _leaves(cell: RNNCell, input_size: Any, devices: int) -> Any:
    """A `_Leaf` for every leaf of the params."""
    shapes = lambda cell: jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size))
    whole, local, one_more = map(shapes, (cell, with_units(cell, lambda count: count // devices), _one_more(cell)))

    def leaf(path, whole, local, one_more):
        changed = [i for i, (a, b) in enumerate(zip(whole.shape, one_more.shape, strict=True)) if a != b]
        fits = all(whole.shape[i] == devices * local.shape[i] for i in changed) and whole.ndim <= 2
        check.unit_axes(cell, jax.tree_util.keystr(path), whole.shape, local.shape, fits or not changed)
        last = whole.ndim - 1
        blocks = one_more.shape[last] - whole.shape[last] if last in changed else 1
        return _Leaf(whole.ndim, rows=last == 1 and 0 in changed, columns=last in changed, blocks=blocks)

    return jax.tree_util.tree_map_with_path(leaf, whole, local, one_more)


def with_units(cell: Any, change: Callable[[int], int]) -> Any:
    """The cell, and the cells inside it, with `change(num_units)` units."""

    def changed(name, value):
        if name == "num_units":
            return change(value)
        if isinstance(value, RNNCell):
            return with_units(value, change)
        if isinstance(value, (tuple, list)) and any(isinstance(part, RNNCell) for part in value):
            return type(value)(with_units(part, change) for part in value)
        return value

    fields = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell) if field.init}
    return dataclasses.replace(cell, **{name: changed(name, value) for name, value in fields.items()})


def _one_more(cell: RNNCell) -> RNNCell:
    """An axis of units is one that is longer here."""
    return with_units(cell, lambda count: count + 1)


def _small(input_size: Any) -> Any:
    return jax.tree.map(lambda size: min(size, 3), input_size)


@functools.lru_cache(maxsize=256)
def _try_out(cell: RNNCell, input_size: Any, devices: int) -> None:
    """An error if a small step in parts gives other numbers than a whole one."""
    small = with_units(cell, lambda _: 2 * devices)
    key = jax.random.key(0)
    random = lambda leaf: jax.random.normal(jax.random.fold_in(key, leaf.size), leaf.shape, leaf.dtype)
    with jax.ensure_compile_time_eval(), check.trying_units(cell):
        params = jax.tree.map(random, small.init(key, input_size))
        state = jax.tree.map(random, small.initial_state(2))
        ids = jnp.arange(2, dtype=jnp.int32)
        inputs = ids if input_size is None else jax.tree.map(lambda size: random(jnp.zeros((2, size))), input_size)
        want, got = small(params, inputs, state), _in_parts(small, input_size, devices, params, inputs, state)
        difference = jax.tree.map(_difference, want, got)
    check.same_in_parts(cell, max(jax.tree.leaves(difference)))


def _in_parts(cell: RNNCell, input_size: Any, devices: int, params: Params, inputs: Tree, state: Tree) -> Any:
    """What every device has of a step, leaves `[n, ...]`; `jax.vmap` stands for the devices."""
    axis, local, leaves = "devices", with_units(cell, lambda n: n // devices), _leaves(cell, input_size, devices)
    everywhere = lambda array: jnp.stack([array] * devices)
    parts = lambda array, along: jnp.stack(jnp.split(array, devices, along))

    def of_params(leaf, array):
        array = leaf.regroup(array, leaf.blocks, devices)
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
