"""A chunk of a cell in four functions as one kernel forward and one backward. Experimental: nothing chooses it by itself.

A GPU runs a scan as several kernels a step, each of which loads the recurrent weights anew. Here the K steps are one kernel
(`jaxrnn.experimental.kernels`), which reads them once. What is sequential is traced into it from the cell itself, whatever cell
that is; all else is a large product over the whole chunk, in front of it or behind:

    forward     z = project(xs)                                       for all K steps
                output, s' = combine(gates(z, recur(s), s), s)        step by step, in the kernel; each s is kept
    backward    g and its derivative, from z and each s               for all K steps
                output^, s'^ -> z^, r^, s^                            step by step, in the kernel: the transposed tangent
                each weight's gradient, from z^, r^ and s             for all K steps

where ^ is a cotangent and r = recur(s); `jaxrnn.engine.derivative` has the equations.

`Steps(of_four=persistent_chunk)` makes it the chunk of every such cell in a run, in stacks and wrappers too. It has first
derivatives in reverse mode alone (`jax.custom_vjp`).

There are two back ends (`jaxrnn.experimental.kernels`): Triton takes most cells and dtypes, but is deprecated in JAX; Mosaic
GPU is what JAX goes on with, and takes 16-bit floats.

Verified, on a CPU: values and gradients, the kernels interpreted, Mosaic's but for its matrix instruction; that JAX lowers both
passes of all built-in cells for an H100, by Triton in float32 and bfloat16, by Mosaic in bfloat16; and that XLA and NVIDIA's
assembler compile these (LSTM and GRU, B = 64), spilling at most 4 bytes of registers at H = 64, and at H = 128 up to 652
(Mosaic, LSTM; Triton 164). Not verified, for want of a GPU: that they run; that Triton holds the weights on chip for the whole
loop; any speed. Triton multiplies float32 without the matrix units, unless asked for
`jax.default_matmul_precision("tensorfloat32")`. What a cell may do with arrays inside a kernel:
`jaxrnn.experimental.kernels.straight`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.engine.autodiff import Live, tangent_of
from jaxrnn.engine.chunk import fused_chunk, is_fused
from jaxrnn.engine.derivative import Derivative
from jaxrnn.engine.facts import StepFacts, step_shapes
from jaxrnn.engine.masking import Steps, enter, leave
from jaxrnn.engine.residuals import Residuals
from jaxrnn.engine.rewrites import Rewritten
from jaxrnn.engine.step import update
from jaxrnn.engine.tuning import current
from jaxrnn.experimental.kernels.loop import BACK_ENDS, Kernel, tile_shapes
from jaxrnn.memory.modes import STATES, named

_ON_CHIP = 227 * 1024  # bytes of shared memory that one block can have on a Hopper GPU


def persistent_chunk(
    cell: Any, params: Any, xs: Any, state: Any, steps: Steps, *, back_end: str | None = None, rows: int | None = None
) -> tuple[Any, Any]:
    """K steps of a cell in four functions in one kernel, as `jaxrnn.engine.chunk.fused_chunk` takes and gives them.

    Args:
      cell: a cell in four functions, each of which treats every row of the batch alone.
      params: its params.
      xs: inputs, leaves `[K, B, ...]`.
      state: the state that the first step starts from, leaves `[B, ...]`.
      steps: the steps.
      back_end: "triton", "mosaic", or either's interpreter, "interpret" and "interpret_mosaic"; None is "triton", and
        "interpret" where there is no GPU.
      rows: rows of a tile, each of which goes through the steps by itself; None is the fewest that the back end can multiply.

    Returns:
      `(outputs [K, B, ...], state [B, ...])`.

    Raises:
      TypeError: if the cell is not in four functions.
      ValueError: if a part of its state has no rows, or there is no such back end.
    """
    check.four_functions(cell, is_fused(cell), "persistent_chunk")
    count, batch = jax.tree.leaves(xs)[0].shape[:2]
    check.rows_of_state(cell, state, batch)
    if 0 in (count, batch):
        return fused_chunk(cell, params, xs, state, steps)
    steps = dataclasses.replace(steps, step_key=None, run_key=None, count=count)  # these cells draw nothing
    return _chunk((cell, _kernel(back_end, rows)), params, xs, state, steps)


def fits(cell: Any, params: Any, xs: Any, state: Any, *, back_end: str | None = None, rows: int | None = None) -> bool:
    """Whether a GPU can take the cell's kernel: `jaxrnn.engine.chunk.fused_chunk` is for what it cannot.

    Args:
      cell, params, xs, state, back_end, rows: as for `persistent_chunk`; arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      Whether the cell is in four functions, what all steps read and a tile of its state fit the memory on chip, and the back
      end takes arrays like these.
    """
    batch = jax.tree.leaves(xs)[0].shape[1]
    if not is_fused(cell) or not all(leaf.ndim and leaf.shape[0] == batch for leaf in jax.tree.leaves(state)):
        return False
    kernel, facts = _kernel(back_end, rows), _facts(cell, params, xs, state)

    def on_chip(params, xs, state):
        z = facts.over_time(cell.project)(params, xs)
        weights = kernel.line(_step(cell, params), None, state, (z, Steps())).weights
        zeros = lambda tree: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), tree)
        return weights, zeros(tile_shapes(kernel.rows, 0, state)), zeros(tile_shapes(kernel.rows, 1, z))

    arrays = jax.tree.leaves(jax.eval_shape(on_chip, params, xs, state))
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    return size <= _ON_CHIP and BACK_ENDS[kernel.back_end].takes(arrays)


def _kernel(back_end, rows) -> Kernel:
    back_end = back_end or ("triton" if current().platform == "gpu" else "interpret")
    check.back_end(back_end, BACK_ENDS, before_mosaic=not current().has_mosaic)
    return Kernel(back_end, rows or BACK_ENDS[back_end].rows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunk(how: tuple[Any, Kernel], params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    return _forward(how, params, xs, state, steps)[0]


def _forward(how, params, xs, state, steps, keeps=False):
    """`(outputs, state)`, and the state that each step starts from."""
    cell, kernel = how
    z = _facts(cell, params, xs, state).over_time(cell.project)(params, xs)
    items = z, steps.varying
    end, (outputs, states) = kernel.scan(_step(cell, params, keeps), steps.start, state, items)
    return (outputs, end), states


def _step(cell, params, keeps=False):
    def one_step(start, state, item):
        z, step = item
        old, state = state, enter(dataclasses.replace(step, start=start), state)
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
