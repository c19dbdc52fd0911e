"""Linear functions with a transpose of their own.

JAX transposes a linear function equation by equation. For a loop over time that gives one that stacks and copies what could
be written in place, so a run brings its own. `jax.custom_derivatives.linear_call` is meant for this, but knows no `jax.vmap`.
Solving a linear system does, and is transposed as it is told to: with f linear,

    [ 1   0 ] [x]   [x]                                      [ 1  -f' ] [u]   [x']
    [-f   1 ] [y] = [0]   is solved by y = f(x), and         [ 0   1  ] [y'] = [y']   by u = x' + f'(y')

where f' is the transpose. The derivatives of a solution are found by differentiating the matrix, so f itself must be a
function that JAX can differentiate with respect to what it closes over; its transpose need not be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def apply(f: Callable, transpose: Callable, x: Any) -> Any:
    """`f(x)`, linear in the pytree `x`, whose cotangent will be `transpose(cotangent of the result)`."""
    f = jax.jit(f, inline=True)  # so that it is traced once, of the four times that it is asked for
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    subtract = lambda a, b: jax.tree.map(jnp.subtract, a, b)

    def matrix(xy):
        x, y = xy
        fx = f(_linked(x, y))
        fx = _linked(fx, fx)
        return _linked(x, fx), subtract(y, fx)

    solve = lambda _, xy: (xy[0], add(xy[1], f(xy[0])))
    transposed_solve = lambda _, xy: (add(xy[0], transpose(xy[1])), xy[1])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(f, x))
    solution = lax.custom_linear_solve(matrix, _linked((x, zeros), x), solve, transposed_solve)
    return _linked(solution, solution)[1]


def _linked(tree: Any, to: Any) -> Any:
    """`tree`, with the sum of no elements of `to` added: JAX wants all parts of a system to depend on the same."""
    none = sum((jnp.sum(jnp.real(leaf).reshape(-1)[:0]).astype(jnp.float32) for leaf in jax.tree.leaves(to)), jnp.float32(0))
    return jax.tree.map(lambda leaf: leaf + jnp.broadcast_to(none.astype(leaf.dtype), leaf.shape), tree)
