"""Plans for a problem: memory modes with chunk sizes, and the bytes that the compiler counts for each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.chunk import own_chunk, runs_at_once
from jaxrnn.engine.tuning import current
from jaxrnn.jit import remembered, value_of
from jaxrnn.memory.blocks import blocks
from jaxrnn.memory.host import on_host, to_device, to_host
from jaxrnn.memory.modes import OFFLOAD, RECOMPUTE, SAVE, Mode, recursive, resolve
from jaxrnn.memory.plan import Plan, first_within
from jaxrnn.runners.loop import run
from jaxrnn.runners.offload_check import offload_fails, proven
from jaxrnn.runners.problem import Problem
from jaxrnn.runners.start import Struct
from jaxrnn.typing import Cell, Tree

_MOST_LEVELS = 4  # one more would save a few states, beside a chunk's own temporaries


def mode_and_chunk_size(problem: Problem, memory: Any, chunk_size: int | None) -> tuple[Mode, int]:
    """The mode and the chunk size that a runner's arguments `memory` and `chunk_size` stand for."""
    if check.is_budget(memory):
        # Nobody can see from here what the loss will read and what will be differentiated, so all of it counts.
        memory = first_within(memory, plans(problem, "outputs", input_gradient=True, chunk_size=chunk_size))
    elif isinstance(memory, Plan):
        check.made_for(memory.made_for, description(problem), memory.chunk_size, chunk_size)
    if isinstance(memory, Plan):
        return proven(memory.memory_mode), memory.chunk_size
    check.whole_chunks(problem.time_and_batch[0], chunk_size)
    mode = proven(resolve(memory))
    return mode, chunk_size or _chunk_size(problem, mode)


def plans(problem: Problem, loss: Any, input_gradient: bool, chunk_size: int | None = None) -> Iterator[Plan]:
    """A plan for every mode, the one with the least work first; each is compiled when its turn comes."""
    check.known_sizes(*problem.time_and_batch)
    made_for = description(problem)
    choices = list(_choices(problem, chunk_size))
    if problem.streamed:
        choices = [choice for choice in choices if _in_whole_blocks(problem, *choice)] or choices[:1]
    for mode, size in choices:
        device, host = _bytes(problem, mode, size, loss, input_gradient)
        work, reader = _extra_forwards(problem.cell, mode), check.name_of(loss) if callable(loss) else loss
        yield Plan(mode.name, size, mode.levels or 1, device, host, work, reader, made_for)


def description(problem: Problem) -> dict[str, Any]:
    """What a plan is made for, name by name. The direction is left out: it costs nothing."""
    arrays = dataclasses.replace(problem, cell=None)
    leaves = jax.tree_util.tree_leaves_with_path(shapes(arrays))
    named = {jax.tree_util.keystr(path).removeprefix("."): check.describe(leaf) for path, leaf in leaves}
    cell = problem.cell if value_of(problem.cell) is not None else f"{check.name_of(problem.cell)} at {id(problem.cell):#x}"
    statics = {"time_major": problem.time_major, "dtype": problem.dtype, "streamed": problem.streamed}
    return {"cell": cell, **statics, **named}


def shapes(tree: Tree) -> Any:
    """Shapes with their placement over devices, where it is known; the memory that they are in is left out."""

    def shape(leaf):
        sharding = getattr(leaf, "sharding", None)
        spread = isinstance(sharding, jax.NamedSharding) and isinstance(sharding.mesh, jax.sharding.Mesh) and not on_host(leaf)
        return Struct(jnp.shape(leaf), jnp.result_type(leaf), sharding=sharding if spread else None)

    return jax.tree.map(shape, tree)


def _choices(problem: Problem, chunk_size: int | None) -> Iterator[tuple[Mode, int]]:
    """Modes with their chunk sizes, in the order of their work."""
    time = problem.time_and_batch[0]
    deep = [recursive(levels) for levels in range(2, _MOST_LEVELS + 1) if time >= 4 ** (levels + 1)]
    for mode in [SAVE, *([] if offload_fails() else [OFFLOAD]), RECOMPUTE, *deep]:
        yield mode, chunk_size or _chunk_size(problem, mode)


def _chunk_size(problem: Problem, mode: Mode) -> int:
    time, batch = problem.time_and_batch
    ragged = problem.sequence_length is not None or problem.mask is not None
    in_tiles = ragged and mode in (SAVE, RECOMPUTE)
    return current().chunk_size(time, batch, mode, in_tiles, runs_at_once(problem.cell))


def _in_whole_blocks(problem: Problem, mode: Mode, chunk_size: int) -> bool:
    """Whether the loops come out even, as reading from the host needs it."""
    time = problem.time_and_batch[0]
    return math.prod(blocks(time, chunk_size, mode)) * chunk_size == time


def _extra_forwards(cell: Cell, mode: Mode) -> int:
    saves_it_all = mode.name == "save" and own_chunk(cell) is not None  # of a plain function only the states are kept
    return 0 if saves_it_all else mode.levels or 1


def _bytes(problem: Problem, mode: Mode, chunk_size: int, loss: Any, input_gradient: bool) -> tuple[int, int]:
    """Temporary bytes of a training step, on the device and on the host."""
    leaves, treedef = jax.tree.flatten(shapes(problem))
    return _count((problem.cell, loss), tuple(leaves), treedef, mode, chunk_size, input_gradient)


@remembered
def _count(cell_and_loss, shapes, treedef, mode, chunk_size, input_gradient):
    """What the compiler says, which is exact, and known in a fraction of a second whatever T is; nothing is allocated."""
    problem = jax.tree.unflatten(treedef, shapes)
    rest, restdef = jax.tree.flatten(dataclasses.replace(problem, params=None, inputs=None))
    _, loss = cell_and_loss
    read = loss if callable(loss) else {"outputs": _all_outputs, "state": _last_state}[loss]

    def step(params, inputs, rest):
        def value(params, inputs):
            inputs = to_host(inputs) if problem.streamed else inputs
            whole = dataclasses.replace(jax.tree.unflatten(restdef, rest), params=params, inputs=inputs)
            return read(*run(whole, mode, chunk_size))

        return jax.value_and_grad(value, (0, 1) if input_gradient else 0, allow_int=True)(params, inputs)

    # How well the code runs changes no buffer.
    options = {"xla_backend_optimization_level": 0} if current().platform == "cpu" else None
    analysis: Any = jax.jit(step).lower(problem.params, problem.inputs, rest).compile(options).memory_analysis()
    return analysis.temp_size_in_bytes, analysis.host_temp_size_in_bytes


def _all_outputs(outputs, state):
    if not on_host(outputs):
        return _sum_of_sines(outputs)
    add = lambda total, step: (total + _sum_of_sines(to_device(step)), None)
    return lax.scan(add, 0.0, outputs)[0]


def _last_state(outputs, state):
    return _sum_of_sines(state)


def _sum_of_sines(tree):
    """Its derivative reads every element, and it needs no array of its own where XLA fuses it (jax 0.10 takes one)."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum((jnp.sum(jnp.sin(leaf)).real.astype(jnp.float32) for leaf in leaves), jnp.float32(0))
