"""Driver 2: a whole run of a cell in four functions, in arrays that are written in place.

It computes what a scan over chunks computes, with fewer copies: JAX's scan stacks what every chunk keeps, transposes the whole
sequence before and after it, and fills every array with zeros first. Here (`jaxrnn.engine.layout`) each chunk is cut out of the
inputs as they lie, and what it keeps goes where it stays.

    forward     for every chunk: keep the state that it starts from; project its inputs; run its steps, keeping their residuals
    backward    for every chunk, from the last one: its states and gates; its steps backward; with the cotangents of z and r the
                gradients of inputs and weights, each in one product

"save" keeps the residuals of all steps, "recompute" runs a chunk again when the backward pass comes to it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import Live, add_tangents, residuals_are_constant, with_backward, without_gradient
from jaxrnn.engine.chunk import chunk_body, plain_chunk, step_by_step
from jaxrnn.engine.derivative import Derivative, forward, put
from jaxrnn.engine.facts import StepFacts
from jaxrnn.engine.first import Extent, FirstStep, at_first, first_step
from jaxrnn.engine.layout import Chunk, Layout, item
from jaxrnn.engine.masking import Steps, fill_padding, valid_steps, zero_padding
from jaxrnn.engine.order import Rows
from jaxrnn.engine.residuals import Residuals
from jaxrnn.engine.rewrites import Rewritten, recur_tangent
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.step import finish
from jaxrnn.engine.tuning import Tuning
from jaxrnn.memory.modes import SAVE, Mode
from jaxrnn.typing import FourFunctions, Inputs, Outputs, Params, Shapes, State, Tree


class Reads(NamedTuple):
    """What a run reads: inputs, resets and mask as the sequence has them, the initial state and that of resets `[B, ...]`,
    which steps are run, and what each row has at its first step, for padded ones."""

    params: Params
    inputs: Inputs
    state: State
    extent: Tree  # an Extent
    resets: jax.Array | None
    mask: jax.Array | None
    start: State
    first: Tree  # a FirstStep

    @property
    def lengths(self) -> jax.Array | None:
        return None if self.extent is None else self.extent.ends

    def chunk(self, chunk: Chunk, differentiated: bool = True) -> tuple[Inputs, Steps]:
        """The inputs of a chunk, with its padding filled, and its steps."""
        start, first, xs = *chunk.tile.of((self.start, self.first)), chunk.read(self.inputs)
        valid = valid_steps(chunk.tile.lengths, chunk.times, chunk.read(self.mask))
        steps = Steps(valid, count=chunk.size).starting(chunk.read(self.resets), start, first and first.state, differentiated)
        return (xs if first is None else fill_padding(valid, xs, first.inputs)), steps

    def in_tiles(self, rows: Rows) -> Reads:
        """The same, with what each row has as `[tiles, R, ...]`."""
        state, start, first = rows.take((self.state, self.start, self.first))
        first = first and FirstStep(rows.with_steps(first.inputs, default=1), rows.with_steps(first.state))
        return self._replace(state=state, start=start, first=first)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """How to run: a cell in the form that is fastest, the layout, the memory mode ("save" or "recompute"), and what tracing a
    step shows."""

    tuned: Rewritten
    layout: Layout
    mode: Mode
    facts: StepFacts
    shapes: tuple[Shapes, Shapes, Shapes]  # params, one step's z, the state of a tile
    masked: bool  # whether a step may start from another state than the one before left

    @functools.cached_property
    def residuals(self) -> Residuals:
        keeps = self.facts.keeps
        return Residuals.of(self.tuned, keeps, *self.shapes, from_outputs=keeps == "gates" or not self.masked)


class Tape(NamedTuple):
    """What is kept of a whole run.

    Attributes:
      rows: those of each tile.
      starts: the state that each chunk starts from, leaves `[tiles * N, R, ...]`.
      steps: the residuals of each step, arrays `[tiles * T, R, ...]`.
      outputs: the run's, if residuals are in them; zeros in the padding.
      first_outputs: what belongs into the padding instead, leaves `[tiles, R, ...]`; None without lengths.
    """

    rows: Rows
    starts: State
    steps: list[jax.Array]
    outputs: Outputs
    first_outputs: Outputs

    def padded_outputs(self, chunk: Chunk, steps: Steps) -> Outputs:
        return fill_padding(steps.valid, chunk.read(self.outputs), chunk.tile.of(self.first_outputs))


def run_in_place(
    layout: Layout,
    mode: Mode,
    tuning: Tuning,
    extent: Extent | None,
    cell: FourFunctions,
    params: Params,
    xs: Inputs,
    state: State,
    steps: Steps,
) -> tuple[Outputs, State]:
    """`(outputs, state)` of a cell in four functions over all T steps, `[T, B, ...]` or as the layout has them.

    The padding of `xs` can hold anything, and the outputs have zeros there. `steps` has resets as its `again`, and the mask as
    `valid`.
    """
    first = None
    if extent is not None:
        first = FirstStep(*map(without_gradient, (at_first(xs, extent, layout.axis), steps.first)))
    reads = Reads(params, xs, state, extent, steps.again, steps.valid, steps.start, first)
    facts = StepFacts.of(cell, params, layout.step(xs), state, tuning)
    if not facts.fit:
        return _plain((cell, layout, mode), reads)
    masked = extent is not None or steps.again is not None
    if extent is not None:
        layout = dataclasses.replace(layout, size=facts.tile)
    tuned = facts.rewritten(cell, halves=mode == SAVE and not masked and facts.keeps == "gates")
    rows = lambda leaf: leaf.shape if layout.size is None else (layout.size, *leaf.shape[1:])
    one_tile = lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(rows(leaf), leaf.dtype), tree)
    own_form = lambda params, *trees: (params, *map(tuned.begin, trees))
    shapes = jax.eval_shape(own_form, params, *one_tile((facts.project.shapes, state)))
    return _run(Run(tuned, layout, mode, facts, shapes, masked), reads)


def _plain(static: tuple, reads: Reads, cell_chunk: Callable | None = None, in_chunks: bool = True) -> tuple[Outputs, State]:
    """The run as a scan, which JAX can differentiate in any mode."""
    cell, layout, mode = static
    valid = None if reads.lengths is None else functools.partial(valid_steps, reads.lengths)
    time_major = lambda tree: jax.tree.map(lambda leaf: jnp.moveaxis(leaf, layout.axis, 0), tree)
    xs = jnp.arange(layout.time, dtype=jnp.int32), *map(time_major, (reads.inputs, reads.resets, reads.mask))
    first = reads.first and first_step(reads.first.inputs, reads.first.state, reads.lengths)
    body = chunk_body(cell, reads.params, None, mode, valid, reads.start, first, layout.reverse, cell_chunk)
    if in_chunks:
        state, outputs = scan_chunks(body, reads.state, xs, layout.chunk_size, mode, layout.reverse)
    else:
        state, outputs = body(reads.state, xs)
    back = lambda leaf: jnp.moveaxis(leaf, 0, layout.axis) if leaf.ndim > 1 else leaf
    return jax.tree.map(back, outputs), state


def _step_by_step(run: Run, reads: Reads) -> tuple[Outputs, State]:
    """The run whose derivatives are all those but the gradient."""
    return _plain((run.tuned.cell, run.layout, run.mode), reads, step_by_step, in_chunks=run.mode != SAVE)


def _forward(run: Run, reads: Reads, keeps: bool) -> tuple[tuple[Outputs, State], Tape | None]:
    """Runs, and keeps for the backward pass what it needs."""
    if not keeps and reads.lengths is None and run.facts.in_one_scan:
        return _plain((run.tuned.cell, run.layout, run.mode), reads, plain_chunk, in_chunks=False), None
    run = run if keeps else dataclasses.replace(run, tuned=run.facts.of_values(run.tuned))
    layout, params, saves = run.layout, reads.params, keeps and run.mode == SAVE
    rows, (step, kept, store) = layout.rows(reads.lengths), _step(run, params, saves)
    given, reads = reads, reads.in_tiles(rows)

    def one_tile(tile, chunks, carry):
        outputs, ends, starts, kept = carry

        def one_chunk(chunk, carry):
            outputs, state, starts, kept = carry
            xs, steps = reads.chunk(chunk, differentiated=keeps)
            starts = put(starts, state, chunk.place_of_chunk) if keeps else starts
            z = run.facts.projected(run.tuned, params, xs)
            store_at = lambda kept, more, k: store(kept, more, chunk.place + k)
            ys, state, kept = forward(step, z, state, steps, run.facts.tuning, kept, store_at)
            return chunk.write(outputs, zero_padding(steps.valid, ys)), state, starts, kept

        outputs, state, starts, kept = chunks(one_chunk, (outputs, run.tuned.begin(tile.of(ends)), starts, kept))
        return outputs, tile.put(ends, run.tuned.end(state)), starts, kept

    starts = layout.buffers(run.shapes[2], per_chunk=True) if keeps else None
    carry = layout.zeros(run.facts.combine.shapes[0]), reads.state, starts, kept
    hands_on = bool(kept) and not saves
    outputs, ends, starts, kept = layout.loop(one_tile, carry, rows, stays_loop=hands_on)
    state = rows.put(given.state, ends)
    outputs, kept = lax.optimization_barrier((outputs, kept)) if hands_on else (outputs, kept)
    if not keeps:
        return (outputs, state), None
    if not saves or all(i is None for i in run.residuals.outputs):
        return (outputs, state), Tape(rows, starts, kept, None, None)
    first = rows.with_steps(rows.take(at_first(outputs, reads.extent, layout.axis)), default=1)
    return (outputs, state), Tape(rows, starts, kept, outputs, first)


def _step(run: Run, params: Params, saves: bool) -> tuple[Callable, list, Callable]:
    """`(z, state) -> (output, new_state, what is kept)`, where that is kept, and `(kept, what is kept, place) -> kept`."""
    if saves:
        return functools.partial(run.residuals.step, params), run.layout.buffers(run.residuals.shapes), put
    cell, (_, z, state), tuning = run.tuned, run.shapes, run.facts.tuning
    hands_on = tuning.carries_gates(run.layout.tile, len(jax.tree.leaves(run.facts.state)))

    def step(z, state):
        g = cell.gates(params, z, cell.recur(params, state), state)
        return *finish(cell, params, g, state), jax.tree.leaves(g) if hands_on else []

    last = jax.eval_shape(step, z, state)[2] if hands_on else []
    return step, jax.tree.map(jnp.zeros_like, last), lambda kept, more, place: more


def _backward(run: Run, reads: Reads, tape: Tape, live: Live, cotangents: tuple[Outputs, State]) -> Reads:
    """The cotangents of what the run reads."""
    layout, params, cell = run.layout, reads.params, run.tuned
    live_params, live_inputs = live.part(0), live.part(1)
    recur = recur_tangent(cell, params, run.facts.tuning.transposes_matrices(layout.tile))
    zeros = lambda leaves: [jnp.zeros_like(leaf) for leaf in leaves]
    rows = tape.rows
    given, reads = reads, reads.in_tiles(rows)

    def one_tile(tile, chunks, carry):
        ct_params, ct_inputs, ct_states, ct_starts = carry

        def one_chunk(chunk, carry):
            ct_params, ct_inputs, ct_state, ct_start = carry
            xs, steps = reads.chunk(chunk)
            z, start = run.facts.projected(cell, params, xs), item(tape.starts, chunk.place_of_chunk)
            if run.mode == SAVE:
                kept, place, outputs = tape.steps, chunk.place, tape.padded_outputs(chunk, steps)
            else:
                outputs, _, kept = forward(functools.partial(run.residuals.step, params), z, start, steps, run.facts.tuning)
                place = 0
            states, gates = run.residuals.read(params, z, start, steps, kept, place, outputs)
            derivative = Derivative(cell, params, xs, z, states, gates, steps, recur, run.facts)
            ct_ys = zero_padding(steps.valid, chunk.read(cotangents[0]))
            back = derivative.backward(live_params, live_inputs, ct_ys, ct_state, ct_start)
            ct_state, ct_start, more, ct_xs = back
            ct_inputs = chunk.write(ct_inputs, zero_padding(steps.valid, ct_xs))
            return add_tangents(ct_params, more), ct_inputs, ct_state, ct_start

        carry = ct_params, ct_inputs, cell.begin(tile.of(ct_states)), tile.of(ct_starts)
        ct_params, ct_inputs, ct_state, ct_start = chunks(one_chunk, carry)
        return ct_params, ct_inputs, tile.put(ct_states, cell.end(ct_state)), tile.put(ct_starts, ct_start)

    ct_starts = None if reads.resets is None else jax.tree.map(jnp.zeros_like, reads.state)
    carry = zeros(live_params.leaves(params)), zeros(live_inputs.leaves(reads.inputs)), rows.take(cotangents[1]), ct_starts
    ct_params, ct_inputs, *of_rows = layout.loop(one_tile, carry, rows, backward=True)
    ct_state, ct_start = (None if ct is None else rows.put(given.state, ct) for ct in of_rows)
    return given._replace(
        params=live_params.fill(ct_params), inputs=live_inputs.fill(ct_inputs), state=ct_state, start=ct_start
    )


_run = with_backward(_step_by_step, residuals_are_constant(_step_by_step, _forward), _backward)
