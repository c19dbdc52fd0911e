"""Runs that are parallel over time: how one is asked for, and what happened in it."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.chunk import fused_throughout
from jaxrnn.engine.fixed_point import Newton
from jaxrnn.engine.newton import WINDOW, NewtonChunk, watching
from jaxrnn.engine.tuning import current, using
from jaxrnn.jit import jit_by_value
from jaxrnn.memory.modes import SAVE
from jaxrnn.runners.loop import run
from jaxrnn.runners.plans import mode_and_chunk_size
from jaxrnn.runners.problem import Problem, problem_of
from jaxrnn.typing import Cell, Inputs, Params, State

Parallel = Literal["newton"] | Newton | None


def parallel_in_time(parallel: Parallel, problem: Problem, chunk_size: int | None) -> Any:
    """A context manager: what is traced inside solves each chunk as `parallel` says."""
    check.parallel(parallel, Newton)
    if parallel is None:
        return contextlib.nullcontext()
    check.windows(problem.cell, fused_throughout(problem.cell), problem.time_and_batch[0], chunk_size)
    options = parallel if isinstance(parallel, Newton) else Newton()
    return using(dataclasses.replace(current(), of_four=NewtonChunk(options), steps_of_four=WINDOW))


class NewtonReport(NamedTuple):
    """How the chunks of a run were solved, arrays `[L, W]`.

    L is the number of cells in four functions: one, or a stack's layers from the bottom up. W is that of chunks of `chunk_size`
    steps, in the order of time.

    Attributes:
      iterations: int32, how many there were.
      residual: the largest at the last iteration, in proportion to the largest value of its row.
      fell_back: booleans, whether the chunk's steps were run one by one in the end.
      adjoint_iterations: int32, those of the backward pass, of the sum of the chunk's outputs and last state.
      adjoint_fell_back: booleans, whether that one ran its steps one by one.
    """

    iterations: Any
    residual: Any
    fell_back: Any
    adjoint_iterations: Any
    adjoint_fell_back: Any


def newton_report(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    chunk_size: int | None = None,
    parallel: Parallel = "newton",
    reverse: bool = False,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> NewtonReport:
    """What `jaxrnn.dynamic_rnn(..., parallel=...)` does with these arguments: how many iterations, and where it fell back.

    It solves the run, and the adjoint of a simple loss too, so it takes as long as a training step. It works inside `jax.jit`.

    Args:
      cell, params, inputs: as for `dynamic_rnn`, `[B, T, ...]`.
      parallel: "newton", or a `jaxrnn.Newton`.
      sequence_length, initial_state, dtype, time_major, chunk_size, reverse, resets, reset_state, mask, key: as for
        `dynamic_rnn`.

    Returns:
      A `NewtonReport` of arrays `[L, W]`.

    Raises:
      TypeError, ValueError: as `dynamic_rnn`, and if parallel is None.

    Example: a run that is solved, and one of a cell with large weights, which is not.

      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> inputs = jax.random.normal(jax.random.key(1), (4, 60, 3))
      >>> bool(jaxrnn.newton_report(cell, params, inputs).fell_back[0, 0])
      False
      >>> chaotic = {**params, "recurrent_kernel": 8 * params["recurrent_kernel"]}
      >>> bool(jaxrnn.newton_report(cell, chaotic, inputs).fell_back[0, 0])
      True
    """
    check.chunk_size(chunk_size)
    check.parallel(parallel, Newton, needed=True)
    problem = problem_of(
        "newton_report",
        cell,
        params,
        inputs,
        sequence_length=sequence_length,
        initial_state=initial_state,
        dtype=dtype,
        time_major=time_major,
        reverse=reverse,
        resets=resets,
        reset_state=reset_state,
        mask=mask,
        key=key,
    )
    with parallel_in_time(parallel, problem, chunk_size):
        _, chunk_size = mode_and_chunk_size(problem, "save", chunk_size)
        return jit_by_value(_report, cell, static=("chunk_size",))(problem, chunk_size=chunk_size)


def _report(problem: Problem, chunk_size: int) -> NewtonReport:
    """The run, with what happened to each window in the place of the outputs of all its steps."""

    def around(body):
        def watched(state, chunk):
            with watching() as seen:
                state, _ = body(state, chunk)
            leaf = lambda i, name: jnp.stack([getattr(how[i], name) for how in seen])
            names = (0, "iterations"), (0, "residual"), (0, "fell_back"), (1, "iterations"), (1, "fell_back")
            report = NewtonReport(*(leaf(*name) for name in names))
            return state, jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (chunk[0].shape[0], *leaf.shape)), report)

        return watched

    report, _ = run(problem, dataclasses.replace(SAVE, skip=False), chunk_size, around)
    by_layer = (lambda leaf: jnp.swapaxes(leaf, 0, 1)) if problem.time_major else (lambda leaf: leaf)
    return jax.tree.map(lambda leaf: by_layer(leaf)[:, ::chunk_size], report)
