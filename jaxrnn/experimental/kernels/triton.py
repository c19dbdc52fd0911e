"""A kernel in Pallas's common language: whole arrays, plain loads and stores.

Interpreted, it runs anywhere. A GPU gets it by way of Triton, which multiplies by `dot_general` and so takes a cell as it is
written; where the weights lie is for Triton to choose.
"""

from __future__ import annotations

import functools
from typing import Any

from jaxrnn.experimental.kernels.straight import columns_of

FEWEST_ROWS = 16  # and columns, of a matrix that it multiplies


def takes(arrays: list) -> bool:
    """Triton knows arrays whose sizes are powers of two, and multiplies matrices of some rows and columns."""
    known = lambda size, rank: size & (size - 1) == 0 and size >= (FEWEST_ROWS if rank == 2 else 1)
    return all(known(size, array.ndim) for array in arrays for size in array.shape)


def call(program: Any, args: tuple, out: tuple, interpret: bool) -> Any:
    """Runs a `jaxrnn.experimental.kernels.loop.Program`.

    `args` are the lists (weights, shared, carry, items), `out` the shapes of the results (carry, results).
    """
    # Here, so that nothing experimental is loaded for those who have no use for it.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    def block(axis, leaf):
        """All of it, or a tile's part if `axis` has the rows."""
        shape = tuple(program.rows if a == axis else size for a, size in enumerate(leaf.shape))
        return pl.BlockSpec(shape, lambda i: tuple(i if a == axis else 0 for a in range(len(shape))))

    blocks = lambda axes, lists: tuple([block(a, leaf) for leaf in leaves] for a, leaves in zip(axes, lists, strict=True))
    return pl.pallas_call(
        functools.partial(_one_tile, program),
        grid=(program.tiles,),
        in_specs=blocks((None, 0, 0, 1), args),
        out_specs=blocks((0, 1), out),
        out_shape=out,
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(),
    )(*args)


def _one_tile(program, weights, shared, carry, items, end, results):
    """The lists are of references."""
    read = lambda refs: [ref[...] for ref in refs]
    items_at = lambda t: [ref[t] for ref in items]

    def write(t, out):
        for ref, result in zip(results, out, strict=True):
            for columns, part in columns_of(result):
                ref[(t, *[slice(None)] * (part.ndim - 1), columns)] = part

    last = program.loop(read(weights), read(shared), read(carry), items_at, write)
    for ref, leaf in zip(end, last, strict=True):
        ref[...] = leaf
