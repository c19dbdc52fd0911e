"""A sequence as one loop over chunks: what `dynamic_rnn` compiles, and what the planner asks the compiler about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.chunk import run_chunk
from jaxrnn.inplace import Sequence
from jaxrnn.keys import fold_in
from jaxrnn.lengths import Steps, zero_padding
from jaxrnn.memory.blocks import scan_chunks
from jaxrnn.memory.modes import Mode
from jaxrnn.runners.problem import Problem
from jaxrnn.runners.spread import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct
from jaxrnn.whole import Reads, Run, fits, whole_run


def run(problem: Problem, mode: Mode, chunk_size: int) -> tuple[Any, Any]:
    """`(outputs, state)` of the problem in a memory mode, chunk_size steps at once."""
    if problem.key is not None:
        check.prng_key(problem.key)
    rows = no_rows(problem)
    problem = spread_alike(problem, rows)
    time, axis = problem.time_and_batch[0], 0 if problem.time_major else 1
    one_step = jax.tree.map(lambda leaf: Struct((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype), problem.inputs)
    start = (problem.initial_state, problem.dtype, key_struct(problem.key))
    state = spread(first_state(problem.cell, problem.params, one_step, *start), rows)
    reads = Reads(problem.params, problem.inputs, state, problem.sequence_length, problem.resets)
    scan = functools.partial(_scan, problem.without_arrays, mode, chunk_size)
    in_place = mode.in_place and rows is None and not problem.streamed and time > 0
    if in_place and fits(problem.cell, problem.params, one_step, state):
        sequence = Sequence(time, min(chunk_size, time), axis, problem.reverse)
        return whole_run(Run(problem.cell, sequence, mode.name == "save", scan), reads)
    return scan(reads, problem.key, rows)


def _scan(problem, mode, chunk_size, reads, key=None, rows=None):
    """The run as a scan over chunks."""
    swap = (lambda tree: tree) if problem.time_major else swap_batch_and_time
    inputs, lengths, valid = swap(reads.inputs), reads.lengths, None
    if lengths is not None:
        valid = lambda time: time[:, None] < lengths[None]
    body = chunk_body(problem.cell, reads.params, reads.state, key, mode, valid, problem.reverse)
    if lengths is not None and mode.skip:
        body = _skip_from(jnp.max(lengths, initial=0), body, rows)
    time = jnp.arange(jax.tree.leaves(inputs)[0].shape[0], dtype=jnp.int32)
    xs = (time, inputs, None if reads.resets is None else swap(reads.resets))
    state, outputs = scan_chunks(body, reads.state, xs, chunk_size, mode, problem.reverse, problem.streamed)
    return swap(outputs), state


def swap_batch_and_time(tree: Any) -> Any:
    """`[B, T, ...]` from `[T, B, ...]` and the other way round."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def chunk_body(
    cell: Any,
    params: Any,
    initial_state: Any,
    key: jax.Array | None,
    mode: Mode,
    valid: Callable | None = None,
    reverse: bool = False,
) -> Callable:
    """`(state, (t, inputs, resets)) -> (state, outputs)` for one chunk, leaves `[K, ...]`; resets may be None.

    `valid` says of times `[K]` which steps `[K, B]` are no padding; None is all.
    """
    flip = (lambda tree: jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)) if reverse else (lambda tree: tree)

    def run(state, chunk):
        time, inputs, resets = flip(chunk)
        mask = None if valid is None else valid(time)
        steps = Steps(
            valid=mask,
            reset=resets if resets is None or mask is None else resets & mask,
            step_key=None if key is None else jax.vmap(fold_in, (None, 0))(key, time),
            run_key=key,
            start=None if resets is None else initial_state,
            keep=mode.keep,
        )
        outputs, state = run_chunk(cell, params, zero_padding(mask, inputs), state, steps)
        return state, flip(zero_padding(mask, outputs))

    return run


def _skip_from(longest: jax.Array, body: Callable, rows: jax.Array | None) -> Callable:
    """`body`, but chunks that start at `longest` or later are not run."""

    def run_or_skip(state, chunk):
        outputs = jax.eval_shape(body, state, chunk)[1]
        zeros = lambda: jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), outputs)
        skip = lambda state, chunk: (state, spread(zeros(), rows, axis=1))
        return lax.cond(chunk[0][0] < longest, body, skip, state, chunk)

    return run_or_skip
