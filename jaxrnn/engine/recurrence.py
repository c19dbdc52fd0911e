"""The linear recurrence h_t = a_t h_{t-1} + b_t, elementwise, in three engines with one derivative.

Two steps in a row are one step of the same form,

    (a_1, b_1) then (a_2, b_2)  =  (a_2 a_1, a_2 b_1 + b_2)

so the steps may be joined in any grouping. A step that leaves the state alone is (1, 0), and one that sets it to s is (0, s).

    "sequential"    step after step; a CPU's choice always
    "chunked"       blocks of some 256 steps, one after the other; in a block, as "associative"
    "associative"   pairs of steps, pairs of pairs, and so on: 2 log K rounds (Blelloch, 1990), and the most memory

The cotangent of the states obeys the same recurrence, backward in time. With lambda_t that of h_t,

    lambda_t = ct_t + a_{t+1} lambda_{t+1}        b_t^ = lambda_t        a_t^ = lambda_t h_{t-1}        start^ = a_1 lambda_1

so a backward pass keeps a and h, and nothing else. Complex numbers are pairs of reals: XLA compiles these in an eighth of the time
of a complex dtype.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxrnn.engine.autodiff import Live, tangent_of
from jaxrnn.engine.linear import linear
from jaxrnn.engine.tuning import current
from jaxrnn.typing import Dim, State, Tree

How = Literal["sequential", "chunked", "associative"]

BLOCK = 256  # steps; on an H100 a block of 128 or 512 takes 1.1 times as long


class Complex(NamedTuple):
    """A complex number as two arrays of reals; in `linear_recurrence` it is one leaf."""

    re: Any
    im: Any


def linear_recurrence(a: Tree, b: Tree, start: State, *, reverse: bool = False, how: How | None = None) -> Tree:
    """h_t = a_t h_{t-1} + b_t for K steps, elementwise.

    Where a is zero, h is b, whatever was before: not even NaN or infinity goes past such a step.

    Args:
      a, b: pytrees like the state, leaves `[K, B, ...]`. A leaf of a may have an axis of size 1 for K, or for any other: it
        is then the same all along.
      start: the state before the first step, leaves `[B, ...]`, or `Complex` pairs of these, which a and b have there too.
      reverse: whether the last step comes first, so that h_t = a_t h_{t+1} + b_t.
      how: the engine; None is what the tuning says. Steps of a symbolic number are run one after the other.

    Returns:
      h, all K states, leaves `[K, B, ...]`. It has derivatives of every order in both modes, and `jax.vmap`.
    """
    count = jax.tree.leaves(b)[0].shape[0]
    if is_symbolic_dim(count):
        how = "sequential"
    elif count == 0:
        return b
    return _states((how or current().recurrence, reverse), (a, b, start))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _states(static: tuple[How, bool], args: tuple[Tree, Tree, State]) -> Tree:
    how, reverse = static
    a, b, start = map(_elements, args)
    states = _ENGINES[how](a, b, start, reverse)
    return jax.tree.unflatten(jax.tree.structure(args[1], is_leaf=_is_complex), states)


def _states_jvp(static, primals, tangents):
    (args,), (dargs,) = primals, tangents
    (how, reverse), live, structure = static, Live.of(dargs), jax.tree.structure(args[1])
    states = _states(static, args)

    def added(read, dlive):
        """(a^ h_{t-1} + b^, start^), with ^ a tangent: what comes from outside into the recurrence of tangents."""
        a, states, start = read
        before = _before(a, states, start, reverse)
        of_a_and_b = lambda a, b, start: (_map(lambda a, h, b: _add(_times(a, h), b), a, before, b), start)
        return tangent_of(of_a_and_b, (a, states, start), live.fill(dlive))

    def tangent(read, dlive):
        return jax.tree.leaves(_states(static, (read[0], *added(read, dlive))))

    def transpose(read, ct):
        a, states, start = read
        ct, a = structure.unflatten(ct), _map(_conjugate, a)
        nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), ct)
        ct = _states((how, not reverse), (_later(a, states, reverse), ct, nothing))
        at_first = lambda leaf: leaf[-1 if reverse else 0]
        ct_start = _map(lambda a, ct: _times(jax.tree.map(at_first, a), jax.tree.map(at_first, ct)), a, ct)
        like = live.leaves((read[0], states, start))
        return list(*jax.linear_transpose(functools.partial(added, read), like)((ct, ct_start)))

    dstates = linear(tangent, transpose, (args[0], states, args[2]), live.leaves(dargs), jax.tree.leaves(states))
    return states, structure.unflatten(dstates)


_states.defjvp(_states_jvp, symbolic_zeros=True)


def _before(a: Tree, states: Tree, start: State, reverse: bool) -> Tree:
    """h_{t-1} at every step; zero where nothing is read of it and it is not finite."""
    put = (lambda h, s: [h[1:], s[None]]) if reverse else (lambda h, s: [s[None], h[:-1]])
    before = jax.tree.map(lambda h, s: jnp.concatenate(put(h, s)), states, start)
    finite = lambda cut, h: jnp.where(cut & ~jnp.isfinite(h), jnp.zeros_like(h), h)
    return _map(lambda a, h: jax.tree.map(functools.partial(finite, _is_zero(a)), h), a, before)


def _later(a: Tree, states: Tree, reverse: bool) -> Tree:
    """a_{t+1} at every step."""
    by = (1, -1, 0) if reverse else (-1, 1, 0)
    fixed = lambda leaf, h: leaf.shape[0] == 1 != h.shape[0]
    shifted = lambda leaf: lax.pad(leaf, jnp.zeros((), leaf.dtype), [by] + [(0, 0, 0)] * (leaf.ndim - 1))
    return jax.tree.map(lambda leaf, h: leaf if fixed(leaf, h) else shifted(leaf), a, states)


# ---- the engines: lists of elements, each `[K, B, ...]`, arrays or `Complex`


def _sequential(a: list, b: list, start: list, reverse: bool) -> list:
    count = jax.tree.leaves(b)[0].shape[0]
    fixed = [_size(x) == 1 != count for x in a]
    items = [None if one else x for x, one in zip(a, fixed, strict=True)], b

    def step(state, item):
        now = [_at(x, 0) if one else each for x, one, each in zip(a, fixed, item[0], strict=True)]
        state = list(map(_join, now, item[1], state))
        return state, state

    options = {} if is_symbolic_dim(count) else {"length": count, "unroll": current().unroll}
    return lax.scan(step, start, items, reverse=reverse, **options)[1]


def _associative(a: list, b: list, start: list, reverse: bool) -> list:
    """The start is joined to the first step, so that no product of all steps is needed."""
    count = jax.tree.leaves(b)[0].shape[0]
    a = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), a)
    at = -1 if reverse else 0
    begin = [_join(_at(x, at), _at(y, at), s) for x, y, s in zip(a, b, start, strict=True)]
    put = (lambda y, first: [y[:-1], first[None]]) if reverse else (lambda y, first: [first[None], y[1:]])
    b = jax.tree.map(lambda y, first: jnp.concatenate(put(y, first)), b, begin)

    def join(one, two):
        (a1, b1), (a2, b2) = one, two
        return list(map(_times, a2, a1)), list(map(_join, a2, b2, b1))

    return lax.associative_scan(join, (a, b), reverse=reverse)[1]


def _chunked(a: list, b: list, start: list, reverse: bool) -> list:
    count = jax.tree.leaves(b)[0].shape[0]
    blocks = -(-count // BLOCK)
    if blocks == 1:
        return _associative(a, b, start, reverse)
    size = -(-count // blocks)
    more = blocks * size - count  # steps, behind all others, whose states are dropped

    def cut(leaf):
        padding = [(more, 0, 0) if reverse else (0, more, 0)] + [(0, 0, 0)] * (leaf.ndim - 1)
        return lax.pad(leaf, jnp.zeros((), leaf.dtype), padding).reshape(blocks, size, *leaf.shape[1:])

    fixed = [_size(x) == 1 != count for x in a]
    items = [None if one else jax.tree.map(cut, x) for x, one in zip(a, fixed, strict=True)], jax.tree.map(cut, b)

    def block(state, item):
        now = [x if one else each for x, one, each in zip(a, fixed, item[0], strict=True)]
        states = _associative(now, item[1], state, reverse)
        return jax.tree.map(lambda leaf: leaf[0 if reverse else -1], states), states

    states = lax.scan(block, start, items, reverse=reverse)[1]
    whole = lambda leaf: leaf.reshape(blocks * size, *leaf.shape[2:])
    return jax.tree.map(lambda leaf: whole(leaf)[more:] if reverse else whole(leaf)[:count], states)


_ENGINES = {"sequential": _sequential, "chunked": _chunked, "associative": _associative}


# ---- elements: arrays of reals, or pairs of these


def _join(a, b, state):
    """a state + b; b alone where a is zero."""
    cut = _is_zero(a)
    return jax.tree.map(lambda all_of_it, b: jnp.where(cut, b, all_of_it), _add(_times(a, state), b), b)


def _times(a, b):
    if not _is_complex(a):
        return a * b
    return Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def _conjugate(a):
    return Complex(a.re, -a.im) if _is_complex(a) else a


def _is_zero(a):
    return (a.re == 0) & (a.im == 0) if _is_complex(a) else a == 0


def _is_complex(part: Any) -> bool:
    return isinstance(part, Complex)


def _at(part, i):
    return jax.tree.map(lambda leaf: leaf[i], part)


def _size(part) -> Dim:
    return jax.tree.leaves(part)[0].shape[0]


def _elements(tree: Tree) -> list:
    return jax.tree.leaves(tree, is_leaf=_is_complex)


def _map(f, *trees):
    return jax.tree.map(f, *trees, is_leaf=_is_complex)
