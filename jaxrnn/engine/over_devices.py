"""The linear recurrence over steps that are split over devices.

Each device has K of the steps, one device after the other. Its steps joined are one step (A, B): the product of all a, and
the end from a start of zero. With those of all devices each one knows the state that enters its own:

    forward     (A, B) of the K steps; gather those of all devices; the state that enters; all K states from it
    backward    the same, from the last device to the first

so that each direction has one collective, an all-gather of `[n, B, ...]` arrays, and passes twice over the device's steps.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import Live, with_backward
from jaxrnn.engine.recurrence import added, advanced, before, conjugate, identity_like, later, linear_recurrence
from jaxrnn.typing import State, Tree


def recurrence_over_devices(axis_name: str, a: Tree, b: Tree, start: State, how: str) -> tuple[State, Tree, State]:
    """h_t = a_t h_{t-1} + b_t, the steps split over the devices of a mesh's axis; inside a `jax.shard_map`.

    Args:
      axis_name: the axis.
      a, b: this device's coefficients, leaves `[K, B, ...]`.
      start: the state before the first step of all, leaves `[B, ...]`, the same on every device.
      how: the engine that each device runs its own steps by.

    Returns:
      `(entering, states, end)`: the state before this device's first step, `[B, ...]`; those after its steps,
      `[K, B, ...]`; and that after the last step of all, `[B, ...]`.
    """
    return _run((axis_name, how), (a, b, start))


def _plain(static, args):
    return _forward(static, args, False)[0]


def _forward(static, args, keeps):
    (axis_name, how), (a, b, start) = static, args
    products, ends = _gather(_joined(a, b, how), axis_name)
    entering, end = _through(products, ends, start, lax.axis_index(axis_name))
    states = linear_recurrence(a, b, entering, how=how)
    return (entering, states, end), (states, entering)


def _backward(static, args, residuals, live: Live, cotangents):
    (axis_name, how), (a, b, _), (states, entering) = static, args, residuals
    ct_entering, ct, ct_end = cotangents
    me, past, a = lax.axis_index(axis_name), before(a, states, entering), conjugate(a)
    adjoint = functools.partial(linear_recurrence, later(a, states), reverse=True, how=how)
    leaving = lambda lam: advanced(_at(a, 0), ct_entering, _at(lam, 0))  # what goes to the device before
    product, _ = _joined(a, b, how)
    alone = leaving(adjoint(ct, jax.tree.map(jnp.zeros_like, ct_end)))
    back_to_front = functools.partial(jax.tree.map, lambda leaf: jnp.flip(leaf, 0))
    products, leavings, ct_ends = back_to_front(_gather((product, alone, ct_end), axis_name))
    total = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), ct_ends)
    coming, _ = _through(products, leavings, total, lax.axis_size(axis_name) - 1 - me)
    lam = adjoint(jax.tree.map(lambda leaf, more: leaf.at[-1].add(more), ct, coming), jax.tree.map(jnp.zeros_like, ct_end))
    of_first = lambda leaf: jnp.where(me == 0, leaf, jnp.zeros_like(leaf))
    return added(past, lam), lam, jax.tree.map(of_first, leaving(lam))


_run = with_backward(_plain, _forward, _backward)


def _joined(a: Tree, b: Tree, how: str) -> tuple[State, State]:
    """K steps as one: the product of all a, and the end from a start of zero."""
    zeros = jax.tree.map(jnp.zeros_like, b)
    start = identity_like(_at(a, 0)), _at(zeros, 0)
    return _at(linear_recurrence((a, a), (zeros, b), start, how=how), -1)


def _through(a: Tree, b: Tree, start: State, me: jax.Array) -> tuple[State, State]:
    """The state that enters device `me`, and the last one, from every device's joined steps `[n, B, ...]`."""
    states = linear_recurrence(a, b, start, how="sequential")
    entering = jax.tree.map(lambda s, leaf: jnp.concatenate([s[None], leaf[:-1]]), start, states)
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, me, keepdims=False), entering), _at(states, -1)


def _gather(tree: Tree, axis_name: str) -> Any:
    """Leaves `[n, B, ...]`, those of every device; one collective for all leaves of a dtype."""
    leaves, structure = jax.tree.flatten(tree)
    gathered: list = [None] * len(leaves)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = lax.all_gather(jnp.concatenate([leaves[i].reshape(-1) for i in places]), axis_name)
        ends = [sum(leaves[j].size for j in places[: k + 1]) for k in range(len(places) - 1)]
        for i, part in zip(places, jnp.split(flat, ends, 1), strict=True):
            gathered[i] = part.reshape(-1, *leaves[i].shape)
    return structure.unflatten(gathered)


def _at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)
