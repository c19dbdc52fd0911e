"""A sequence whose time is split over devices."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.chunk import linear_throughout, run_chunk
from jaxrnn.engine.first import Extent, at_first, first_step
from jaxrnn.engine.masking import Steps, fill_padding, valid_steps, zero_padding
from jaxrnn.engine.over_devices import recurrence_over_devices
from jaxrnn.runners.problem import problem_of
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, state_at_resets
from jaxrnn.typing import Inputs, Outputs, Params, State


def time_sharded(
    cell: Any,
    params: Params,
    inputs: Inputs,
    *,
    axis_name: str,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
) -> tuple[Outputs, State]:
    """Runs a linear cell over a sequence whose steps are split over the devices of a mesh's axis; inside `jax.shard_map`.

    Each device has T / n steps, the first device the first ones, and runs them twice: once for what they do to any state, and,
    when it knows what the devices before have made, from that state on. Each layer has one all-gather forward, and one in the
    backward pass, of two or three states a device.

    Args:
      cell: a `jaxrnn.LinearCell`, or wrappers and stacks of such cells alone.
      params: its params, the same on every device.
      inputs: this device's, leaves `[B, T / n, ...]`.
      axis_name: the mesh's axis that time is split over.
      sequence_length: integers `[B]`, of the whole sequence, the same on every device. At `t >= length` the output is zeros and
        the state is copied through.
      initial_state: the state before the first step of all, leaves `[B, ...]`, the same on every device; None is the cell's
        own, zeros.
      dtype: the initial state's floating dtype if none is given; None is that of params and inputs.
      resets: this device's booleans `[B, T / n]`: start again from `reset_state` before that step.
      reset_state: the state at resets, leaves `[B, ...]`; None is the cell's own, zeros.

    Returns:
      `(outputs, state)`: this device's outputs, leaves `[B, T / n, ...]`, and the last state of the whole sequence, leaves
      `[B, ...]`, the same on every device. JAX takes it for one that may differ: where it leaves the shard_map, give it the
      axis in out_specs, or take `jax.lax.pmean` of it.

    Raises:
      TypeError: if a part of the cell is not linear.
      ValueError: if an argument does not fit.

    Example:
      >>> import functools, jax, jax.numpy as jnp, jaxrnn
      >>> from jax.sharding import AxisType, PartitionSpec as P
      >>> cell = jaxrnn.linear.MinGRUCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 8, 3))
      >>> mesh = jax.make_mesh((1,), ("time",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
      >>> run = functools.partial(jaxrnn.linear.time_sharded, cell, axis_name="time")
      >>> specs = {"in_specs": (P(), P(None, "time")), "out_specs": P(None, "time")}
      >>> outputs = jax.jit(jax.shard_map(lambda *args: run(*args)[0], mesh=mesh, **specs))(params, inputs)
      >>> outputs.shape
      (4, 8, 5)
    """
    check.linear_cell(cell, linear_throughout(cell), "time_sharded")
    given = {"initial_state": initial_state, "dtype": dtype, "resets": resets, "reset_state": reset_state}
    problem = problem_of("time_sharded", cell, params, inputs, **given)
    time, batch = problem.time_and_batch
    lengths = check.lengths(sequence_length, batch, time * lax.axis_size(axis_name))
    me = lax.axis_index(axis_name)
    nowhere = jnp.zeros(batch, bool) | (me < 0)
    rows = no_rows(problem)
    rows = nowhere if rows is None else rows | nowhere
    problem, lengths = spread_alike(problem, rows), spread(lengths, rows)

    xs, flags = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (problem.inputs, problem.resets))
    one_step = jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), xs)
    state = first_state(cell, problem.params, one_step, problem.initial_state, problem.dtype, None)
    state, again, valid = spread(state, rows), None, None
    if problem.resets is not None:
        again = spread(state_at_resets(cell, state, problem.reset_state, batch), rows)
    if lengths is not None:
        lengths = jnp.clip(lengths - me * time, 0, time)
        valid = valid_steps(lengths, jnp.arange(time, dtype=lengths.dtype))
        first = first_step(at_first(xs, Extent(lengths, None), 0), (), lengths)
        xs = fill_padding(valid, xs, first and first.inputs)
        flags = None if flags is None else flags & valid
    recurrence = functools.partial(recurrence_over_devices, axis_name)
    steps = Steps(valid, count=time, recurrence=recurrence).starting(flags, again, None)
    outputs, state = run_chunk(cell, problem.params, xs, state, steps)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), zero_padding(valid, outputs)), state
