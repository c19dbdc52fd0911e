"""How weights start."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.jit import jit_by_value

_glorot = jax.nn.initializers.glorot_uniform()
_orthogonal = jax.nn.initializers.orthogonal()


def one_program(init: Callable) -> Callable:
    """`init(cell, key, input_size, dtype)` compiled as one program.

    Outside a `jax.jit` each of its operations would be a program of its own, and compiling these takes half a second.
    """

    def run(key, *, cell, input_size, dtype):
        return init(cell, key, input_size, dtype)

    @functools.wraps(init)
    def checked(self: Any, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        check.prng_key(key)
        check.size_of_inputs(input_size)
        program = jit_by_value(run, self, static=("cell", "input_size", "dtype"))
        return program(key, cell=self, input_size=int(input_size), dtype=jax.dtypes.canonicalize_dtype(dtype))

    return checked


def split(key: jax.Array, count: int) -> jax.Array:
    """`[count]` keys of one."""
    check.prng_key(key)
    return jax.random.split(key, count)


def glorot(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """`[inputs, outputs]`: uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010). Of a convolution `[*window,
    inputs, outputs]` both are multiplied by the window's size."""
    check.size_of_inputs(shape[-2])
    return _glorot(key, shape, dtype) if shape[-2] else jnp.zeros(shape, dtype)


def recurrent(key: jax.Array, units: int, gates: int, dtype: DTypeLike, state_size: int | None = None) -> jax.Array:
    """`[state_size, gates * units]`: an orthogonal matrix for each gate (Saxe et al., 2013), side by side."""
    dtype, shape = jax.dtypes.canonicalize_dtype(dtype), (state_size or units, units)
    exact = jnp.float64 if jnp.finfo(dtype).bits == 64 else jnp.float32  # the QR decomposition knows no half precision
    blocks = jax.vmap(lambda key: _orthogonal(key, shape, exact))(jax.random.split(key, gates))
    return jnp.swapaxes(blocks, 0, 1).reshape(shape[0], gates * shape[1]).astype(dtype)


def diagonal(key: jax.Array, units: int, dtype: DTypeLike) -> jax.Array:
    """`[units]`: uniform within sqrt(3 / units), Glorot's limit for as many inputs as outputs."""
    limit = (3 / units) ** 0.5
    return jax.random.uniform(key, (units,), dtype, -limit, limit)
