"""What a whole run keeps of its steps for the backward pass, in arrays over all T steps.

    gates       each step's; the states come back by elementwise work alone
    states      that each step starts from; the gates of a chunk are made of them, in one product
    nothing     a chunk is run again when the backward pass comes to it

The state that each chunk starts from is kept in any case. What is an output too, as the gate of a simple cell and the hidden
state of most others are, is read there and not kept again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.inplace import Chunk, Sequence, at
from jaxrnn.kept import Gates, gates_from_states, keep, keeps_gates, linearize_gates, states_from_gates
from jaxrnn.lengths import FirstStep, Steps, fill_padding, valid_steps
from jaxrnn.memory.modes import SAVE, Mode
from jaxrnn.recurrent import recur
from jaxrnn.step import finish, step
from jaxrnn.traced import same_results


@dataclasses.dataclass(frozen=True)
class Run:
    """How to run.

    Attributes:
      cell: a cell in four functions.
      sequence: the sequence and its chunks.
      mode: the memory mode, "save" or "recompute".
      has_rows: what `all_have_rows` says.
    """

    cell: Any
    sequence: Sequence
    mode: Mode
    has_rows: bool

    @property
    def keeps(self) -> str:
        """What is kept of every step: its "gates", its "states", or "nothing"."""
        if self.mode != SAVE:
            return "nothing"
        return "gates" if keeps_gates(self.mode.keep) else "states"


class Reads(NamedTuple):
    """What a run reads: inputs and resets as the sequence has them, the initial state `[B, ...]`, lengths `[B]`, and what
    steps that start again, and padded ones, are called with."""

    params: Any
    inputs: Any
    state: Any
    lengths: jax.Array | None
    resets: jax.Array | None
    first: FirstStep | None

    def chunk(self, chunk: Chunk, differentiated: bool = True) -> tuple[Any, Steps]:
        """The inputs of a chunk, with its padding filled, and its steps."""
        lengths, first = chunk.first_rows((self.lengths, self.first))
        xs, valid = chunk.read(self.inputs), valid_steps(lengths)
        steps = Steps(None if valid is None else valid(chunk.times), count=chunk.size)
        steps = steps.starting(chunk.read(self.resets), first, differentiated)
        return (xs if first is None else fill_padding(steps.valid, xs, first.inputs)), steps

    def of_rows(self, choose: Callable) -> Reads:
        """Of some rows alone, which `choose` takes of arrays `[B, ...]`. Arrays over the whole sequence stay as they are."""
        state, lengths, first = choose((self.state, self.lengths, self.first))
        return self._replace(state=state, lengths=lengths, first=first)


class Tape(NamedTuple):
    """What is kept.

    Attributes:
      starts: the state that each chunk starts from, leaves `[N, B, ...]`.
      steps: what each step keeps, arrays `[T, B, ...]`, but what is an output too.
      outputs: the run's, if something is; zeros in the padding.
      first_outputs: what belongs into the padding instead, leaves `[B, ...]`; None without lengths.
    """

    starts: Any
    steps: list[jax.Array]
    outputs: Any
    first_outputs: Any

    def start(self, chunk: Chunk) -> Any:
        """The state that a chunk starts from."""
        return chunk.first_rows(at(self.starts, chunk.number))


def step_that_keeps(what: str, run: Run, reads: Reads) -> tuple[Callable, bool]:
    """`(z, state) -> (output, new_state, what is kept of the step)`, and whether some of that is in the outputs instead.

    Beside what a tape keeps it can be "values", those of the gates without their derivative.
    """
    cell, params = run.cell, reads.params
    in_outputs = _in_outputs(what, run, reads) if what in ("gates", "states") else []

    def step_from(z, state):
        r = recur(cell, params, state)
        if what == "gates":
            output, new, gates = _step_with_gates(cell, params, z, r, state)
            return output, new, _not_in(in_outputs, gates.kept)
        g = cell.gates(params, z, r, state)
        kept = _not_in(in_outputs, jax.tree.leaves(state)) if what == "states" else []
        return *finish(cell, params, g, state), jax.tree.leaves(g) if what == "values" else kept

    return step_from, any(i is not None for i in in_outputs)


def reader(run: Run, reads: Reads, tape: Tape) -> Callable:
    """`(chunk, steps, z) -> (states, gates)`: the states that a chunk's steps start from, and the gates, `[K, B, ...]`."""
    return {"gates": _read_gates, "states": _read_states, "nothing": _run_again}[run.keeps](run, reads, tape)


