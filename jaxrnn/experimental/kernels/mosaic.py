"""A kernel for NVIDIA's Hopper in Pallas's Mosaic GPU, where the program says what lies where.

A tile is 64 rows, and its program one warp group. The recurrent matrices lie in shared memory for the whole loop, in the order
that the matrix instruction (`wgmma`: registers times shared memory, in either orientation) wants them; the state and all that a
step makes of it stay in registers; a step's items are read from global memory, and its results written to it.

It needs jax 0.12, and floats of 16 bits: of 32 bits `wgmma` multiplies neither registers nor a matrix turned round. It takes
products with a recurrent matrix on the right, and lacks some functions (`log1p`, so softplus; `expm1`, so elu).
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxrnn.experimental.kernels.straight import bind, columns_of

_MOST_COLUMNS = 256  # of one product
_SWIZZLES = 128, 64, 32  # bytes of a row that are stored together


def takes(arrays: list) -> bool:
    """Scalars, vectors, and matrices of 16-bit floats whose rows swizzle."""
    matrix = lambda array: array.dtype.itemsize == 2 and all(2 * size % _SWIZZLES[-1] == 0 for size in array.shape)
    return all(array.ndim < 2 or (array.ndim == 2 and matrix(array)) for array in arrays)


def call(program: Any, args: tuple, out: tuple, interpret: bool = False) -> Any:
    """Runs a program as a `jaxrnn.experimental.kernels.loop.BackEnd`."""
    # Here, so that nothing experimental is loaded for those who have no use for it.
    from jax.experimental.pallas import mosaic_gpu as plgpu

    weights, shared, carry, items = args
    masks = [leaf.dtype == bool for leaf in items]
    items = [leaf.astype(jnp.int32) if mask else leaf for leaf, mask in zip(items, masks, strict=True)]  # bits are not loaded
    product = _interpreted_product if interpret else _product
    return plgpu.kernel(
        functools.partial(_one_tile, program, product, masks),
        out_type=out,
        grid=(program.tiles,),
        grid_names=("tile",),
        scratch_types=([_in_order(plgpu, leaf) for leaf in weights if leaf.ndim == 2], plgpu.Barrier()),
        interpret=plgpu.InterpretGPUParams() if interpret else None,
    )(weights, shared, carry, items)


def _in_order(plgpu, matrix):
    """Shared memory for a matrix."""
    size = matrix.dtype.itemsize
    swizzle = next(s for s in _SWIZZLES if all(n * size % s == 0 for n in matrix.shape))
    transforms = plgpu.TilingTransform((8, swizzle // size)), plgpu.SwizzleTransform(swizzle)
    return plgpu.SMEM(matrix.shape, matrix.dtype, transforms=transforms)


def _one_tile(program, product, masks, weights, shared, carry, items, end, results, matrices, barrier):
    """The lists are of references, to global memory and, `matrices`, to shared memory."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import mosaic_gpu as plgpu

    layout = plgpu.Layout.WGMMA
    rows = pl.ds(lax.axis_index("tile") * program.rows, program.rows)

    def read(ref):
        return plgpu.load(ref, layout=layout if ref.ndim == 2 else layout.reduce(1), optimized=False)

    def items_at(t):
        values = [read(ref.at[t, rows]) for ref in items]
        return [value != 0 if mask else value for value, mask in zip(values, masks, strict=True)]

    def write(t, out):
        for ref, result in zip(results, out, strict=True):
            for columns, part in columns_of(result):
                plgpu.store(ref.at[t, rows, columns], part, optimized=False)

    weights = _on_chip(weights, matrices, barrier)
    shared, carry = ([read(ref.at[rows]) for ref in refs] for refs in (shared, carry))
    last = program.loop(weights, shared, carry, items_at, write, functools.partial(_rule, product))
    for ref, leaf in zip(end, last, strict=True):
        plgpu.store(ref.at[rows], leaf, optimized=False)


def _on_chip(weights, matrices, barrier):
    """Matrices in shared memory, which they are copied to, and vectors in registers."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    matrices = iter(matrices)

    def put(ref):
        if ref.ndim < 2:
            return plgpu.load(ref, layout=plgpu.Layout.WGMMA.reduce(0), optimized=False) if ref.ndim else ref[...]
        copy = next(matrices)
        plgpu.copy_gmem_to_smem(ref, copy, barrier)
        plgpu.barrier_wait(barrier)
        return copy

    return [put(ref) for ref in weights]


def _rule(product, eqn, values):
    """What Mosaic has another way to do."""
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (x, matrix), ((_, (rows,)), _) = values, params["dimension_numbers"]
        return [product(x, matrix.T if rows == 1 else matrix).astype(eqn.outvars[0].aval.dtype)]
    if name == "split":
        ends = [sum(params["sizes"][: i + 1]) for i in range(len(params["sizes"]))]
        (block,), starts = values, [0, *ends[:-1]]
        return [lax.slice(block, (0, i), (block.shape[0], j)) for i, j in zip(starts, ends, strict=True)]
    if name == "integer_pow" and params["y"] < -1:
        return [1 / lax.integer_pow(values[0], -params["y"])]
    return bind(eqn, values)


def _product(x, matrix):
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import mosaic_gpu as plgpu

    def product(columns):
        def accumulated(sums):
            plgpu.wgmma(sums, x, columns)
            return sums[...]

        return pl.run_scoped(accumulated, plgpu.WGMMAAccumulatorRef((x.shape[0], columns.shape[1]), jnp.float32))

    size = min(matrix.shape[1], _MOST_COLUMNS)
    products = [product(matrix.at[:, pl.ds(start, size)]) for start in range(0, matrix.shape[1], size)]
    return products[0] if len(products) == 1 else lax.concatenate(products, 1)


def _interpreted_product(x, matrix):
    """JAX's interpreter multiplies no registers."""
    return lax.dot(x, matrix[...], preferred_element_type=jnp.float32)
