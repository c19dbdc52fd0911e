"""A chunk of a cell in four functions as one kernel forward and one backward. Experimental: nothing chooses it by itself.

    with jaxrnn.experimental.persistent_kernels():
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs)

A GPU runs a scan as several kernels a step, each of which loads the recurrent weights anew. Here the K steps are one kernel
(`jaxrnn.experimental.kernels`), which reads them once. What is sequential is traced into it from the cell itself, whatever cell
that is; all else is a large product over the whole chunk, in front of it or behind:

    forward     z = project(xs)                                       for all K steps
                output, s' = combine(gates(z, recur(s), s), s)        step by step, in the kernel; each s is kept
    backward    g and its derivative, from z and each s               for all K steps
                output^, s'^ -> z^, r^, s^                            step by step, in the kernel: the transposed tangent
                each weight's gradient, from z^, r^ and s             for all K steps

where ^ is a cotangent and r = recur(s); `jaxrnn.engine.derivative` has the equations.

It has first derivatives in reverse mode alone (`jax.custom_vjp`). Pallas compiles the kernel by way of Triton, which JAX calls
deprecated since 0.11. What a cell may do with arrays inside a kernel: `jaxrnn.experimental.kernels.straight`.

Measured on an H100 (jax 0.11.2): value and gradient of whole runs of 1024 steps, D = H, beside the engine's own loop.

    LSTM, B = 64, H = 64,  float32 (products of tf32)       4.6 ms  11.2 ms
      with sequence_length                                  5.2 ms  13.2 ms
      with resets                                           5.1 ms  14.7 ms
    LSTM, B = 64, H = 128, bfloat16                         6.6 ms  11.1 ms
    GRU,  B = 64, H = 128, bfloat16                         4.9 ms  11.4 ms
    LSTM, B = 16, H = 64,  bfloat16                         3.6 ms   8.8 ms

Gradients differ by 3e-4 of their size in tf32, and by 6e-7 with `jax.default_matmul_precision("highest")`. Products of that
precision are made without the matrix units: an LSTM of 256 steps takes 22.5 ms, and 3.1 ms in the loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.engine.autodiff import Live, tangent_of
from jaxrnn.engine.chunk import fused_chunk, is_fused
from jaxrnn.engine.derivative import Derivative
from jaxrnn.engine.facts import StepFacts, step_shapes
from jaxrnn.engine.masking import Steps, enter, leave, restart
from jaxrnn.engine.residuals import Residuals
from jaxrnn.engine.rewrites import Rewritten
from jaxrnn.engine.step import update
from jaxrnn.engine.tuning import current, using
from jaxrnn.experimental.kernels.loop import Kernel, tile_shapes
from jaxrnn.experimental.kernels.triton import FEWEST_ROWS, takes
from jaxrnn.memory.modes import STATES, named

_ON_CHIP = 227 * 1024  # bytes of shared memory that one block can have on a Hopper GPU


@contextlib.contextmanager
def persistent_kernels() -> Iterator[None]:
    """Runs that are traced inside have one kernel for the steps of a chunk, wherever the cell's weights fit on chip.

    Elsewhere a run is the usual one: on a CPU or TPU, with rows split over devices, for cells of other forms, and where sizes
    are not powers of two (see `fits`). It has first derivatives in reverse mode alone.

    Returns:
      A context manager, for runs of any shape.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> from jaxrnn.experimental.persistent import persistent_kernels
      >>> cell = jaxrnn.GRUCell(64)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((16, 7, 3))
      >>> with persistent_kernels():
      ...     outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs)
      >>> outputs.shape
      (16, 7, 64)
    """
    with using(dataclasses.replace(current(), of_four=chunk_where_it_fits)):
        yield


def chunk_where_it_fits(cell: Any, params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    """`persistent_chunk` on a GPU that can take the cell's kernel, else `jaxrnn.engine.chunk.fused_chunk`."""
    here = current().platform == "gpu" and not current().sharded
    chunk = persistent_chunk if here and fits(cell, params, xs, state) else fused_chunk
    return chunk(cell, params, xs, state, steps)


def persistent_chunk(
    cell: Any, params: Any, xs: Any, state: Any, steps: Steps, *, rows: int | None = None, interpret: bool | None = None
) -> tuple[Any, Any]:
    """K steps of a cell in four functions in one kernel, as `jaxrnn.engine.chunk.fused_chunk` takes and gives them.

    Args:
      cell: a cell in four functions, each of which treats every row of the batch alone.
      params: its params.
      xs: inputs, leaves `[K, B, ...]`.
      state: the state that the first step starts from, leaves `[B, ...]`.
      steps: the steps.
      rows: rows of a tile, each of which goes through the steps by itself; None is the fewest that a GPU multiplies.
      interpret: whether JAX itself interprets the kernel, slowly and anywhere; None is where there is no GPU.

    Returns:
      `(outputs [K, B, ...], state [B, ...])`.

    Raises:
      TypeError: if the cell is not in four functions.
      ValueError: if a part of its state has no rows.
    """
    check.four_functions(cell, is_fused(cell), "persistent_chunk")
    count, batch = jax.tree.leaves(xs)[0].shape[:2]
    check.rows_of_state(cell, state, batch)
    if 0 in (count, batch):
        return fused_chunk(cell, params, xs, state, steps)
    steps = dataclasses.replace(steps, step_key=None, run_key=None, count=count)  # these cells draw nothing
    return _chunk((cell, _kernel(rows, interpret)), params, xs, state, steps)


