"""A whole run of a cell in four functions, in arrays that are written in place.

It computes what a scan over chunks computes, forward and backward, with fewer copies: JAX's scan stacks what every chunk
keeps, transposes the whole sequence before and after it, and fills every array with zeros first. Here each chunk is cut out
of the inputs as they lie, and what it keeps goes where it stays.

    forward     for every chunk: keep the state that it starts from; project its inputs; run its steps, keeping their gates
    backward    for every chunk, from the last one: its states, from the gates and the first state; its steps backward, the
                cotangents of z and r; with these the gradients of inputs and weights, each in one product

(`jaxrnn.tape` has what else can be kept, and "recompute", which keeps none of it; `jaxrnn.passes` has what is done in a chunk.)
Two `halves` of the batch can go side by side. With lengths, neither pass runs the chunks that are padding throughout, and rows
that have ended leave the loop (`jaxrnn.ragged`).

JAX sees a linear function with a transpose of its own (`jaxrnn.transposable`). All else that it may want of a run, forward
mode and second derivatives, comes from a scan over the steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import transposable
from jaxrnn.chunk import chunk_body, plain_chunk, taken_apart
from jaxrnn.halves import halves, joined, scan_together
from jaxrnn.inplace import Chunk, Sequence
from jaxrnn.lengths import Steps, at_first, first_step, valid_steps
from jaxrnn.memory.blocks import scan_chunks
from jaxrnn.memory.modes import Mode
from jaxrnn.passes import Backward, Forward
from jaxrnn.ragged import longest_first
from jaxrnn.recurrent import many_rows, recur_tangent
from jaxrnn.step import step
from jaxrnn.tangents import Live, all_have_rows, tangent_of, zero_tangent
from jaxrnn.tape import Reads, Run, Tape


def run_in_place(
    sequence: Sequence, mode: Mode, lengths: jax.Array | None, cell: Any, params: Any, xs: Any, state: Any, steps: Steps
) -> tuple[Any, Any]:
    """`(outputs, state)` of a cell in four functions over all T steps, `[T, B, ...]` or as the sequence has them.

    The padding of `xs` can hold anything, and the outputs have zeros there. `steps` has resets as its `again`.
    """
    start = state if steps.start is None else steps.start
    first = first_step(at_first(xs, lengths, sequence.axis, sequence.reverse), start, lengths, steps.again)
    reads, x = Reads(params, xs, state, lengths, steps.again, first), sequence.step(xs)
    run = Run(cell, sequence, mode, has_rows=taken_apart(xs, state) and all_have_rows(cell, params, x, state))
    return _whole_run(run, reads) if _fits(run, reads) else _plain(run, reads)


def _fits(run: Run, reads: Reads) -> bool:
    """Whether all that is carried has rows and a derivative."""
    if not taken_apart(reads.inputs, reads.state):
        return False
    x = run.sequence.step(reads.inputs)
    carried = jax.tree.leaves(jax.eval_shape(functools.partial(step, reads.params, cell=run.cell), x, reads.state))
    batch = jax.tree.leaves(x)[0].shape[0]
    return all(leaf.ndim and leaf.shape[0] == batch and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in carried)


def _plain(run: Run, reads: Reads, of_four: Callable | None = None, in_chunks: bool = True) -> tuple[Any, Any]:
    """The run as a scan, which JAX can differentiate in any mode."""
    sequence, valid = run.sequence, valid_steps(reads.lengths)
    time_major = lambda tree: jax.tree.map(lambda leaf: jnp.moveaxis(leaf, sequence.axis, 0), tree)
    xs = jnp.arange(sequence.time, dtype=jnp.int32), time_major(reads.inputs), time_major(reads.resets)
    body = chunk_body(run.cell, reads.params, None, run.mode, valid, reads.first, sequence.reverse, of_four)
    if in_chunks:
        state, outputs = scan_chunks(body, reads.state, xs, sequence.chunk_size, run.mode, sequence.reverse)
    else:
        state, outputs = body(reads.state, xs)
    back = lambda leaf: jnp.moveaxis(leaf, 0, sequence.axis) if leaf.ndim > 1 else leaf
    return jax.tree.map(back, outputs), state


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
    out, tapes = _taped_run(run, reads)
    return out, _tangent(run, reads, tapes, dreads)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _taped_run(run: Run, reads: Reads) -> tuple[Any, list[Tape]]:
    return _forward(run, reads, keeps=True)


@functools.partial(_taped_run.defjvp, symbolic_zeros=True)
def _taped_run_jvp(run, primals, tangents):
    # A tape has no tangent: derivatives of the derivative are those of the scan, which does not read it.
    (reads,), (dreads,) = primals, tangents
    out, tapes = _taped_run(run, reads)
    return (out, tapes), (_tangent(run, reads, tapes, dreads), zero_tangent(tapes))


def _tangent(run: Run, reads: Reads, tapes: list[Tape], dreads: Reads) -> Any:
    """The tangent of the run's results: linear in those of `dreads` that are not zero throughout."""
    live = [Live.of(part) for part in dreads]

    def plain(linear):
        dreads = Reads(*(part.fill(leaves) for part, leaves in zip(live, linear, strict=True)))
        steps = functools.partial(_plain, run, of_four=_step_by_step, in_chunks=run.keeps == "nothing")
        return tangent_of(steps, (reads,), (dreads,))

    def transpose(cotangents):
        live_params, live_inputs, live_state, *_, live_first = live
        ct_params, ct_inputs, ct_state, ct_first = _backward(run, reads, tapes, live_params, live_inputs, *cotangents)
        return [ct_params, ct_inputs, live_state.leaves(ct_state), [], [], live_first.leaves(ct_first)]

    return transposable.apply(plain, transpose, [part.leaves(d) for part, d in zip(live, dreads, strict=True)])


