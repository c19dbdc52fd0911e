"""The derivative of K steps of a cell in four functions.

With z the projected inputs, r the recurrent product and s the state that a step starts from, a step is

    g = gates(z, r(s), s)        output, s' = combine(g, s)

and its tangent (a dot before a name) is

    .g = gates'(.z, .r + r(.s), .s)        .output, .s' = combine'(.g, .s)

where .z and .r are all that comes from the inputs and from the weights. They do not depend on .s, so they are computed for
all K steps at once, in front of the loop. Transposed, the loop gives every step's cotangent of z and r, and behind it each
weight's gradient is one matrix product over all the steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxrnn.kept import Gates
from jaxrnn.lengths import Steps, enter, leave
from jaxrnn.step import finish
from jaxrnn.tangents import Live, add_tangents, over_time, several_devices, step_shapes, tangent_of
from jaxrnn.traced import read_leaves, sums

_WIDE = 200  # rows that are worth turning


@dataclasses.dataclass(frozen=True)
class Derivative:
    """The derivative at the states and gates that K steps went through.

    Attributes:
      cell, params: the cell.
      xs, z: its inputs and what `project` makes of them, leaves `[K, B, ...]`.
      states: the state that each step starts from, leaves `[K, B, ...]`.
      gates: the gates at each step.
      steps: the steps.
      recur: `(state, .state) -> r(.state)` at one step; see `recur_tangent`.
      has_rows: what `all_have_rows` says.
    """

    cell: Any
    params: Any
    xs: Any
    z: Any
    states: Any
    gates: Gates
    steps: Steps
    recur: Callable
    has_rows: bool

    @property
    def items(self) -> tuple[Steps, Any, Any]:
        """What a loop over the steps slices, leaves `[K, ...]`."""
        return self.steps.varying, self.states, self.gates.items

    def front(self, dparams: Any, dxs: Any) -> tuple[Any, dict[str, Any]]:
        """What the loop adds at every step, leaves `[K, ...]`: the tangent of z, and those that come from weights."""
        dz = tangent_of(self._over_time(self.cell.project), (self.params, self.xs), (dparams, dxs))
        taps = self._weight_tangents(dparams)
        dz, taps["recur"] = self._summed_up(dz, taps["recur"])
        return dz, taps

    def step(self, dstate: Any, dstart: Any, item: tuple, dz: Any, taps: dict[str, Any]) -> tuple[Any, Any]:
        """`(.new_state, .output)` of one step."""
        step, state, kept = item
        step = dataclasses.replace(self.steps, start=dstart).at(step)
        dold, dstate = dstate, enter(step, dstate)
        g, gates_tangent = self.gates.at(self.params, state, kept)
        dr = self.recur(state, dstate)
        dg = add_tangents(gates_tangent(dz, add_tangents(dr, taps["recur"]), dstate), taps["gates"])
        doutput, dnew = tangent_of(functools.partial(finish, self.cell, self.params), (g, state), (dg, dstate))
        doutput, dnew = add_tangents((doutput, dnew), taps["combine"])
        return leave(step, dold, dnew), doutput

    def backward(self, params: Live, xs: Live) -> tuple[Callable, Callable]:
        """The transpose of `step` at every step, the last one first, and that of `front`.

        Args:
          params, xs: which of their leaves have a cotangent.

        Returns:
          `(one_step, weights_and_inputs)`: the body of a reverse scan over `(items, outputs')`, which carries
          `(state', start')` (the latter None without resets), and what makes `(params', xs')`, lists of the live leaves, of
          what the scan stacks.
        """
        turned = dataclasses.replace(self, xs=_turned(self.xs), states=_turned(self.states))
        front = lambda dparams, dxs: turned.front(params.fill(dparams), xs.fill(dxs))
        live = params.leaves(self.params), xs.leaves(self.xs)
        added = step_shapes(jax.eval_shape(front, *live))
        one_step = lambda carry, item: self.step_back(added, carry, item)
        return one_step, lambda ct_added: jax.linear_transpose(front, *live)(tuple(ct_added))

    def step_back(self, added: tuple, carry: tuple, item: tuple) -> tuple[tuple, list]:
        """The transpose of `step`: `((state', start'), (item, output'))` to `((state', start'), added')`.

        `added` has the shapes of what `front` gives to a step.
        """
        (ct_state, ct_start), (item, ct_output) = carry, item
        step = lambda dstate, dstart, dz, taps: self.step(dstate, dstart, item, dz, taps)
        transposed = jax.linear_transpose(step, ct_state, ct_start, *added)
        ct_state, more, *ct_added = transposed((ct_state, ct_output))
        return (ct_state, add_tangents(ct_start, more)), ct_added

    def _over_time(self, f):
        return over_time(f, self.has_rows)

    def _weight_tangents(self, dparams):
        """What the weights' own tangents add at every step of the loop, from one product each over all of them."""
        r = self._over_time(self.cell.recur)(self.params, self.states)
        g = jax.vmap(lambda state, kept: self.gates.rebuild(self.params, state, kept)[0])(self.states, self.gates.kept)
        uses = {
            "recur": lambda p: self._over_time(self.cell.recur)(p, self.states),
            "gates": lambda p: self._over_time(self.cell.gates)(p, self.z, r, self.states),
            "combine": lambda p: self._over_time(functools.partial(finish, self.cell))(p, g, self.states),
        }
        tangent = lambda use: tangent_of(use, (self.params,), (dparams,)) if read_leaves(use, self.params) else None
        return {name: tangent(use) for name, use in uses.items()}

    def _summed_up(self, dz, dr):
        """Moves into dz what the weights add to r, where the gates know z and r only as their sum.

        The two have one cotangent then, which is stored once, for the input weights and the recurrent ones.
        """
        if dr is None:
            return dz, dr
        state = step_shapes(self.states)
        r = jax.eval_shape(self.cell.recur, self.params, state)
        pairs = sums(lambda z, r, state: self.cell.gates(self.params, z, r, state), step_shapes(self.z), r, state)
        z_tree, r_tree = jax.tree.structure(self.z), jax.tree.structure(r)
        dz, dr = z_tree.flatten_up_to(dz), r_tree.flatten_up_to(dr)  # integers have None
        for i, j in pairs:
            if dz[i] is not None:
                dz[i], dr[j] = dz[i] + dr[j], None
        return z_tree.unflatten(dz), r_tree.unflatten(dr)


def _turned(tree: Any) -> Any:
    """`[K, B, F]` arrays whose transpose lies in memory as such, and is read as it lies.

    A weight's gradient is a product with the transpose. On a CPU XLA hands one that has to be turned to a slower library: up to
    9 % of a training step.
    """
    if jax.default_backend() != "cpu" or several_devices():
        return tree
    wide = lambda leaf: leaf.ndim == 3 and leaf.shape[-1] >= _WIDE
    rows = lambda leaf: leaf.reshape(-1, leaf.shape[-1])
    return jax.tree.map(lambda leaf: lax.optimization_barrier(rows(leaf).T).T.reshape(leaf.shape) if wide(leaf) else leaf, tree)
