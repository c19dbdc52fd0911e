"""A whole run of a cell in four functions, in arrays that are written in place.

It computes what a scan over chunks computes, forward and backward, with fewer copies: JAX's scan stacks what every chunk
keeps, transposes the whole sequence before and after it, and fills every array with zeros first. Here each chunk is cut out
of the inputs as they lie, and what it keeps goes where it stays.

    forward     for every chunk: keep the state that it starts from; project its inputs; run its steps, keeping their gates
    backward    for every chunk, from the last one: its states, from the gates and the first state; its steps backward, the
                cotangents of z and r; with these the gradients of inputs and weights, each in one product

Where the gates are not kept ("recompute"), the backward pass runs a chunk again when it comes to it. With lengths, neither
pass runs the chunks that are padding throughout.

JAX sees a linear function with a transpose of its own (`jaxrnn.transposable`). All else that it may want of a run, forward
mode and second derivatives, comes from a scan over the steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import transposable
from jaxrnn.chunk import chunk_body, plain_chunk
from jaxrnn.derivative import Derivative, many_rows, recur_tangent
from jaxrnn.inplace import Chunk, Sequence, at, longest_of, put, zeros_of
from jaxrnn.kept import Gates, keep, linearize_gates, states_from_gates
from jaxrnn.lengths import Steps, enter, leave, valid_steps, zero_padding
from jaxrnn.memory.blocks import scan_chunks
from jaxrnn.memory.modes import SAVE, Mode
from jaxrnn.tangents import Live, add_tangents, over_time, tangent_of
from jaxrnn.traced import same_results


@dataclasses.dataclass(frozen=True)
class Run:
    """How to run.

    Attributes:
      cell: a cell in four functions.
      sequence: the sequence and its chunks.
      mode: the memory mode, "save" or "recompute".
    """

    cell: Any
    sequence: Sequence
    mode: Mode

    @property
    def keep_gates(self) -> bool:
        return self.mode == SAVE


class Reads(NamedTuple):
    """What a run reads: inputs and resets as the sequence has them, the initial state `[B, ...]`, lengths `[B]`."""

    params: Any
    inputs: Any
    state: Any
    lengths: jax.Array | None
    resets: jax.Array | None

    @property
    def longest(self) -> jax.Array | None:
        """Steps of the longest row."""
        return None if self.lengths is None else longest_of(self.lengths)

    def chunk(self, chunk: Chunk) -> tuple[Any, Steps]:
        """The inputs of a chunk, zeros in the padding, and its steps."""
        valid = valid_steps(self.lengths)
        steps = Steps(None if valid is None else valid(chunk.times)).resetting(chunk.read(self.resets), self.state)
        return zero_padding(steps.valid, chunk.read(self.inputs)), steps


class Tape(NamedTuple):
    """What is kept.

    Attributes:
      starts: the state that each chunk starts from, leaves `[N, B, ...]`.
      gates: those of all steps `[T, ...]`, but those that are outputs.
      outputs: the run's, if gates are among them.
    """

    starts: Any
    gates: list[jax.Array]
    outputs: Any


def run_in_place(
    sequence: Sequence, mode: Mode, lengths: jax.Array | None, cell: Any, params: Any, xs: Any, state: Any, steps: Steps
) -> tuple[Any, Any]:
    """`(outputs, state)` of a cell in four functions over all T steps, which start from `state` and go back to it."""
    run, reads = Run(cell, sequence, mode), Reads(params, xs, state, lengths, steps.reset)
    return _whole_run(run, reads) if _fits(run, reads) else _plain(run, reads)


def _fits(run: Run, reads: Reads) -> bool:
    """Whether all that is carried has rows and a derivative."""
    step = functools.partial(run.cell, reads.params)
    carried = jax.tree.leaves(jax.eval_shape(step, run.sequence.step(reads.inputs), reads.state))
    batch = carried[0].shape[0]
    return all(leaf.ndim and leaf.shape[0] == batch and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in carried)


def _plain(run: Run, reads: Reads, of_four: Callable | None = None, in_chunks: bool = True) -> tuple[Any, Any]:
    """The run as a scan, which JAX can differentiate in any mode."""
    sequence, valid = run.sequence, valid_steps(reads.lengths)
    time_major = lambda tree: jax.tree.map(lambda leaf: jnp.moveaxis(leaf, sequence.axis, 0), tree)
    xs = jnp.arange(sequence.time, dtype=jnp.int32), time_major(reads.inputs), time_major(reads.resets)
    body = chunk_body(run.cell, reads.params, reads.state, None, run.mode, valid, sequence.reverse, of_four)
    if in_chunks:
        state, outputs = scan_chunks(body, reads.state, xs, sequence.chunk_size, run.mode, sequence.reverse)
    else:
        state, outputs = body(reads.state, xs)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, sequence.axis), outputs), state


def _step_by_step(cell: Any, *args: Any) -> tuple[Any, Any]:
    """A chunk for forward mode, which keeps nothing and so has no use for large products; and the fastest to trace.

    Where it is differentiated again, in reverse, a step is run once more from its state.
    """
    return plain_chunk(jax.checkpoint(cell, prevent_cse=False), *args)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _whole_run(run: Run, reads: Reads) -> tuple[Any, Any]:
    """`(outputs, state)`, outputs laid out as the inputs."""
    return _forward(run, reads, keeps=False)[0]


@functools.partial(_whole_run.defjvp, symbolic_zeros=True)
def _whole_run_jvp(run, primals, tangents):
    (reads,), (dreads,) = primals, tangents
    out, tape = _taped_run(run, reads)
    return out, _tangent(run, reads, tape, dreads)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _taped_run(run: Run, reads: Reads) -> tuple[Any, Tape]:
    return _forward(run, reads, keeps=True)


@functools.partial(_taped_run.defjvp, symbolic_zeros=True)
def _taped_run_jvp(run, primals, tangents):
    # The tape has no tangent: derivatives of the derivative are those of the scan, which does not read it.
    (reads,), (dreads,) = primals, tangents
    out, tape = _taped_run(run, reads)
    return (out, tape), (_tangent(run, reads, tape, dreads), jax.tree.map(jnp.zeros_like, tape))


def _tangent(run: Run, reads: Reads, tape: Tape, dreads: Reads) -> Any:
    """The tangent of the run's results: linear in those of `dreads` that are not zero throughout."""
    live = [Live.of(part) for part in dreads]

    def plain(linear):
        dreads = Reads(*(part.fill(leaves) for part, leaves in zip(live, linear, strict=True)))
        steps = functools.partial(_plain, run, of_four=_step_by_step, in_chunks=not run.keep_gates)
        return tangent_of(steps, (reads,), (dreads,))

    def transpose(cotangents):
        live_params, live_inputs, live_state, *_ = live
        ct_params, ct_inputs, ct_state = _backward(run, reads, tape, live_params, live_inputs, *cotangents)
        return [ct_params, ct_inputs, live_state.leaves(ct_state), [], []]

    return transposable.apply(plain, transpose, [part.leaves(d) for part, d in zip(live, dreads, strict=True)])


