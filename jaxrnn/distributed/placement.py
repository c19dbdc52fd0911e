"""Where arrays lie under `jax.jit` alone, which splits any computation by where its arrays are."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn import check
from jaxrnn.typing import Tree


def split_evenly(tree: Tree, mesh: Mesh, axis: str) -> Any:
    """Shardings that give each device of a mesh axis as small a part of every array as can be.

    Of each leaf the largest axis that the devices divide is split; a leaf without one is whole on every device. Place an
    optimiser's moments so (ZeRO; Rajbhandari et al., 2020), or the params of any cell: values and gradients under `jax.jit`
    stay the same. With params the devices exchange parts of the arrays in every step, more than with `HiddenUnits`, which not
    every cell fits.

    Args:
      tree: arrays or shapes, such as `jax.eval_shape(optimizer.init, params)`.
      mesh: a mesh.
      axis: the name of its axis.

    Returns:
      A `jax.sharding.NamedSharding` for every leaf, for `jax.device_put` and out_shardings.

    Raises:
      TypeError: if axis is not a name.
      ValueError: if the mesh has no such axis.

    Example:
      >>> import jax, jaxrnn
      >>> from jax.sharding import AxisType
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
      >>> params = jaxrnn.LSTMCell(8).init(jax.random.key(0), 3)
      >>> shardings = jaxrnn.distributed.split_evenly(params, mesh, "data")
      >>> shardings["kernel"].spec
      P(None, 'data')
      >>> params = jax.device_put(params, shardings)
    """
    devices = check.mesh_axis(mesh, axis)

    def of_leaf(leaf):
        divided = [i for i, size in enumerate(leaf.shape) if size % devices == 0]
        largest = max(divided, key=lambda i: leaf.shape[i], default=None)
        return NamedSharding(mesh, PartitionSpec() if largest is None else PartitionSpec(*[None] * largest, axis))

    return jax.tree.map(of_leaf, tree)
