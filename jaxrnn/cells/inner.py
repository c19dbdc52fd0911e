"""What a cell made of others asks of them; they need not be cells of this package."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn.typing import Params


def part(params: Params, name: str) -> Any:
    """The params of an inner cell; those of one without any can be left out."""
    return params[name] if params and name in params else {}


def output_size(cell: Any, params: Params, input_size: Any, dtype: DTypeLike) -> Any:
    """What a cell says, or else what a step of it gives, which is traced and not run; ids, of no size, are int32 `[1]`."""
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    shape = lambda *shape, dtype=dtype: jax.ShapeDtypeStruct(shape, dtype)
    inputs = shape(1, dtype=jnp.int32) if input_size is None else jax.tree.map(lambda size: shape(1, size), input_size)
    state = jax.eval_shape(lambda: cell.initial_state(1, dtype))
    output, _ = jax.eval_shape(cell, params, inputs, state)
    return jax.tree.map(lambda leaf: leaf.shape[1] if leaf.ndim == 2 else leaf.shape[1:], output)