def _run_again(run, reads, tape):
    return lambda chunk, steps, z: keep(run.cell, reads.params, z, tape.start(chunk), steps)[1:]


def _read_states(run, reads, tape):
    whole = _in_place(tape, _in_outputs("states", run, reads))

    def states_and_gates(chunk, steps, z):
        start, outputs = tape.start(chunk), jax.tree.leaves(chunk.read(tape.outputs))
        # A step starts from what the one before it put out, the first one from the chunk's own start.
        before = lambda first, i: jnp.concatenate([first[None], outputs[i][:-1]])
        leaves, structure = jax.tree.flatten(start)
        of_all = lambda first, w: before(first, w) if isinstance(w, int) else chunk.cut(w, first.shape)
        leaves = [of_all(first, w) for first, w in zip(leaves, whole, strict=True)]
        states = structure.unflatten(leaves)
        return states, gates_from_states(run.cell, reads.params, z, states)

    return states_and_gates


def _read_gates(run, reads, tape):
    cell, params = run.cell, reads.params

    def states_and_gates(chunk, steps, z):
        in_outputs, shapes, rebuild = _gates_of(run, reads, chunk)
        whole = _in_place(tape, in_outputs)
        arrays = [None if isinstance(w, int) else w for w in whole]
        outputs = jax.tree.leaves(fill_padding(steps.valid, chunk.read(tape.outputs), chunk.first_rows(tape.first_outputs)))
        kept = [outputs[w] if isinstance(w, int) else chunk.cut(w, shape) for w, shape in zip(whole, shapes, strict=True)]
        gates = Gates(kept, rebuild, arrays, chunk.times)
        return states_from_gates(cell, params, tape.start(chunk), steps, gates), gates

    return states_and_gates


def _not_in(in_outputs, arrays):
    return [array for array, i in zip(arrays, in_outputs, strict=True) if i is None]


def _in_place(tape: Tape, in_outputs: list[int | None]) -> list[Any]:
    """For each array that steps keep the number of the output that it is, or the array `[T, ...]`."""
    rest = iter(tape.steps)
    return [next(rest) if i is None else i for i in in_outputs]


def _in_outputs(what: str, run: Run, reads: Reads) -> list[int | None]:
    """For each gate, or for each part of a new state, the number of the output that it is, if it is one."""
    if what == "gates":
        return _gates_of(run, reads, Chunk(run.sequence, 0, 1))[0]
    if reads.lengths is not None or reads.resets is not None:
        return [None] * len(jax.tree.leaves(reads.state))  # behind padding and resets a step starts from something else
    cell, params = run.cell, reads.params
    one_step = functools.partial(step, params, cell=cell)
    return same_results(one_step, run.sequence.step(reads.inputs), reads.state)


def _gates_of(run: Run, reads: Reads, chunk: Chunk) -> tuple[list[int | None], list[Any], Callable]:
    """What tracing a step tells of a chunk's gates, and the arrays do not: those that are outputs, the shapes of what is kept,
    and how the gates are made of it."""
    seen = []

    def step_with_gates(x, state):
        z, r = run.cell.project(reads.params, x), run.cell.recur(reads.params, state)
        output, _, gates = _step_with_gates(run.cell, reads.params, z, r, state)
        seen.append(([leaf.shape for leaf in gates.kept], gates.rebuild))
        return output, gates.kept

    in_outputs = same_results(step_with_gates, run.sequence.step(reads.inputs, chunk.share), chunk.first_rows(reads.state))
    return in_outputs, *seen[0]


def _step_with_gates(cell, params, z, r, state):
    gates = linearize_gates(cell, params, z, r, state)
    return *finish(cell, params, gates.rebuild(params, state, gates.kept)[0], state), gates
