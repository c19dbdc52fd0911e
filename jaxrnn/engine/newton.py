"""K steps solved at once: Newton's method over time, for cells whose state is no linear function of the one before.

The states s_1 .. s_K are the solution of s_t = f_t(s_{t-1}), where f_t is a step with its reset and its padding. One iteration,
from a guess of all of them, is

    r_t = f_t(s_{t-1}) - s_t                    the residuals, K steps at once
    d_t = A_t d_{t-1} + r_t                     a linear recurrence, which a scan solves in parallel
    s_t <- s_t + d_t

With A_t the derivative J_t of f_t this is Newton's method (DEER; Lim et al., 2024, arXiv:2309.12252). Here A_t is that
derivative unit by unit (quasi-DEER; Gonzalez et al., 2024, arXiv:2407.19115). Every A_t has the same solution, and k iterations
make the first k states right. The adjoint is a linear problem of the same form, backward in time:

    u_t = J_{t+1}' u_{t+1} + o_t                o_t is what the outputs' cotangents give
    d_t = A_{t+1}' d_{t+1} + r_t                the correction, with r_t the residual with the whole J

and the gradients of weights and inputs are the transpose of all K steps at the u_t.

Where the iterations do not get there, the K steps are run one by one, from the first: in a chaotic cell the error of a state
that is right to a tolerance grows with each step.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.autodiff import Live, with_backward, with_float0
from jaxrnn.engine.chunk import fused_chunk, step_by_step
from jaxrnn.engine.fixed_point import Iterations, Newton, iterate, recurrence
from jaxrnn.engine.jaxpr_queries import unit_by_unit
from jaxrnn.engine.masking import Steps, enter, leave, restart
from jaxrnn.engine.step import update
from jaxrnn.memory.modes import STATES, named
from jaxrnn.typing import FourFunctions, Inputs, Outputs, Params, State, Tree

WINDOW = 1024  # steps of a chunk, where the caller names none


@dataclasses.dataclass(frozen=True)
class NewtonChunk:
    """What runs a chunk of a cell in four functions, as `jaxrnn.engine.chunk.fused_chunk` takes and gives it."""

    options: Newton

    def __call__(self, cell: FourFunctions, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
        count, batch = jax.tree.leaves(xs)[0].shape[:2]
        check.solvable(cell, state, batch)
        if 0 in (count, batch):
            return fused_chunk(cell, params, xs, state, steps)
        solver, args = _Solver(cell, self.options), (params, xs, state, dataclasses.replace(steps, count=count))
        seen = _seen.get()
        return _run(solver, args) if seen is None else _watched(solver, args, seen)


@dataclasses.dataclass(frozen=True, eq=False)
class _Solver:
    """K steps of a cell. `before` and `after` are the states before and after each of them, leaves `[K, B, ...]`."""

    cell: FourFunctions
    options: Newton

    def all_steps(self, params: Params, xs: Inputs, before: State, steps: Steps) -> tuple[State, Outputs]:
        """`(after, outputs)`, from known states."""
        step, items = self._steps(params, xs, steps)
        return jax.vmap(step)(items, before)

    def states(self, params: Params, xs: Inputs, start: State, steps: Steps) -> tuple[State, Iterations]:
        """The solution `before`."""
        step, items = self._steps(params, xs, steps)

        def correct(after):
            new, a = jax.vmap(functools.partial(_linearized, step))(items, _later(after, start))
            residual = jax.tree.map(jnp.subtract, new, after)
            return residual, recurrence(a, residual)

        def one_by_one():
            return lax.scan(lambda state, item: (step(item, state)[0],) * 2, start, items)[1]

        guess = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps.count, *leaf.shape)), start)
        after, how = iterate(correct, guess, one_by_one, self.options)
        return _later(after, start), how

    def adjoint(
        self, params: Params, xs: Inputs, before: State, steps: Steps, ct_state: State, ct_outputs: Outputs
    ) -> tuple[State, Iterations]:
        """The cotangents u of `after`, from those of the last state and of the outputs."""
        step, items = self._steps(params, xs, steps)
        _, a = jax.vmap(functools.partial(_linearized, step))(items, before)
        _, pull = jax.vjp(lambda before: jax.vmap(step)(items, before), before)

        def correct(cts):
            new = _earlier(pull((cts, ct_outputs))[0], ct_state)
            residual = jax.tree.map(jnp.subtract, new, cts)
            return residual, recurrence(a, residual, transposed=True)

        def step_back(ct_state, item):
            item, before, ct_output = item
            _, pull = jax.vjp(functools.partial(step, item), before)
            return pull((ct_state, ct_output))[0], ct_state

        one_by_one = lambda: lax.scan(step_back, ct_state, (items, before, ct_outputs), reverse=True)[1]
        return iterate(correct, jax.tree.map(jnp.zeros_like, before), one_by_one, self.options)

    def _steps(self, params, xs, steps):
        """A step, `(item, state) -> (new_state, output)`, and the items, which are what differs from step to step."""

        def step(item, state):
            z, now = item[0], steps.at(item[1])
            old = restart(now, state)
            called = enter(now, old)
            output, new = update(self.cell, params, z, self.cell.recur(params, called), called)
            return leave(now, old, new), output

        return step, (jax.vmap(functools.partial(self.cell.project, params))(xs), steps.varying)


def _forward(solver: _Solver, args: tuple, keeps: bool) -> tuple[tuple[Outputs, State], State]:
    params, xs, _, steps = args
    with _full_precision():
        before, _ = solver.states(*args)
    after, outputs = solver.all_steps(params, xs, before, steps)
    return (outputs, jax.tree.map(lambda leaf: leaf[-1], after)), named(before, STATES)


def _backward(solver: _Solver, args: tuple, before: State, live: Live, cotangents: tuple) -> tuple:
    (params, xs, _, steps), (ct_outputs, ct_state) = args, cotangents
    live_params, live_xs = live.part(0), live.part(1)
    start = steps.start if any(live.part(3).mask) else None

    def all_steps(before, some_params, some_xs, start):
        now = steps if start is None else dataclasses.replace(steps, start=start)
        return solver.all_steps(live_params.replace(params, some_params), live_xs.replace(xs, some_xs), before, now)

    some = live_params.leaves(params), live_xs.leaves(xs), start
    (_, outputs), pull = jax.vjp(all_steps, before, *some)
    ct_outputs = with_float0(ct_outputs, outputs)
    with _full_precision():
        cts, _ = solver.adjoint(params, xs, before, steps, ct_state, ct_outputs)
    ct_before, ct_params, ct_xs, ct_start = pull((cts, ct_outputs))
    ct_state = jax.tree.map(lambda leaf: leaf[0], ct_before)
    steps = steps if start is None else dataclasses.replace(steps, start=ct_start)
    return live_params.fill(ct_params), live_xs.fill(ct_xs), ct_state, steps


_run = with_backward(lambda solver, args: step_by_step(solver.cell, *args), _forward, _backward)


def _linearized(step: Callable, item: Tree, state: State) -> tuple[State, dict]:
    """The new state, and A."""
    new, tangent = jax.linearize(lambda state: step(item, state)[0], state)
    return new, unit_by_unit(tangent, state)


def _later(states: State, first: State) -> State:
    """`states` one step later, with `first` at the first step."""
    return jax.tree.map(lambda leaf, one: jnp.concatenate([one[None], leaf[:-1]]), states, first)


def _earlier(states: State, last: State) -> State:
    return jax.tree.map(lambda leaf, one: jnp.concatenate([leaf[1:], one[None]]), states, last)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Products of TF32 or bfloat16 would leave residuals that do not vanish."""
    with jax.default_matmul_precision("highest"):
        yield


# ---- what happened

_seen: contextvars.ContextVar[list | None] = contextvars.ContextVar("jaxrnn_newton_seen", default=None)


@contextlib.contextmanager
def watching() -> Iterator[list[tuple[Iterations, Iterations]]]:
    """A list, to which each chunk that is traced inside adds how it was solved, and its adjoint with cotangents of one."""
    token = _seen.set(seen := [])
    try:
        yield seen
    finally:
        _seen.reset(token)


def _watched(solver: _Solver, args: tuple, seen: list) -> tuple[Outputs, State]:
    params, xs, state, steps = args
    with _full_precision():
        before, forward = solver.states(*args)
        after, outputs = solver.all_steps(params, xs, before, steps)
        ones = lambda tree: jax.tree.map(lambda a: jnp.ones_like(a) if jnp.issubdtype(a.dtype, jnp.inexact) else None, tree)
        _, backward = solver.adjoint(params, xs, before, steps, ones(state), with_float0(ones(outputs), outputs))
    seen.append((forward, backward))
    return outputs, jax.tree.map(lambda leaf: leaf[-1], after)
