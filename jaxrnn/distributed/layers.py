"""Layers over devices: a pipeline over chunks of time.

Device s has layers s m, ..., (s + 1) m - 1 of a stack of n m. Layer after layer, chunk i needs chunk i of the layer below and
its own state after chunk i - 1. So at tick k device s runs chunk k - s, and hands its outputs to device s + 1:

    tick        0    1    2    3    4    5
    device 0    c0   c1   c2   c3
    device 1         c0   c1   c2   c3            a chunk's outputs go up, one tick later
    device 2              c0   c1   c2   c3

N chunks take N + n - 1 ticks. JAX's transpose of the loop is the same pipeline backwards: cotangents go down.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.engine.chunk import chunk_body, run_chunk
from jaxrnn.engine.first import first_step
from jaxrnn.engine.masking import valid_steps
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.memory.modes import MODES, Mode
from jaxrnn.runners.extent import course_of
from jaxrnn.runners.loop import filling, swap_batch_and_time
from jaxrnn.runners.plans import mode_and_chunk_size
from jaxrnn.runners.problem import Problem, problem_of
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct, state_at_resets
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

    Example: `tests/test_distributed.py` runs it over four devices; here there is one.

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
    return _run(problem, mode, size, axis, devices)


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
    """The params `{"cell_0": ..., ...}` of a `MultiRNNCell`, from what `stack_layers` made of them, leaves `[L, ...]`."""
    return _of_params(_unstacked(stacked, jax.tree.leaves(stacked)[0].shape[0], list))


def _unstacked(stacked, count, of_layers):
    layers = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]
    return None if stacked is None else of_layers(layers)


def _of_params(layers):
    return {f"cell_{i}": layer for i, layer in enumerate(layers)}


@dataclasses.dataclass(frozen=True)
class _Stage:
    """This device's layers as a cell, with the keys of their places in the whole stack."""

    layers: MultiRNNCell
    first: jax.Array  # the number of its lowest layer

    def chunk(self, params, xs, state, steps):
        new_state = []
        for i, cell in enumerate(self.layers.cells):
            xs, new = run_chunk(cell, params[f"cell_{i}"], xs, state[i], steps.layer(i, self.first + i))
            new_state.append(new)
        return xs, tuple(new_state)


def _run(problem: Problem, mode: Mode, size: int, axis: str, devices: int) -> tuple[Outputs, State]:
    """`(outputs, state)`, K steps a tick."""
    rows = no_rows(problem)
    problem = spread_alike(problem, rows)
    (time, batch), stage, cell = problem.time_and_batch, lax.axis_index(axis), problem.cell
    swap = (lambda tree: tree) if problem.time_major else swap_batch_and_time
    inputs, resets, mask = (swap(tree) for tree in (problem.inputs, problem.resets, problem.mask))
    one_step = jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), inputs)
    state = first_state(cell, problem.params, one_step, problem.initial_state, problem.dtype, key_struct(problem.key))
    state, again = spread(state, rows), None
    if resets is not None:
        again = spread(state_at_resets(cell, state, problem.reset_state, batch), rows)
    count, lengths = -(-time // size), problem.sequence_length
    if time % size and lengths is None and mask is None:
        lengths = spread(jnp.full(batch, time, jnp.int32), rows)
    course = course_of(lengths, mask, resets, 0, problem.reverse, state, again)
    whole = lambda tree: jax.tree.map(lambda leaf: _padded(leaf, count * size), tree)
    xs = jnp.arange(count * size, dtype=jnp.int32), *map(whole, (inputs, course.resets, course.mask))
    body = _chunk(problem, mode, course, again, _Stage(cell, stage * len(cell.cells)))
    outputs = jax.eval_shape(body, course.start, _cut(xs, 0, size))[1]
    check.feeds_itself(one_step, jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), outputs))

    def tick(carry, k):
        (state, below), number = carry, k[0] - stage
        runs = (number >= 0) & (number < count)
        here = jnp.clip(number, 0, count - 1)
        here = (count - 1 - here if problem.reverse else here) * size
        times, x, *flags = _cut(xs, here, size)
        chunk = times, jax.tree.map(lambda first, other: jnp.where(stage == 0, first, other), x, below), *flags
        if course.extent is not None and mode.skip:
            runs &= here < jnp.max(course.extent.ends, initial=0)
        nothing = lambda state, chunk: (state, jax.tree.map(jnp.zeros_like, below))
        state, ys = lax.cond(runs, body, nothing, state, chunk)
        up = [(s, s + 1) for s in range(devices - 1)]
        return (state, jax.tree.map(lambda leaf: lax.ppermute(leaf, axis, up), ys)), jax.tree.map(lambda y: y[None], ys)

    below = spread(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), outputs), rows, axis=1)
    ticks = jnp.arange(count + devices - 1, dtype=jnp.int32)
    (state, _), ys = scan_chunks(tick, (course.start, below), ticks, 1, mode, reverse=False)
    outputs = jax.tree.map(functools.partial(_last_layer, stage == devices - 1, devices, problem.reverse, time), ys)
    outputs = jax.tree.map(lambda leaf: lax.psum(leaf, axis), outputs)
    return swap(outputs), jax.tree.map(lambda *leaves: jnp.stack(leaves), *course.end(again, state))


def _chunk(problem, mode, course, again, stage):
    """`(state, (times, inputs, resets, mask)) -> (state, outputs)` of a device's layers."""
    if course.extent is None:
        return chunk_body(stage, problem.params, problem.key, mode, None, again, None, problem.reverse)
    # What a row's first step reads comes from the layer below; of inputs only what is in the chunk is here.
    valid, first = functools.partial(valid_steps, course.extent.ends), first_step(None, course.first, course.extent.ends)
    body = chunk_body(stage, problem.params, problem.key, mode, valid, again, first, problem.reverse)
    return filling(valid, body)


def _last_layer(is_last, devices, reverse, time, ys):
    """`[T, B, ...]` of the ticks' outputs `[N + n - 1, K, B, ...]`; zeros on all devices but the last."""
    chunks = ys[devices - 1 :]
    chunks = jnp.flip(chunks, 0) if reverse else chunks
    steps = chunks.reshape(-1, *chunks.shape[2:])[:time]
    return jnp.where(is_last, steps, jnp.zeros_like(steps))


def _padded(leaf, time):
    """`[T, B, ...]` with more steps, zeros, at its end."""
    return jnp.pad(leaf, [(0, time - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1))


def _cut(tree, start, size):
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), tree)
