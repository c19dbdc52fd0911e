"""A chunk of a cell in four functions as one kernel forward and one backward. Experimental: nothing chooses it by itself.

A GPU runs a scan as several kernels a step, each of which loads the recurrent weights anew. Here the K steps are one kernel
(`jaxrnn.kernel`), which reads them once. What is sequential is traced into it from the cell itself, whatever cell that is; all
else is a large product over the whole chunk, in front of it or behind:

    forward     z = project(xs)                                       for all K steps
                output, s' = combine(gates(z, recur(s), s), s)        step by step, in the kernel; each s is kept
    backward    g and its derivative, from z and each s               for all K steps
                output^, s'^ -> z^, r^, s^                            step by step, in the kernel: the transposed tangent
                each weight's gradient, from z^, r^ and s             for all K steps

where ^ is a cotangent and r = recur(s); `jaxrnn.derivative` has the equations.

`Steps(of_four=persistent_chunk)` makes it the chunk of every such cell in a run, in stacks and wrappers too. It has first
derivatives in reverse mode alone (`jax.custom_vjp`).

Verified, on a CPU: values and gradients, the kernel interpreted; and that JAX lowers the kernels of all built-in cells, both
passes, float32 and bfloat16, to Triton for an H100. Not verified, for want of a GPU: that Triton compiles what it is given,
that it holds the weights on chip for the whole loop, and any speed. Triton's limits, beside those that `fits` knows: it
multiplies float32 without the matrix units, unless asked for `jax.default_matmul_precision("tensorfloat32")`; and it takes no
cell whose functions cut or glue arrays in other ways than `jaxrnn.straight` can do without.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.chunk import is_fused
from jaxrnn.derivative import Derivative
from jaxrnn.kept import Gates, gates_from_states, linearize_gates
from jaxrnn.kernel import Kernel, tile_shapes
from jaxrnn.lengths import Steps, enter, leave
from jaxrnn.memory.modes import STATES, named
from jaxrnn.tangents import Live, over_time, tangent_of

_ROWS = 16  # of a tile: the fewest that Triton multiplies, so that a batch makes as many programs as it can
_ON_CHIP = 227 * 1024  # bytes of shared memory that one block can have on a Hopper GPU


def persistent_chunk(
    cell: Any, params: Any, xs: Any, state: Any, steps: Steps, *, rows: int = _ROWS, interpret: bool | None = None
) -> tuple[Any, Any]:
    """K steps of a cell in four functions in one kernel, as `jaxrnn.chunk.fused_chunk` takes and gives them.

    Args:
      cell: a cell in four functions, each of which treats every row of the batch alone.
      params: its params.
      xs: inputs, leaves `[K, B, ...]`.
      state: the state that the first step starts from, leaves `[B, ...]`.
      steps: the steps.
      rows: of a tile, each of which goes through the steps by itself.
      interpret: whether JAX interprets the kernel, which is slow; None is where there is no GPU.

    Returns:
      `(outputs [K, B, ...], state [B, ...])`.

    Raises:
      TypeError: if the cell is not in four functions.
      ValueError: if a part of its state has no rows.
    """
    check.four_functions(cell, is_fused(cell), "persistent_chunk")
    check.rows_of_state(cell, state, jax.tree.leaves(xs)[0].shape[1])
    interpret = jax.default_backend() != "gpu" if interpret is None else interpret
    steps = dataclasses.replace(steps, step_key=None, run_key=None)  # these cells draw nothing
    return _chunk((cell, Kernel(rows, interpret)), params, xs, state, steps)


def fits(cell: Any, params: Any, xs: Any, state: Any, *, rows: int = _ROWS) -> bool:
    """Whether a GPU can take the cell's kernel: `jaxrnn.chunk.fused_chunk` is for what it cannot.

    Args:
      cell, params, xs, state, rows: as for `persistent_chunk`; arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      Whether the cell is in four functions, what all steps read and a tile of its state fit the memory on chip, and all of
      these are arrays that Triton knows, whose sizes are powers of two.
    """
    batch = jax.tree.leaves(xs)[0].shape[1]
    if not is_fused(cell) or not all(leaf.ndim and leaf.shape[0] == batch for leaf in jax.tree.leaves(state)):
        return False

    def on_chip(params, xs, state):
        z = over_time(cell.project)(params, xs)
        weights = Kernel(rows, interpret=False).line(_step(cell, params), None, state, (z, Steps())).weights
        zeros = lambda tree: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), tree)
        return weights, zeros(tile_shapes(rows, 0, state)), zeros(tile_shapes(rows, 1, z))

    arrays = jax.tree.leaves(jax.eval_shape(on_chip, params, xs, state))
    known = all(size & (size - 1) == 0 for array in arrays for size in array.shape)
    return known and sum(array.size * array.dtype.itemsize for array in arrays) <= _ON_CHIP


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunk(how: tuple[Any, Kernel], params: Any, xs: Any, state: Any, steps: Steps) -> tuple[Any, Any]:
    return _forward(how, params, xs, state, steps)[0]


def _forward(how, params, xs, state, steps, keeps=False):
    """`(outputs, state)`, and the state that each step starts from."""
    cell, kernel = how
    items = over_time(cell.project)(params, xs), steps.varying
    end, (outputs, states) = kernel.scan(_step(cell, params, keeps), steps.start, state, items)
    return (outputs, end), states


def _step(cell, params, keeps=False):
    def one_step(start, state, item):
        z, step = item
        state = enter(dataclasses.replace(step, start=start), state)
        output, new = cell.update(params, z, cell.recur(params, state), state)
        return leave(step, state, new), (output, state if keeps else None)

    return one_step


def _chunk_fwd(how, params, xs, state, steps):
    out, states = _forward(how, params, xs, state, steps, keeps=True)
    return out, (params, xs, named(states, STATES), steps)


def _chunk_bwd(how, kept, cotangents):
    (cell, kernel), (params, xs, states, steps), (ct_outputs, ct_state) = how, kept, cotangents
    derivative = _derivative(cell, params, xs, states, steps)
    live_params, live_xs = _live(params), _live(xs)
    live = live_params.leaves(params), live_xs.leaves(xs)
    front = lambda dparams, dxs: derivative.front(live_params.fill(dparams), live_xs.fill(dxs))
    one_step = _step_back(derivative, jax.eval_shape(front, *live), kernel.rows)
    ct_start = jax.tree.map(jnp.zeros_like, steps.start)
    items = derivative.items, ct_outputs
    (ct_state, ct_start), ct_added = kernel.scan(one_step, None, (ct_state, ct_start), items, reverse=True)
    ct_params, ct_xs = jax.linear_transpose(front, *live)(tuple(ct_added))
    ct_steps = Steps(start=ct_start, keep=steps.keep, of_four=steps.of_four)
    return live_params.fill(ct_params, None), live_xs.fill(ct_xs, None), ct_state, ct_steps


_chunk.defvjp(_chunk_fwd, _chunk_bwd)


def _derivative(cell, params, xs, states, steps) -> Derivative:
    z = over_time(cell.project)(params, xs)
    recur = lambda state, dstate: tangent_of(lambda s: cell.recur(params, s), (state,), (dstate,))
    return Derivative(cell, params, xs, z, states, gates_from_states(cell, params, z, states), steps, recur)


def _step_back(derivative: Derivative, added: Any, rows: int) -> Callable:
    """A step of the backward loop, for a tile."""
    cell, params, rebuild = derivative.cell, derivative.params, []
    tile = functools.partial(tile_shapes, rows, 1)

    def gates(z, state):
        rebuild.append(linearize_gates(cell, params, z, cell.recur(params, state), state).rebuild)

    jax.eval_shape(gates, tile(derivative.z), tile(derivative.states))
    on_tile = dataclasses.replace(derivative, gates=Gates(derivative.gates.kept, rebuild[0]))
    return lambda _, carry, item: on_tile.step_back(tile(added), carry, item)


def _live(tree) -> Live:
    leaves, structure = jax.tree.flatten(tree)
    return Live(structure, tuple(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves))