# ---- the two passes


def _forward(run: Run, reads: Reads, keeps: bool) -> tuple[tuple[Any, Any], Tape]:
    """Runs, and keeps for the backward pass what it needs, if `keeps`."""
    cell, params, sequence = run.cell, reads.params, run.sequence

    keeps_gates = keeps and run.keep_gates
    carries_gates = not keeps_gates and _carries_gates(reads.state)
    in_output = _gates_of(run, reads)[0] if keeps_gates else []

    def step(z, state):
        r = cell.recur(params, state)
        if not keeps_gates:
            g = cell.gates(params, z, r, state)
            return *cell.finish(params, g, state), jax.tree.leaves(g) if carries_gates else []
        output, new, gates = _step_with_gates(cell, params, z, r, state)
        return output, new, [leaf for leaf, i in zip(gates.kept, in_output, strict=True) if i is None]

    def one_chunk(chunk, carry):
        start, outputs, starts, gates = carry
        xs, steps = reads.chunk(chunk)

        def one_step(carry, item):
            (state, gates), (t, z, now) = carry, item
            now = steps.at(now)
            state = enter(now, state)
            output, new, kept = step(z, state)
            return (leave(now, state, new), put(gates, kept, t) if keeps_gates else kept), output

        items = chunk.times, over_time(cell.project)(params, xs), steps.varying
        (state, gates), ys = lax.scan(one_step, (start, gates), items)
        starts = put(starts, start, chunk.number) if keeps else starts
        return state, chunk.write(outputs, zero_padding(steps.valid, ys)), starts, gates

    x = sequence.step(reads.inputs)
    output, _, kept = jax.eval_shape(lambda x, state: step(cell.project(params, x), state), x, reads.state)
    starts = jax.tree.map(lambda leaf: zeros_of(leaf, sequence.chunks), reads.state if keeps else ())
    gates = [zeros_of(leaf, sequence.time) if keeps_gates else jnp.zeros_like(leaf) for leaf in kept]
    carry = reads.state, sequence.zeros(output), starts, gates
    state, outputs, starts, gates = sequence.loop(one_chunk, carry, reads.longest)
    if carries_gates:
        (outputs, _), gates = lax.optimization_barrier((outputs, gates)), []
    return (outputs, state), Tape(starts, gates, None if set(in_output) <= {None} else outputs)


