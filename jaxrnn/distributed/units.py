"""Hidden units over devices: each device has some of the units, with all their gates.

A kernel `[D, 4H]` has four blocks of H columns, and a device needs its columns of every block. `HiddenUnits.split` puts these
side by side; then a device's part is one slice, which a `PartitionSpec` can say. Inside `jax.shard_map` a device runs the cell
of H/n units. Where a product needs the other units, `jaxrnn.distributed.matrices` fetches them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.distributed.trial import try_out
from jaxrnn.distributed.unit_axes import one_more_unit, unit_axes, with_units
from jaxrnn.typing import Params


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
            try_out(self.cell, self.input_size, self.devices)

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
        return jax.tree.map(lambda *sizes: self._spec(1, *sizes), self.cell.state_size, one_more_unit(self.cell).state_size)

    @property
    def output_specs(self) -> Any:
        """Of a run's outputs, leaves `[B, T, H]`; whole ones, of a projection, are on all devices."""
        return jax.tree.map(lambda *sizes: self._spec(2, *sizes), self.cell.output_size, one_more_unit(self.cell).output_size)

    def _spec(self, before, size, with_one_more):
        return PartitionSpec() if size == with_one_more else PartitionSpec(*[None] * before, self.axis)

    def split(self, params: Params) -> Any:
        """`params`, or a gradient, in the order of `specs`: a device's units side by side. The shapes stay."""
        return jax.tree.map(lambda leaf, array: leaf.split(array, self.devices), self._leaves, params)

    def join(self, params: Params) -> Any:
        """The inverse of `split`: the params of `cell`, for a checkpoint or another number of devices."""
        return jax.tree.map(lambda leaf, array: leaf.join(array, self.devices), self._leaves, params)

    def local(self, params: Params) -> Any:
        """The params of `local_cell`, from this device's part of what `split` returned; inside `jax.shard_map`."""
        check.number_of_devices(self, self.axis, self.devices)
        return jax.tree.map(lambda leaf, array: leaf.wrap(array, self.axis, self.devices), self._leaves, params)

    @functools.cached_property
    def _leaves(self):
        return unit_axes(self.cell, self.input_size, self.devices)
