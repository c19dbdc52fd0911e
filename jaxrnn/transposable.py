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
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    subtract = lambda a, b: jax.tree.map(jnp.subtract, a, b)
    matrix = lambda xy: (xy[0], subtract(xy[1], f(xy[0])))
    solve = lambda _, xy: (xy[0], add(xy[1], f(xy[0])))
    transposed_solve = lambda _, xy: (add(xy[0], transpose(xy[1])), xy[1])
    # The zeros have to be linear in x too: the sum of none of its elements.
    none = jnp.sum(jax.tree.leaves(x)[0].reshape(-1)[:0])
    nothing = lambda leaf: jnp.broadcast_to(none.astype(leaf.dtype), leaf.shape)
    right = x, jax.tree.map(nothing, jax.eval_shape(f, x))
    return lax.custom_linear_solve(matrix, right, solve, transposed_solve)[1]