def _backward(
    run: Run, reads: Reads, tape: Tape, live_params: Live, live_inputs: Live, ct_outputs: Any, ct_state: Any
) -> tuple[list, list, Any]:
    """The cotangents of the live leaves of params and inputs, and of the initial state."""
    cell, params = run.cell, reads.params
    states_and_gates = _reader(run, reads, tape)
    recur = recur_tangent(cell, params, jax.tree.leaves(reads.state)[0].shape[0])

    def one_chunk(chunk, carry):
        ct_params, ct_inputs, ct_state, ct_start = carry
        xs, steps = reads.chunk(chunk)
        z = over_time(cell.project)(params, xs)
        states, gates = states_and_gates(chunk, steps, z)
        derivative = Derivative(cell, params, xs, z, states, gates, steps, recur)
        ct_ys = zero_padding(steps.valid, chunk.read(ct_outputs))
        (more, ct_xs), ct_state, ct_start = derivative.backward(live_params, live_inputs, ct_ys, ct_state, ct_start)
        ct_inputs = chunk.write(ct_inputs, zero_padding(steps.valid, ct_xs))
        return add_tangents(ct_params, more), ct_inputs, ct_state, ct_start

    zeros = lambda leaves: [jnp.zeros_like(leaf) for leaf in leaves]
    ct_start = None if reads.resets is None else jax.tree.map(jnp.zeros_like, reads.state)
    carry = zeros(live_params.leaves(params)), zeros(live_inputs.leaves(reads.inputs)), ct_state, ct_start
    ct_params, ct_inputs, ct_state, ct_start = run.sequence.loop(one_chunk, carry, reads.longest, backward=True)
    return ct_params, ct_inputs, add_tangents(ct_state, ct_start)


def _reader(run: Run, reads: Reads, tape: Tape) -> Callable:
    """`(chunk, steps, z) -> (states, gates)`: the states that a chunk's steps start from, and the gates, `[K, B, ...]`."""
    cell, params = run.cell, reads.params
    if not run.keep_gates:
        return lambda chunk, steps, z: keep(cell, params, z, at(tape.starts, chunk.number), steps)[1:]
    in_output, rebuild = _gates_of(run, reads)
    rest = iter(tape.gates)
    whole = [next(rest) if i is None else None for i in in_output]

    def states_and_gates(chunk, steps, z):
        ys = jax.tree.leaves(chunk.read(tape.outputs))
        kept = [chunk.cut(leaf) if i is None else ys[i] for leaf, i in zip(whole, in_output, strict=True)]
        gates = Gates(kept, rebuild, whole, chunk.times)
        return states_from_gates(cell, params, at(tape.starts, chunk.number), steps, gates), gates

    return states_and_gates


def _carries_gates(state: Any) -> bool:
    """Whether each step hands its gates to the next one, which has no use for them.

    XLA before jax 0.11 computes a step's gates inside the loop that makes the new state, not vectorised, if nothing else takes
    them. That is so where the state is one array: a GRU's forward pass takes 1.5 to 2.7 times as long.
    """
    first, *more = jax.tree.leaves(state)
    return jax.__version_info__ < (0, 11) and not more and many_rows(first.shape[0])


def _step_with_gates(cell, params, z, r, state):
    gates = linearize_gates(cell, params, z, r, state)
    return *cell.finish(params, gates.rebuild(params, state, gates.kept)[0], state), gates


def _gates_of(run: Run, reads: Reads) -> tuple[list[int | None], Callable]:
    """What tracing a step tells of its gates, and the arrays do not.

    For each of the kept ones the number of the output that it is, as the hidden state of a simple cell is its gate; and how the
    gates are made of what is kept.
    """
    rebuild = []

    def step(x, state):
        z, r = run.cell.project(reads.params, x), run.cell.recur(reads.params, state)
        output, _, gates = _step_with_gates(run.cell, reads.params, z, r, state)
        rebuild.append(gates.rebuild)
        return output, gates.kept

    return same_results(step, run.sequence.step(reads.inputs), reads.state), rebuild[0]
