"""What tracing a step of a cell in four functions shows: whether it can be run apart, and how it is run fastest."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.engine.jaxpr_queries import Trace
from jaxrnn.engine.rewrites import Halves, Rewritten, RowByRow
from jaxrnn.engine.step import finish
from jaxrnn.engine.tuning import Tuning
from jaxrnn.typing import Dim, FourFunctions, Inputs, Params, Shapes, State, Tree


@dataclasses.dataclass(frozen=True, eq=False)
class StepFacts:
    """Facts about a step.

    Attributes:
      fit: whether the four functions can be run apart: there are inputs and a state, all that is carried has rows and a
        derivative, and nothing is read but the arguments. Else each step is run as a whole.
      tuning: what is fastest where it runs.
      have_rows: whether every leaf that a step makes has the batch's rows as its first axis.
      rows: B.
      state: the state, as shapes.
      project, recur, gates, combine: the traces of the four functions.
    """

    fit: bool
    tuning: Tuning
    have_rows: bool = False
    rows: Dim = None
    state: State = None
    project: Any = None
    recur: Any = None
    gates: Tree = None
    combine: Any = None

    @staticmethod
    def of(cell: FourFunctions, params: Params, x: Inputs, state: State, tuning: Tuning) -> StepFacts:
        """Traces a step with inputs `x` and a state, leaves `[B, ...]`, arrays or shapes."""
        carried = jax.tree.leaves(state)
        if not carried or not jax.tree.leaves(x) or not all(map(_is_float, carried)):
            return StepFacts(False, tuning)
        state = jax.eval_shape(lambda: state)
        project, recur = Trace.of(cell.project, params, x), Trace.of(cell.recur, params, state)
        gates = Trace.of(cell.gates, params, project.shapes, recur.shapes, state)
        combine = Trace.of(functools.partial(finish, cell), params, gates.shapes, state)
        traces, rows = (project, recur, gates, combine), jax.tree.leaves(x)[0].shape[:1]
        carries = all(leaf.shape[:1] == rows != () and _is_float(leaf) for leaf in combine.closed.out_avals)
        fit = carries and not any(trace.closes_over_tracers for trace in traces)
        # A leaf that depends on no input and no state, a weight or a constant, may only look as if it had rows.
        made = [leaf for trace in traces for leaf in trace.closed.out_avals]
        alike = {leaf.shape[:1] for leaf in (*made, *jax.tree.leaves((x, state)))} == {rows}
        have_rows = alike and rows != () and all(all(trace.varies) for trace in traces)
        return StepFacts(fit, tuning, have_rows, (*rows, None)[0], state, *traces)

    def over_time(self, f: Callable) -> Callable:
        """`f(params, ...)` for all K steps at once, as for a batch of K B rows where that is possible and faster."""

        def run(params, *args):
            if not self.have_rows or not self.tuning.merges_rows:
                return jax.vmap(functools.partial(f, params))(*args)
            steps_and_rows = jax.tree.leaves(args)[0].shape[:2]
            rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), args)
            return jax.tree.map(lambda leaf: leaf.reshape(*steps_and_rows, *leaf.shape[1:]), f(params, *rows))

        return run

    def projected(self, cell: Rewritten, params: Params, xs: Inputs) -> Tree:
        """z of all K steps, from their inputs."""
        return self.over_time(cell.project)(params, cell.begin(xs, axis=1))

    def rewritten(self, cell: FourFunctions, halves: bool = False) -> Rewritten:
        """The cell in the form that is fastest, which may be `Halves` if they are allowed."""
        if self.recur.exchanges or self.gates.exchanges or self.combine.exchanges:  # once a step, and not once a part of it
            return Rewritten(cell)
        if self.have_rows and self.tuning.row_by_row(self.rows, self._weights):
            return RowByRow(cell, self.rows)
        elements = lambda leaves: sum(math.prod(leaf.shape) for leaf in leaves)
        sizes = elements(self.recur.closed.out_avals), elements(jax.tree.leaves(self.state)), self._weights
        runs_apart = halves and self.have_rows and not any(self.gates.reads_fixed + self.combine.reads_fixed)
        return Halves(cell, self.rows) if runs_apart and self.tuning.halves(self.rows, *sizes) else Rewritten(cell)

    def of_values(self, rewritten: Rewritten) -> Rewritten:
        """That form for a run that is not differentiated."""
        by_rows = isinstance(rewritten, RowByRow) and not self.tuning.row_by_row(self.rows, self._weights, differentiated=False)
        return Rewritten(rewritten.cell) if by_rows else rewritten

    @property
    def keeps(self) -> str:
        """What a chunk keeps for its backward pass if the mode does not say it.

        Without a recurrent product the gates follow from the states by elementwise work over all steps at once. A minGRU that
        keeps its states alone takes 0.9 to 1.0 of a training step's time on a CPU, and a quarter of its memory. Where devices
        wait for each other in `combine`, making states of gates would have them wait in every step once more.
        """
        states = not jax.tree.leaves(self.recur.shapes) or self.combine.exchanges
        return "states" if states else self.tuning.keeps

    @property
    def in_one_scan(self) -> bool:
        """Whether a run that is not differentiated is best one scan of whole steps."""
        return self.tuning.in_one_scan(self.rows, self._weights)

    @property
    def tile(self) -> int | None:
        """R, where rows end at different steps; None is B."""
        return self.tuning.tile(self.rows, self._weights) if self.have_rows else None

    @property
    def _weights(self):
        """How many weights the recurrent product reads."""
        leaves = [v.aval for v in self.recur.arguments]
        return sum(math.prod(leaf.shape) for leaf, read in zip(leaves, self.recur.reads_fixed, strict=False) if read)


def step_shapes(tree: Tree) -> Shapes:
    """One step of K, as shapes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
