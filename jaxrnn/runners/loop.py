"""A sequence as one loop over chunks: what `dynamic_rnn` compiles, and what the planner asks the compiler about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.chunk import chunk_body, fused_throughout, is_fused, run_chunk, runs_at_once
from jaxrnn.engine.first import at_first, extent_of, first_step
from jaxrnn.engine.inplace import run_in_place
from jaxrnn.engine.layout import Layout
from jaxrnn.engine.masking import Steps, fill_padding, valid_steps, zero_padding
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.step import draws
from jaxrnn.engine.tuning import current
from jaxrnn.memory.modes import RECOMPUTE, SAVE, Mode
from jaxrnn.runners.extent import course_of
from jaxrnn.runners.problem import Problem
from jaxrnn.runners.sharding import all_manual, no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct, state_at_resets
from jaxrnn.typing import Outputs, State, Tree


def run(problem: Problem, mode: Mode, chunk_size: int, around: Callable | None = None) -> tuple[Outputs, State]:
    """`(outputs, state)` of the problem in a memory mode, chunk_size steps at once.

    `around` makes another body of the scan's, `(state, chunk) -> (state, outputs)`, where a run is a scan of chunks.
    """
    if problem.key is not None:
        check.prng_key(problem.key)
    rows = no_rows(problem)
    problem = spread_alike(problem, rows)
    axis = 0 if problem.time_major else 1
    one_step = jax.tree.map(lambda leaf: Struct((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype), problem.inputs)
    start = (problem.initial_state, problem.dtype, key_struct(problem.key))
    state, again = spread(first_state(problem.cell, problem.params, one_step, *start), rows), None
    if problem.resets is not None:
        again = state_at_resets(problem.cell, state, problem.reset_state, problem.time_and_batch[1])
        again = spread(again, rows)
    flags = problem.sequence_length, problem.mask, problem.resets
    course = course_of(*flags, axis, problem.reverse, state, again)
    in_place = (rows is None or all_manual()) and current().of_four is None and _in_place(problem, mode)
    if in_place:
        outputs, state = _run_in_place(problem, course, again, mode, chunk_size)
    else:
        outputs, state = _scan(problem, course, again, mode, chunk_size, rows, around or (lambda body: body))
    return outputs, course.end(again, state)


def _in_place(problem: Problem, mode: Mode) -> bool:
    """Whether this is done in arrays written in place.

    Cells made of others are run chunk by chunk where that keeps less: to compute a stack again one needs none of its
    layers' outputs, and masks and noise are drawn again too.
    """
    if problem.streamed or 0 in problem.time_and_batch or runs_at_once(problem.cell):
        return False
    composed = mode == SAVE and problem.key is None and fused_throughout(problem.cell)
    alone = is_fused(problem.cell) and (problem.key is None or not draws(problem.cell))
    return composed or (mode in (SAVE, RECOMPUTE) and alone)


def _run_in_place(problem, course, again, mode, chunk_size):
    """The run as one chunk of T steps, in which every cell in four functions runs in place."""
    (time, batch), extent, tuning = problem.time_and_batch, course.extent, current()
    times, batch_major = jnp.arange(time, dtype=jnp.int32), not problem.time_major
    turn = batch_major and not is_fused(problem.cell)  # such a cell alone reads the inputs as they lie
    swap = swap_batch_and_time if turn else lambda tree: tree
    layout = Layout(time, batch, min(chunk_size, time), int(batch_major and not turn), problem.reverse)
    mask = swap(course.mask)
    runs = lambda: None if extent is None else valid_steps(extent.ends, times, mask)
    steps = Steps(
        valid=mask,
        again=swap(course.resets),
        start=again,
        first=course.first,
        count=time,
        of_four=functools.partial(run_in_place, layout, mode, tuning, extent),
        fill=None if extent is None else lambda tree: _filled(extent, runs(), tree),
    )
    inputs = _filled(extent, runs(), swap(problem.inputs)) if turn else problem.inputs
    outputs, state = run_chunk(problem.cell, problem.params, inputs, course.start, steps)
    return swap(outputs if is_fused(problem.cell) else zero_padding(runs(), outputs)), state


def _filled(extent, runs, tree):
    """`[T, B, ...]` with what each row has first in its padding. A copy in another layout is made so: it holds no NaN then."""
    if extent is None:
        return tree
    first = first_step(at_first(tree, extent, 0), (), extent.ends)
    return fill_padding(runs, tree, first and first.inputs)


def _scan(problem, course, again, mode, chunk_size, rows, around):
    """The run as a scan over chunks."""
    swap = (lambda tree: tree) if problem.time_major else swap_batch_and_time
    inputs, resets, mask, extent = swap(problem.inputs), swap(course.resets), swap(course.mask), course.extent
    times, valid, first = jnp.arange(problem.time_and_batch[0], dtype=jnp.int32), None, None
    if extent is not None:
        valid = functools.partial(valid_steps, extent.ends)
        inputs = inputs if problem.time_major else _filled(extent, valid(times, mask), inputs)
        begin = None if problem.streamed else at_first(inputs, extent, 0)
        first = first_step(begin, course.first, extent.ends)
    of_four = current().of_four
    body = around(chunk_body(problem.cell, problem.params, problem.key, mode, valid, again, first, problem.reverse, of_four))
    if valid and problem.streamed:
        body = filling(valid, body)
    if extent is not None and mode.skip:
        body = _skip_from(jnp.max(extent.ends, initial=0), body, rows)
    xs = times, inputs, resets, mask
    state, outputs = scan_chunks(body, course.start, xs, chunk_size, mode, problem.reverse, problem.streamed)
    return swap(outputs), state


def filling(valid: Callable, body: Callable) -> Callable:
    """`body`, with its chunk's padding filled from that chunk alone: of inputs on the host nothing else is here."""

    def fill_and_run(state, chunk):
        times, inputs, resets, mask = chunk
        runs = valid(times, mask)
        return body(state, (times, _filled(extent_of(runs, 0), runs, inputs), resets, mask))

    return fill_and_run


def swap_batch_and_time(tree: Tree) -> Any:
    """`[B, T, ...]` from `[T, B, ...]` and the other way round; `[T]` has no batch."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1) if leaf.ndim > 1 else leaf, tree)


def _skip_from(longest: jax.Array, body: Callable, rows: jax.Array | None) -> Callable:
    """`body`, but chunks that start at `longest` or later are not run."""

    def run_or_skip(state, chunk):
        outputs = jax.eval_shape(body, state, chunk)[1]
        zeros = lambda: jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), outputs)
        skip = lambda state, chunk: (state, spread(zeros(), rows, axis=1))
        return lax.cond(chunk[0][0] < longest, body, skip, state, chunk)

    return run_or_skip
