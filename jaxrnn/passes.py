"""The forward and the backward pass of a whole run over one chunk, for all of its rows or for half of them.

Each has a scan over the chunk's steps, between what is done for all of these at once. `begin` does what comes before it and
returns `(loop, end)`: the scan as `(one_step, carry, items)`, and what takes its result and does the rest. Between the two the
caller runs the scan, alone or together with the other half's (`jaxrnn.halves`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.derivative import Derivative
from jaxrnn.inplace import Chunk, put, zeros_of
from jaxrnn.lengths import enter, leave, zero_padding
from jaxrnn.tangents import Live, add_tangents, over_time
from jaxrnn.tape import Reads, Run, Tape, reader, step_that_keeps


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass.

    Attributes:
      run, reads: what is run.
      keeps: whether there is a tape.
      what: is taken out of each step: what the tape keeps of it, or, where nothing is kept, "values" if each step is to
        hand its gates to the next one.
    """

    run: Run
    reads: Reads
    keeps: bool
    what: str

    @functools.cached_property
    def _step(self) -> tuple[Callable, bool]:
        return step_that_keeps(self.what, self.run, self.reads)

    @property
    def _kept_over_time(self) -> bool:
        return self.what in ("gates", "states")

    def first_carry(self) -> tuple[Any, Any, list]:
        """The state, the state that each chunk starts from, and what is kept of each step."""
        run, reads = self.run, self.reads
        step = lambda x, state: self._step[0](run.cell.project(reads.params, x), state)
        kept = jax.eval_shape(step, run.sequence.step(reads.inputs), reads.state)[2]
        starts = jax.tree.map(lambda leaf: zeros_of(leaf, run.sequence.chunks), reads.state if self.keeps else ())
        kept = [zeros_of(leaf, run.sequence.time) if self._kept_over_time else jnp.zeros_like(leaf) for leaf in kept]
        return reads.state, starts, kept

    def begin(self, chunk: Chunk, carry: tuple) -> tuple[tuple, Callable]:
        """The scan, and `end(outputs, its carry, its outputs)`, which gives `(outputs, carry)`."""
        (start, starts, kept), chunk = carry, chunk.of(self.run.sequence)
        xs, steps = self.reads.chunk(chunk, differentiated=self.keeps)
        first, whole = chunk.first_rows(start), self._kept_over_time

        def one_step(carry, item):
            (state, kept), (t, z, now) = carry, item
            now = steps.at(now)
            output, new, more = self._step[0](z, enter(now, state))
            return (leave(now, state, new), put(kept, more, t) if whole else more), output

        def end(outputs, carry, ys):
            state, ended = carry
            ended = ended if whole else chunk.put_rows(kept, ended)
            state, more = chunk.put_rows(start, state), put(starts, first, chunk.number) if self.keeps else starts
            return chunk.write(outputs, zero_padding(steps.valid, ys)), (state, more, ended)

        z = over_time(self.run.cell.project, self.run.has_rows)(self.reads.params, xs)
        items = chunk.times, z, steps.varying
        return (one_step, (first, kept if whole else chunk.first_rows(kept)), items), end

    def tape(self, carry: tuple, outputs: Any, first_outputs: Callable) -> Tape:
        """What is kept, of the last carry and the run's outputs; `first_outputs()` has each row's first ones, as they lie."""
        _, starts, kept = carry
        kept, sequence = kept if self._kept_over_time else [], self.run.sequence
        if not self._step[1]:
            return Tape(starts, kept, None, None)
        return Tape(starts, kept, outputs, sequence.in_order(sequence.cut_rows(first_outputs())))


@dataclasses.dataclass(frozen=True)
class Backward:
    """The backward pass.

    Attributes:
      run, reads, tape: what was run, and what was kept of it.
      recur: `(state, .state) -> r(.state)`.
      params, inputs: which of their leaves have a cotangent.
      ct_outputs: the cotangents of the outputs, of all rows.
    """

    run: Run
    reads: Reads
    tape: Tape
    recur: Callable
    params: Live
    inputs: Live
    ct_outputs: Any

    def first_carry(self, ct_state: Any) -> tuple[Any, Any]:
        """The cotangents of the state, and of the one that resets go back to; None without these."""
        ct_start = None if self.reads.resets is None else jax.tree.map(jnp.zeros_like, self.reads.state)
        return self.run.sequence.in_order(self.run.sequence.cut_rows(ct_state)), ct_start

    def begin(self, chunk: Chunk, carry: tuple) -> tuple[tuple, Callable]:
        """The scan, and `end((params', inputs'), its carry, what it stacked)`, which gives `((params', inputs'), carry)`."""
        cell, params, chunk = self.run.cell, self.reads.params, chunk.of(self.run.sequence)
        xs, steps = self.reads.chunk(chunk)
        z = over_time(cell.project, self.run.has_rows)(params, xs)
        states, gates = reader(self.run, self.reads, self.tape)(chunk, steps, z)
        derivative = Derivative(cell, params, xs, z, states, gates, steps, self.recur, self.run.has_rows)
        one_step, weights_and_inputs = derivative.backward(self.params, self.inputs)

        def end(cotangents, ended, ct_added):
            (ct_params, ct_inputs), (more, ct_xs) = cotangents, weights_and_inputs(ct_added)
            ct_inputs = chunk.write(ct_inputs, zero_padding(steps.valid, ct_xs))
            return (add_tangents(ct_params, more), ct_inputs), chunk.put_rows(carry, ended)

        ct_ys = zero_padding(steps.valid, chunk.read(self.ct_outputs))
        return (one_step, chunk.first_rows(carry), (derivative.items, ct_ys)), end
