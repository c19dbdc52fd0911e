"""Lyapunov exponents: how fast states that are close to each other part."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.autodiff import Live, tangent_of
from jaxrnn.keys import call_cell
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.runners.problem import problem_of
from jaxrnn.runners.start import Struct, first_state, key_struct, state_at_resets
from jaxrnn.typing import Cell, Inputs, Params, State


def lyapunov(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    discard: int = 0,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
    direction_key: jax.Array | None = None,
) -> jax.Array:
    """The largest Lyapunov exponent of a cell on data: how fast two states that are close to each other part.

        v_0 random, |v_0| = 1
        w_t = J_t v_{t-1}        v_t = w_t / |w_t|        J_t is the derivative of step t, of its state by the one before
        exponent = mean of log |w_t| over the steps

    Below zero the cell forgets its state, by a factor of e in -1/exponent steps; its gradients vanish as fast, and
    `dynamic_rnn(..., parallel="newton")` takes few iterations. Above zero it is chaotic: small errors and gradients grow.

    Args:
      cell, params, inputs: as for `dynamic_rnn`, inputs `[B, T, ...]`; the cell may be any function.
      discard: how many steps, behind the beginning and behind each reset, are left out of the mean. There the direction v still
        turns to the one that grows most.
      sequence_length, mask: steps that are left out do not count.
      resets: there a new direction begins, and the step counts as any other.
      initial_state, dtype, time_major, reset_state, key: as for `dynamic_rnn`.
      direction_key: a PRNG key, of which v_0 is drawn; None is `jax.random.key(0)`.

    Returns:
      `[B]`, in nats a step: NaN in rows without a step that counts, minus infinity where the state is forgotten at once.

    Raises:
      TypeError, ValueError: as `dynamic_rnn`, and if discard is no int of 0 or more.

    Example: weights of four times the size make a GRU chaotic.

      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(16)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> larger = {**params, "recurrent_kernel": 4 * params["recurrent_kernel"]}
      >>> inputs = jax.random.normal(jax.random.key(1), (2, 300, 3))
      >>> (jaxrnn.analysis.lyapunov(cell, params, inputs) < 0).tolist()
      [True, True]
      >>> (jaxrnn.analysis.lyapunov(cell, larger, inputs) > 0).tolist()
      [True, True]
    """
    discard = check.steps_discarded(discard)
    given: dict[str, Any] = {
        "sequence_length": sequence_length,
        "resets": resets,
        "mask": mask,
        "key": key,
        "time_major": time_major,
    }
    states: dict[str, Any] = {"initial_state": initial_state, "reset_state": reset_state}
    problem = problem_of("lyapunov", cell, params, inputs, dtype=dtype, **given, **states)
    start = _with_tangent(problem, first_state(*_first(problem)), direction_key)
    if resets is not None:
        again = state_at_resets(cell, start[0], problem.reset_state, problem.time_and_batch[1])
        given["reset_state"] = (again, *start[1:])
    step = functools.partial(_step, cell, discard)
    growth, _ = dynamic_rnn(step, params, inputs, initial_state=start, **given)
    total, count = (jnp.sum(leaf, 0 if problem.time_major else 1) for leaf in growth)
    return total / count


def _step(cell: Cell, discard: int, params: Params, inputs: Inputs, state: tuple, key: Any = None) -> tuple:
    """A step of the state, of a tangent of it, and of the tangent's age; the output is its growth, and whether that counts."""
    state, tangent, age = state
    new_state = lambda state: call_cell(cell, params, inputs, state, key)[1]
    floats = Live.floats(state)
    grown = floats.leaves(tangent_of(new_state, (state,), (floats.fill(tangent),)))
    size = _norm(grown)
    zero = size == 0  # any direction will do, for the exponent is minus infinity from here on
    unit = [w / _rows(jnp.where(zero, 1, size), w) for w in grown]
    tangent = [jnp.where(_rows(zero, v), v, w) for v, w in zip(tangent, unit, strict=True)]
    counts = age >= discard
    growth = jnp.where(counts, jnp.log(size), 0), counts.astype(size.dtype)
    return growth, (new_state(state), tangent, age + 1)


def _with_tangent(problem, state, key):
    """The state, a random tangent of length 1 in each row, and zeros `[B]`."""
    key = jax.random.key(0) if key is None else key
    check.prng_key(key)
    leaves = Live.floats(state).leaves(state)
    tangent = [jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)]
    size = _norm(tangent)
    return state, [leaf / _rows(size, leaf) for leaf in tangent], jnp.zeros(problem.time_and_batch[1], jnp.int32)


def _norm(leaves: list) -> jax.Array:
    """`[B]`, over all other axes of all leaves."""
    return jnp.sqrt(sum(jnp.sum(leaf * leaf, range(1, leaf.ndim)) for leaf in leaves))


def _rows(size: jax.Array, leaf: jax.Array) -> jax.Array:
    """`[B]` with the rank of a leaf."""
    return size.reshape(-1, *(1,) * (leaf.ndim - 1))


def _first(problem):
    """The arguments of `first_state`."""
    axis = 0 if problem.time_major else 1
    one_step = jax.tree.map(lambda leaf: Struct((*leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype), problem.inputs)
    return problem.cell, problem.params, one_step, problem.initial_state, problem.dtype, key_struct(problem.key)
