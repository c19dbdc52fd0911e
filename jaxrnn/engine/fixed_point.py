"""Iterations to the solution of K steps, each of which corrects all of them by a linear recurrence."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.engine.recurrence import linear_recurrence
from jaxrnn.typing import State

_TOLERANCES = {float(jnp.finfo(jnp.float64).eps): 1e-11, float(jnp.finfo(jnp.float32).eps): 1e-6}  # by precision
PATIENCE = 20  # iterations, in which a residual that is going to vanish has become half as large


@dataclasses.dataclass(frozen=True)
class Newton:
    """How a run is solved in parallel over time: the options of `jaxrnn.dynamic_rnn(..., parallel=...)`.

    Attributes:
      tolerance: when to stop: the largest residual of the states `[K, B, ...]` of a chunk, in proportion to the largest value
        that its part of the state has in its row; None is 1e-11 in float64, 1e-6 in float32, and 2 units of the precision in
        dtypes of 16 bits. Below 2 units rounding goes on for ever.
      max_iterations: how many iterations there may be for a chunk, before its steps are run one by one. That happens sooner
        where the residual has not become half as large in 20 iterations, or is not finite.

    Raises:
      TypeError, ValueError: if tolerance is no number above 0, or max_iterations no int of 1 or more.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 50, 3))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, parallel=jaxrnn.Newton(max_iterations=30))
      >>> outputs.shape
      (4, 50, 5)
    """

    tolerance: float | None = None
    max_iterations: int = 200

    def __post_init__(self) -> None:
        check.positive(self, "that of its dtype", tolerance=self.tolerance)
        check.at_least_one(self, max_iterations=self.max_iterations)

    def tolerance_of(self, state: State) -> float:
        """The tolerance for a state of some dtype."""
        if self.tolerance is not None:
            return self.tolerance
        precision = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(state))
        return _TOLERANCES.get(precision, 2 * precision)


class Iterations(NamedTuple):
    """How a chunk was solved.

    Attributes:
      iterations: how many there were, int32 `[]`.
      residual: the largest residual at the last one, in proportion to its row's largest value.
      fell_back: whether the steps were run one by one in the end.
    """

    iterations: jax.Array
    residual: jax.Array
    fell_back: jax.Array


def iterate(correct: Callable, guess: State, one_by_one: Callable, options: Newton) -> tuple[State, Iterations]:
    """The x at which nothing is left to correct, leaves `[K, B, ...]`.

    Args:
      correct: `x -> (residual, correction)`, leaves `[K, B, ...]`.
      guess: the first x.
      one_by_one: `() -> x`, step by step, where the iterations end without it.
      options: when they end.
    """
    tolerance = options.tolerance_of(guess)

    def goes_on(carry):
        _, count, residual, _, since = carry
        may = (count < options.max_iterations) & (since < PATIENCE) & jnp.isfinite(residual)
        return (count == 0) | (may & (residual > tolerance))

    def iteration(carry):
        x, count, _, best, since = carry
        residual, correction = correct(x)
        size = _relative(residual, x)
        better = size < best / 2
        x = jax.tree.map(jnp.add, x, correction)
        return x, count + 1, size, jnp.where(better, size, best), jnp.where(better, 0, since + 1)

    every = lambda holds, x: functools.reduce(jnp.logical_and, (jnp.all(holds(leaf)) for leaf in jax.tree.leaves(x)))
    zero = jnp.where(every(jnp.isnan, guess), jnp.int32(0), 0)  # of a type that is spread over devices as the state is
    best = jnp.asarray(jnp.inf, jax.tree.leaves(guess)[0].dtype) + zero.astype(jax.tree.leaves(guess)[0].dtype)
    x, count, residual, *_ = lax.while_loop(goes_on, iteration, (guess, zero, best, best, zero))
    solved = (residual <= tolerance) & every(jnp.isfinite, x)
    # A loop of at most one round: under `jax.vmap` a `lax.cond` would run its steps always.
    x, _ = lax.while_loop(lambda carry: ~carry[1], lambda carry: (one_by_one(), carry[1] | True), (x, solved))
    return x, Iterations(count, residual, ~solved)


def _relative(residual: State, x: State) -> jax.Array:
    """The largest residual, in proportion to the largest value of its leaf in its row, before or after the step."""

    def of_leaf(r, x):
        of_row = lambda a: jnp.max(a, axis=(0, *range(2, a.ndim)))
        size, scale = of_row(abs(r)), of_row(jnp.maximum(abs(x), abs(x + r)))
        return jnp.max(jnp.where(size == 0, 0, size / scale))

    sizes = map(of_leaf, jax.tree.leaves(residual), jax.tree.leaves(x))
    return functools.reduce(lambda a, b: jnp.maximum(a, b.astype(a.dtype)), sizes)


def recurrence(a: dict[tuple[int, int], jax.Array], residual: State, transposed: bool = False) -> State:
    """The d with d_t = A_t d_{t-1} + r_t; if `transposed` that with d_t = A_{t+1}' d_{t+1} + r_t.

    A is lower triangular, `a[i, j]` of it from part j of the state to part i, so the parts are solved one after the other, each
    elementwise. In an LSTM c comes first and h follows it: half as many iterations as with a diagonal A.
    """
    rest, structure = jax.tree.flatten(residual)
    parts, neighbour, solved = range(len(rest)), _last, {}
    if transposed:
        a, parts, neighbour = {(j, i): _next(leaf) for (i, j), leaf in a.items()}, reversed(parts), _next
    for i in parts:
        b = rest[i]
        for j in solved:
            b = b + a[i, j] * neighbour(solved[j]) if (i, j) in a else b
        solved[i] = linear_recurrence(a[i, i], b, jnp.zeros_like(b[0]), reverse=transposed)
    return structure.unflatten([solved[i] for i in sorted(solved)])


def _next(leaf: jax.Array) -> jax.Array:
    """That of the next step at every step."""
    return jnp.concatenate([leaf[1:], jnp.zeros_like(leaf[:1])])


def _last(leaf: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros_like(leaf[:1]), leaf[:-1]])
