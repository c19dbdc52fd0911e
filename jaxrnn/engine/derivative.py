"""The derivative of K steps of a cell in four functions.

With z the projected inputs, r the recurrent product and s the state that a step starts from, a step is

    g = gates(z, r(s), s)        output, s' = combine(g, s)

and its tangent (a dot before a name) is

    .g = gates'(.z, .r + r(.s), .s)        .output, .s' = combine'(.g, .s)

where .z and .r are all that comes from the inputs and from the weights. They do not wait for .s. The backward pass is the
transpose of this: a loop over the steps gives the cotangents of z and r, and behind the loop each weight's gradient is one
matrix product over all K steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import Live, add_tangents, tangent_of
from jaxrnn.engine.facts import StepFacts
from jaxrnn.engine.jaxpr_queries import scan
from jaxrnn.engine.masking import Steps, enter, leave, restart
from jaxrnn.engine.residuals import Gates
from jaxrnn.engine.rewrites import Rewritten
from jaxrnn.engine.step import finish
from jaxrnn.engine.tuning import Tuning
from jaxrnn.typing import Dim, Inputs, Outputs, Params, Shapes, State, Tree


def forward(
    step: Callable, z: Tree, state: State, steps: Steps, tuning: Tuning, kept: Tree = None, store: Callable | None = None
) -> tuple[Outputs, State, Tree]:
    """Runs K steps from their projected inputs `z`, leaves `[K, B, ...]`.

    Args:
      step: `(z, state) -> (output, new_state, what is kept)`.
      tuning: where the loop runs.
      kept, store: where to keep it, and `(kept, what is kept, k) -> kept`; None stacks it, `[K, B, ...]`.

    Returns:
      `(outputs, state, kept)`.
    """

    def one_step(carry, item):
        (state, kept), (k, z, now) = carry, item
        now = steps.at(now)
        old = restart(now, state)
        output, new, more = step(z, enter(now, old))
        if store:
            kept, more = store(kept, more, k), None
        return (leave(now, old, new), kept), (output, more)

    items = jnp.arange(steps.count, dtype=jnp.int32) if store else None, z, steps.varying
    (state, kept), (outputs, more) = lax.scan(one_step, (state, kept), items, **_loop(steps, tuning))
    return outputs, state, kept if store else more


@dataclasses.dataclass(frozen=True)
class Derivative:
    """The derivative at the states and gates that K steps went through.

    Attributes:
      cell, params: the cell, as it is run.
      xs, z: its inputs and what `project` makes of them, leaves `[K, B, ...]`.
      states: the state that each step starts from, leaves `[K, B, ...]`.
      gates: the gates at each step.
      steps: the steps.
      recur: `(state, .state) -> r(.state)` at one step.
      facts: what tracing a step shows.
    """

    cell: Rewritten
    params: Params
    xs: Inputs
    z: Tree
    states: State
    gates: Gates
    steps: Steps
    recur: Callable
    facts: StepFacts

    def backward(
        self, params: Live, xs: Live, ct_outputs: Outputs, ct_state: State, ct_start: State
    ) -> tuple[State, State, list, list]:
        """The transpose of the K steps' tangent.

        Args:
          params, xs: which of their leaves have a cotangent.
          ct_outputs, ct_state: the cotangents of the results.
          ct_start: that of the state that resets go back to, so far; None without these.

        Returns:
          The cotangents of the first state, of `start`, and of the live leaves of params and xs.
        """
        from_outside = lambda dparams, dxs: self.from_outside(params.fill(dparams), xs.fill(dxs))
        live = params.leaves(self.params), xs.leaves(self.xs)
        # A sum over the steps has the type of one step, on whatever devices, and however many steps there are.
        of_one_step = lambda *live: jax.tree.map(lambda leaf: jnp.sum(leaf, 0), from_outside(*live))
        step_back = functools.partial(self.step_back, jax.eval_shape(of_one_step, *live))
        items = (self.items, ct_outputs)
        carry, ct_added = scan(step_back, (ct_state, ct_start), items, reverse=True, **_loop(self.steps, self.facts.tuning))
        return *carry, *jax.linear_transpose(from_outside, *live)(ct_added)

    @property
    def items(self) -> tuple[Steps, State, list]:
        """What a loop over the steps slices, leaves `[K, ...]`."""
        return self.steps.varying, self.states, self.gates.items

    def step_back(self, outside: Shapes, carry: tuple, item: tuple) -> tuple[tuple, Tree]:
        """The transpose of a step's tangent: `((state', start'), (item, output'))` to `((state', start'), outside')`.

        `outside` has the shapes of what `from_outside` gives to a step.
        """
        (ct_state, ct_start), (item, ct_output) = carry, item
        tangent = lambda dstate, dstart, outside: self._step(item, dstate, dstart, *outside)
        transposed = jax.linear_transpose(tangent, ct_state, ct_start, outside)
        ct_state, more, ct_outside = transposed((ct_state, ct_output))
        return (ct_state, add_tangents(ct_start, more)), ct_outside

    def _step(self, item, dstate, dstart, dz, dweights):
        """`(.new_state, .output)` of one step."""
        now, state, gates = item
        now = dataclasses.replace(self.steps, start=dstart, first=None).at(now)
        dold = restart(now, dstate)
        dstate = enter(now, dold)
        g, gates_tangent = self.gates.at_step(self.params, state, gates)
        dr = self.recur(state, dstate)
        dg = add_tangents(gates_tangent(dz, add_tangents(dr, dweights["recur"]), dstate), dweights["gates"])
        doutput, dnew = tangent_of(functools.partial(finish, self.cell, self.params), (g, state), (dg, dstate))
        doutput, dnew = add_tangents((doutput, dnew), dweights["combine"])
        return leave(now, dold, dnew), doutput

    def from_outside(self, dparams, dxs):
        """What comes from the inputs and the weights at every step: .z, and what each other function's own weights add."""
        cell, states, facts, over_time = self.cell, self.states, self.facts, self.facts.over_time
        dz = tangent_of(functools.partial(facts.projected, cell), (self.params, self.xs), (dparams, dxs))
        recur = lambda p: over_time(cell.recur)(p, states)
        gates = lambda p: over_time(cell.gates)(p, self.z, recur(self.params), states)
        combine = lambda p: over_time(functools.partial(finish, cell))(p, self.gates.over_time(self.params, states), states)
        uses = {"recur": (facts.recur, recur), "gates": (facts.gates, gates), "combine": (facts.combine, combine)}
        tangent = lambda trace, use: tangent_of(use, (self.params,), (dparams,)) if any(trace.reads_fixed) else None
        return dz, {name: tangent(*use) for name, use in uses.items()}


def _loop(steps: Steps, tuning: Tuning) -> dict[str, Any]:
    """What a `lax.scan` over the steps is told: how many there are, and how many of them its body has."""
    return {"length": steps.length, "unroll": 1 if steps.length is None else tuning.unroll}


def put(tree: Tree, values: Tree, i: Dim) -> Tree:
    """Arrays `[N, ...]` with `values` as item `i`."""
    return jax.tree.map(
        lambda leaf, value: lax.dynamic_update_index_in_dim(leaf, value, i, 0, allow_negative_indices=False), tree, values
    )