# ---- the two passes


def _forward(run: Run, reads: Reads, keeps: bool) -> tuple[tuple[Any, Any], list[Tape]]:
    """Runs, and keeps for the backward pass what it needs, if `keeps`: a tape for each of the `halves`."""
    what = run.keeps if keeps else "nothing"
    carries_gates = what == "nothing" and _carries_gates(reads.state)
    parts, ends = longest_first(halves(run, reads))
    if carries_gates and run.sequence.chunks == 1:
        ends = [(share, _opaque(run.sequence.time) if end is None else end) for share, end in ends]
    passes = [Forward(*part, keeps, "values" if carries_gates else what) for part in parts]
    output = jax.eval_shape(functools.partial(run.cell, reads.params), run.sequence.step(reads.inputs), reads.state)[0]
    carry = run.sequence.zeros(output), [each.first_carry() for each in passes]
    outputs, carries = run.sequence.loop(functools.partial(_one_chunk, passes), carry, ends)
    first_outputs = functools.partial(_first_outputs, run.sequence, reads.lengths, outputs)
    if carries_gates:
        outputs, _ = lax.optimization_barrier((outputs, [kept for *_, kept in carries]))
    tapes = [each.tape(carry, outputs, first_outputs) for each, carry in zip(passes, carries, strict=True)]
    return (outputs, joined(parts, [state for state, *_ in carries])), tapes


def _first_outputs(sequence: Sequence, lengths: jax.Array | None, outputs: Any) -> Any:
    """Each row's outputs of the first step that is run, leaves `[B, ...]`; None without lengths."""
    first = first_step(at_first(outputs, lengths, sequence.axis, sequence.reverse), (), lengths, None)
    return None if first is None else first.inputs


def _backward(
    run: Run, reads: Reads, tapes: list[Tape], params: Live, inputs: Live, ct_outputs: Any, ct_state: Any
) -> tuple[list, list, Any, Any]:
    """The cotangents of the live leaves of params and inputs, of the initial state, and of the first step."""
    recur = recur_tangent(run.cell, reads.params, jax.tree.leaves(reads.state)[0].shape[0])
    parts, ends = longest_first(halves(run, reads))
    passes = [Backward(*part, tape, recur, params, inputs, ct_outputs) for part, tape in zip(parts, tapes, strict=True)]
    zeros = lambda leaves: [jnp.zeros_like(leaf) for leaf in leaves]
    shared = zeros(params.leaves(reads.params)), zeros(inputs.leaves(reads.inputs))
    carry = shared, [each.first_carry(ct_state) for each in passes]
    body = functools.partial(_one_chunk, passes, backward=True)
    (ct_params, ct_inputs), carries = run.sequence.loop(body, carry, ends, backward=True)
    ct_state = joined(parts, [ct_state for ct_state, _ in carries])
    ct_first: Any = reads.first  # which has no cotangent but by the resets
    if reads.resets is not None:
        ct_first = ct_first._replace(state=joined(parts, [ct_start for _, ct_start in carries]))
    return ct_params, ct_inputs, ct_state, ct_first


def _one_chunk(passes: list, chunk: Chunk, carry: tuple[Any, list], backward: bool = False) -> tuple[Any, list]:
    """A chunk of all the passes, whose carry is what they share and what each has of its own."""
    (shared, carries), done = carry, []
    loops, ends = zip(*(each.begin(chunk, carry) for each, carry in zip(passes, carries, strict=True)), strict=True)
    for end, result in zip(ends, scan_together(loops, reverse=backward), strict=True):
        shared, carry = end(shared, *result)
        done.append(carry)
    return shared, done


def _opaque(step: int) -> jax.Array:
    """A step that XLA does not know: of a loop that it knows to have one chunk it drops the loop, and what no one reads."""
    return lax.optimization_barrier(jnp.int32(step))


def _carries_gates(state: Any) -> bool:
    """Whether each step hands its gates to the next one, which has no use for them.

    XLA before jax 0.11 computes a step's gates inside the loop that makes the new state, not vectorised, if nothing else takes
    them. That is so where the state is one array: a GRU's forward pass takes 1.5 to 2.7 times as long.
    """
    first, *more = jax.tree.leaves(state)
    cpu_before_11 = jax.__version_info__ < (0, 11) and jax.default_backend() == "cpu"
    return cpu_before_11 and not more and many_rows(first.shape[0])
