"""A sequence as one loop over chunks: what `dynamic_rnn` compiles, and what the planner asks the compiler about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.chunk import chunk_body, fused_throughout, is_fused, run_chunk
from jaxrnn.engine.inplace import run_in_place
from jaxrnn.engine.layout import Layout
from jaxrnn.engine.masking import Steps, at_first, fill_padding, first_step, valid_steps, zero_padding
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.tuning import current
from jaxrnn.memory.modes import RECOMPUTE, SAVE, Mode
from jaxrnn.runners.problem import Problem
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct
from jaxrnn.typing import Outputs, State, Tree


def run(problem: Problem, mode: Mode, chunk_size: int) -> tuple[Outputs, State]:
    """`(outputs, state)` of the problem in a memory mode, chunk_size steps at once."""
    if problem.key is not None:
        check.prng_key(problem.key)
    rows = no_rows(problem)
    problem = spread_alike(problem, rows)
    axis = 0 if problem.time_major else 1
    one_step = jax.tree.map(lambda leaf: Struct((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype), problem.inputs)
    start = (problem.initial_state, problem.dtype, key_struct(problem.key))
    state = spread(first_state(problem.cell, problem.params, one_step, *start), rows)
    if rows is None and current().of_four is None and _in_place(problem, mode):
        return _run_in_place(problem, state, mode, chunk_size)
    return _scan(problem, state, mode, chunk_size, rows)


def _in_place(problem: Problem, mode: Mode) -> bool:
    """Whether this is done in arrays written in place.

    Cells made of others are run chunk by chunk where that keeps less: to compute a stack again one needs none of its
    layers' outputs, and masks are drawn again too.
    """
    if problem.streamed or 0 in problem.time_and_batch:
        return False
    composed = mode == SAVE and problem.key is None and fused_throughout(problem.cell)
    return composed or (mode in (SAVE, RECOMPUTE) and is_fused(problem.cell))


def _run_in_place(problem, state, mode, chunk_size):
    """The run as one chunk of T steps, in which every cell in four functions runs in place."""
    (time, batch), lengths, tuning = problem.time_and_batch, problem.sequence_length, current()
    times, batch_major = jnp.arange(time, dtype=jnp.int32), not problem.time_major
    turn = batch_major and not is_fused(problem.cell)  # such a cell alone reads the inputs as they lie
    swap = swap_batch_and_time if turn else lambda tree: tree
    layout = Layout(time, batch, min(chunk_size, time), int(batch_major and not turn), problem.reverse)
    fill = functools.partial(_filled, lengths, problem.reverse)
    steps = Steps(
        again=swap(problem.resets),
        start=None if problem.resets is None else state,
        count=time,
        of_four=functools.partial(run_in_place, layout, mode, tuning, lengths),
        fill=None if lengths is None else fill,
    )
    inputs = fill(swap(problem.inputs)) if turn else problem.inputs
    outputs, state = run_chunk(problem.cell, problem.params, inputs, state, steps)
    valid = None if is_fused(problem.cell) else valid_steps(lengths)
    return swap(outputs if valid is None else zero_padding(valid(times), outputs)), state


def _filled(lengths, reverse, tree):
    """`[T, B, ...]` with what each row has first in its padding. A copy in another layout is made so: it holds no NaN then."""
    valid, first = valid_steps(lengths), first_step(at_first(tree, lengths, 0, reverse), (), lengths, None)
    if valid is None or first is None:
        return tree
    of_leaf = lambda leaf, one: fill_padding(valid(jnp.arange(leaf.shape[0], dtype=jnp.int32)), leaf, one)
    return jax.tree.map(of_leaf, tree, first.inputs)


def _scan(problem, state, mode, chunk_size, rows):
    """The run as a scan over chunks."""
    swap = (lambda tree: tree) if problem.time_major else swap_batch_and_time
    resets, lengths = swap(problem.resets), problem.sequence_length
    inputs = problem.inputs if problem.time_major else _filled(lengths, problem.reverse, swap(problem.inputs))
    begin = None if problem.streamed else at_first(inputs, lengths, 0, problem.reverse)
    first = first_step(begin, state, lengths, resets)
    valid = valid_steps(lengths)
    body = chunk_body(problem.cell, problem.params, problem.key, mode, valid, first, problem.reverse, current().of_four)
    if lengths is not None and problem.streamed:
        body = _filling(lengths, body)
    if lengths is not None and mode.skip:
        body = _skip_from(jnp.max(lengths, initial=0), body, rows)
    time = jnp.arange(problem.time_and_batch[0], dtype=jnp.int32)
    state, outputs = scan_chunks(body, state, (time, inputs, resets), chunk_size, mode, problem.reverse, problem.streamed)
    return swap(outputs), state


def _filling(lengths: jax.Array, body: Callable) -> Callable:
    """`body`, with its chunk's padding filled from that chunk alone: of inputs on the host nothing else is here."""

    def fill_and_run(state, chunk):
        time, inputs, resets = chunk
        return body(state, (time, _filled(lengths - time[0], False, inputs), resets))

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
