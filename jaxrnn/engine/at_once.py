"""A chunk of a linear cell whose K steps are joined: coefficients of all of them, one recurrence, their readout.

What happens to a state between two steps is a step of the same form, h' = a h + b:

    padding         (1, 0)              the state is copied through
    a reset         (0, a start + b)    whatever was before
    state dropout   (d a, d b)

so that the recurrence itself needs no mask.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.engine.facts import StepFacts
from jaxrnn.engine.masking import Steps, select_rows
from jaxrnn.engine.recurrence import advanced, identity_like, is_complex, linear_recurrence
from jaxrnn.engine.step import in_dtype_of
from jaxrnn.engine.tuning import current
from jaxrnn.typing import Inputs, Outputs, Params, State, Tree


def goes_at_once(state: State, steps: Steps) -> bool:
    """Whether these steps can be joined. Dropout of the two parts of a complex number is no product with a number."""
    return steps.drop is None or not any(map(is_complex, jax.tree.leaves(state, is_leaf=is_complex)))


def chunk_at_once(facts: StepFacts, cell: Any, params: Params, xs: Inputs, state: State, steps: Steps) -> tuple[Outputs, State]:
    """K steps of a linear cell: xs `[K, B, ...]` -> (outputs `[K, B, ...]`, state `[B, ...]`)."""
    z = facts.over_time(cell.project)(params, xs)
    of_state = functools.partial(_in_dtypes_of, facts.state)
    coefficients = facts.over_time(lambda params, z: tuple(map(of_state, cell.coefficients(params, z))))
    a, b = coefficients(params, z)
    entering, states, last = states_of(*elements(a, b, steps), state, steps, facts.tuning.recurrence)
    if steps.drop is not None:  # an output is of the state before it is dropped
        before = jax.tree.map(lambda s, leaf: jnp.concatenate([s[None], leaf[:-1]]), entering, states)
        states = advanced(*elements(a, b, dataclasses.replace(steps, drop=None)), before)
    readout = facts.over_time(lambda params, z, state: in_dtype_of(state, cell.readout(params, z, state)))
    return readout(params, z, states), last


def _in_dtypes_of(state, tree):
    return jax.tree.map(lambda leaf, s: leaf.astype(s.dtype), tree, state)


def states_of(a: Tree, b: Tree, state: State, steps: Steps, how: str | None = None) -> tuple[State, Tree, State]:
    """`(the state before the first step, the states after each, the last one)` of coefficients `[K, B, ...]`."""
    if steps.recurrence:
        return steps.recurrence(a, b, state, how or current().recurrence)
    states = linear_recurrence(a, b, state, how=how)
    return state, states, jax.tree.map(lambda leaf: leaf[-1], states)


def elements(a: Tree, b: Tree, steps: Steps) -> tuple[Tree, Tree]:
    """The coefficients `[K, B, ...]` with what happens between the steps in them."""
    a, b = steps.dropped(a), steps.dropped(b)
    if steps.valid is not None:
        a = select_rows(steps.valid, a, identity_like(a))
        b = select_rows(steps.valid, b, jax.tree.map(jnp.zeros_like, b))
    if steps.again is not None:
        start = jax.tree.map(jnp.zeros_like, b)
        if steps.start is not None:
            start = jax.tree.map(lambda s, leaf: jnp.broadcast_to(s, leaf.shape), steps.start, b)
        b = select_rows(steps.again, advanced(a, b, start), b)
        a = select_rows(steps.again, jax.tree.map(jnp.zeros_like, a), a)
    return a, b