def fits(cell: Any, params: Any, xs: Any, state: Any, *, rows: int | None = None) -> bool:
    """Whether a GPU can take the cell's kernel: `jaxrnn.engine.chunk.fused_chunk` is for what it cannot.

    Args:
      cell, params, xs, state, rows: as for `persistent_chunk`; arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      Whether the cell is in four functions, what all steps read and a tile of its state fit the memory on chip, and Triton
      takes arrays like these.
    """
    count, batch = jax.tree.leaves(xs)[0].shape[:2]
    have_rows = all(leaf.ndim and leaf.shape[0] == batch for leaf in jax.tree.leaves(state))
    if 0 in (count, batch) or not is_fused(cell) or not have_rows:
        return False
    kernel, facts = _kernel(rows, interpret=False), _facts(cell, params, xs, state)

    def on_chip(params, xs, state):
        z = facts.over_time(cell.project)(params, xs)
        weights = kernel.line(_step(cell, params), (None, None), state, (z, Steps())).weights
        zeros = lambda tree: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), tree)
        return weights, zeros(tile_shapes(kernel.rows, 0, state)), zeros(tile_shapes(kernel.rows, 1, z))

    arrays = jax.tree.leaves(jax.eval_shape(on_chip, params, xs, state))
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    return size <= _ON_CHIP and takes(arrays)


def _kernel(rows, interpret) -> Kernel:
    interpret = current().platform != "gpu" if interpret is None else interpret
    return Kernel(rows or (1 if interpret else FEWEST_ROWS), interpret)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunk(how: tuple[Any, Kernel], params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    return _forward(how, params, xs, state, steps)[0]


def _forward(how, params, xs, state, steps, keeps=False):
    """`(outputs, state)`, and the state that each step starts from."""
    cell, kernel = how
    z = _facts(cell, params, xs, state).over_time(cell.project)(params, xs)
    items = z, steps.varying
    shared = steps.start, steps.first
    end, (outputs, states) = kernel.scan(_step(cell, params, keeps), shared, state, items)
    return (outputs, end), states


def _step(cell, params, keeps=False):
    def one_step(shared, state, item):
        (z, step), (start, first) = item, shared
        step = dataclasses.replace(step, start=start, first=first)
        old = restart(step, state)
        state = enter(step, old)
        output, new = update(cell, params, z, cell.recur(params, state), state)
        return leave(step, old, new), (output, state if keeps else None)

    return one_step


def _chunk_fwd(how, params, xs, state, steps):
    out, states = _forward(how, params, xs, state, steps, keeps=True)
    return out, (params, xs, named(states, STATES), steps)


def _chunk_bwd(how, kept, cotangents):
    (cell, kernel), (params, xs, states, steps), (ct_outputs, ct_state) = how, kept, cotangents
    derivative = _derivative(cell, params, xs, states, steps)
    live_params, live_xs = Live.floats(params), Live.floats(xs)
    live = live_params.leaves(params), live_xs.leaves(xs)
    outside = lambda dparams, dxs: derivative.from_outside(live_params.fill(dparams), live_xs.fill(dxs))
    one_step = _step_back(derivative, jax.eval_shape(outside, *live), kernel.rows)
    ct_start = jax.tree.map(jnp.zeros_like, steps.start)
    items = derivative.items, ct_outputs
    (ct_state, ct_start), ct_added = kernel.scan(one_step, None, (ct_state, ct_start), items, reverse=True)
    ct_params, ct_xs = jax.linear_transpose(outside, *live)(tuple(ct_added))
    ct_steps = dataclasses.replace(jax.tree.map(lambda _: None, steps), start=ct_start)
    return live_params.fill(ct_params, None), live_xs.fill(ct_xs, None), ct_state, ct_steps


_chunk.defvjp(_chunk_fwd, _chunk_bwd)


def _facts(cell, params, xs, state) -> StepFacts:
    return StepFacts.of(cell, params, step_shapes(xs), state, current())


def _derivative(cell, params, xs, states, steps) -> Derivative:
    facts = _facts(cell, params, xs, step_shapes(states))
    z = facts.over_time(cell.project)(params, xs)
    recur = lambda state, dstate: tangent_of(lambda s: cell.recur(params, s), (state,), (dstate,))
    residuals = Residuals.of(cell, "states", params, step_shapes(z), step_shapes(states))
    start = jax.tree.map(lambda leaf: leaf[0], states)
    states, gates = residuals.read(params, z, start, steps, jax.tree.leaves(states), 0, None)
    return Derivative(Rewritten(cell), params, xs, z, states, gates, steps, recur, facts)


def _step_back(derivative: Derivative, outside: Any, rows: int) -> Callable:
    """A step of the backward loop, for a tile."""
    tile = functools.partial(tile_shapes, rows, 1)
    residuals = Residuals.of(derivative.cell, "states", derivative.params, tile(derivative.z), tile(derivative.states))
    gates = dataclasses.replace(derivative.gates, residuals=residuals)
    on_tile = dataclasses.replace(derivative, gates=gates)
    return lambda _, carry, item: on_tile.step_back(tile(outside), carry, item)
