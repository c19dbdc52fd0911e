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

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.engine.chunk import chunk_body, run_chunk
from jaxrnn.engine.first import first_step
from jaxrnn.engine.masking import valid_steps
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.memory.modes import Mode
from jaxrnn.runners.extent import course_of
from jaxrnn.runners.loop import filling, swap_batch_and_time
from jaxrnn.runners.problem import Problem
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct, state_at_resets
from jaxrnn.typing import Outputs, State


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


def run(problem: Problem, mode: Mode, size: int, axis: str, devices: int) -> tuple[Outputs, State]:
    """`(outputs, state)` of a device's layers, K = `size` steps a tick."""
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
    count, lengths = max(1, -(-time // size)), problem.sequence_length
    if count * size != time and lengths is None:  # the last chunk is filled up with padding
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
    steps = chunks.reshape(chunks.shape[0] * chunks.shape[1], *chunks.shape[2:])[:time]
    return jnp.where(is_last, steps, jnp.zeros_like(steps))


def _padded(leaf, time):
    """`[T, B, ...]` with more steps, zeros, at its end."""
    return jnp.pad(leaf, [(0, time - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1))


def _cut(tree, start, size):
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), tree)
