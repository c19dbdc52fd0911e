"""A stack's layers over the devices of a mesh axis: the runner, and the form of its params."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.distributed.pipeline import run
from jaxrnn.memory.modes import MODES, Mode
from jaxrnn.runners.plans import mode_and_chunk_size
from jaxrnn.runners.problem import problem_of
from jaxrnn.typing import Inputs, Outputs, Params, State, Tree

_CHUNKS_A_DEVICE = 4  # with n devices and 4 n chunks the pipeline is filling or emptying for a fifth of the time


def pipelined_rnn(
    cell: MultiRNNCell,
    params: Params,
    inputs: Inputs,
    *,
    axis: str,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    memory: str | Any = "save",
    chunk_size: int | None = None,
    reverse: bool = False,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[Outputs, State]:
    """Runs a stack whose layers are on the devices of a mesh axis, inside `jax.shard_map`: `dynamic_rnn`, chunk by chunk.

    Each device hands the outputs of a chunk of K steps `[K, B, H]` to the next one: one `ppermute` a chunk. At the end the
    outputs of the last layer are summed with the zeros of the other devices, so that every device has them.

    Args:
      cell: a `MultiRNNCell` of L equal cells, whose inputs and outputs have one size. L is a multiple of the n devices.
      params: this device's part of `stack_layers(params)`, leaves `[L/n, ...]`: pass that through `in_specs=P(axis)`.
      inputs: `[B, T, ...]`, the same on all devices of the axis; the first one reads them. Rows may be split over another axis
        of the mesh.
      axis: the name of the mesh axis.
      initial_state, reset_state: this device's part of `stack_layers(states)`, leaves `[L/n, B, ...]`.
      memory: a mode's name or a `jax.checkpoint` policy, as for `dynamic_rnn`; it holds for every device's ticks.
      chunk_size: K; None chooses such that there are at least 4 n chunks.
      sequence_length, dtype, time_major, reverse, resets, mask, key: as for `dynamic_rnn`.

    Returns:
      `(outputs, state)`: the last layer's outputs, laid out as the inputs, and this device's states, leaves `[L/n, B, ...]`.

    Raises:
      TypeError, ValueError: as `dynamic_rnn`; if the layers are not alike or not a multiple of the devices; and outside of a
        `jax.shard_map` over the axis.

    Example: on one device; on n of them the mesh has n.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> from jax.sharding import AxisType, PartitionSpec as P
      >>> from jaxrnn.distributed import pipelined_rnn, stack_layers
      >>> cell = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 4)
      >>> params = stack_layers(cell.init(jax.random.key(0), input_size=5))
      >>> mesh = jax.make_mesh((1,), ("layers",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
      >>> run = lambda params, inputs: pipelined_rnn(cell, params, inputs, axis="layers")
      >>> run = jax.shard_map(run, mesh=mesh, in_specs=(P("layers"), P()), out_specs=(P(), P("layers")))
      >>> outputs, state = jax.jit(run)(params, jnp.ones((3, 7, 5)))
      >>> outputs.shape, state.shape
      ((3, 7, 5), (4, 3, 5))
    """
    layers = check.equal_layers(cell, "pipelined_rnn")
    devices = check.inside_shard_map(check.axis_name(axis), "pipelined_rnn")
    check.chunk_size(chunk_size)
    check.mode(memory, MODES, (Mode,))
    own = len(layers) // devices
    for name, tree in {"params": params, "initial_state": initial_state, "reset_state": reset_state}.items():
        check.stacked(tree, len(layers), devices, name)
    problem = problem_of(
        "pipelined_rnn",
        MultiRNNCell(layers[:own]),
        _unstacked(params, own, _of_params),
        inputs,
        sequence_length=sequence_length,
        initial_state=_unstacked(initial_state, own, tuple),
        dtype=dtype,
        time_major=time_major,
        reverse=reverse,
        resets=resets,
        reset_state=_unstacked(reset_state, own, tuple),
        mask=mask,
        key=key,
    )
    mode, size = mode_and_chunk_size(problem, memory, chunk_size)
    time = problem.time_and_batch[0]
    size = chunk_size or max(1, min(size, -(-time // (_CHUNKS_A_DEVICE * devices))))
    return run(problem, mode, size, axis, devices)


def stack_layers(layers: dict[str, Params] | Sequence[Tree]) -> Any:
    """The params of a `MultiRNNCell`, `{"cell_0": ..., ...}`, or its states, a tuple, as one tree with leaves `[L, ...]`.

    Args:
      layers: params or states of L equal layers.

    Returns:
      One layer's tree with leaves `[L, ...]`, for `jax.shard_map` with `in_specs=P(axis)`.

    Raises:
      ValueError: if the layers' shapes differ.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 4)
      >>> jaxrnn.distributed.stack_layers(cell.init(jax.random.key(0), input_size=5))["kernel"].shape
      (4, 5, 15)
    """
    trees = [layers[f"cell_{i}"] for i in range(len(layers))] if isinstance(layers, dict) else list(layers)
    check.layers_alike(trees, "params" if isinstance(layers, dict) else "states", "stack_layers")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack_layers(stacked: Params) -> dict[str, Params]:
    """The inverse of `stack_layers`, for params.

    Args:
      stacked: what it made of them, leaves `[L, ...]`.

    Returns:
      The params of a `MultiRNNCell`, `{"cell_0": ..., "cell_1": ..., ...}`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 4)
      >>> stacked = jaxrnn.distributed.stack_layers(cell.init(jax.random.key(0), input_size=5))
      >>> sorted(jaxrnn.distributed.unstack_layers(stacked))
      ['cell_0', 'cell_1', 'cell_2', 'cell_3']
    """
    return _of_params(_unstacked(stacked, jax.tree.leaves(stacked)[0].shape[0], list))


def _unstacked(stacked, count, of_layers):
    layers = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]
    return None if stacked is None else of_layers(layers)


def _of_params(layers):
    return {f"cell_{i}": layer for i, layer in enumerate(layers)}
