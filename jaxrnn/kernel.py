"""A loop over steps inside one kernel.

    scan(step, shared, carry, items)    is    lax.scan(lambda carry, item: step(shared, carry, item), carry, items)

for steps that treat every row of the batch alone. The batch is cut into tiles of rows. Each is a program of the kernel's grid,
which reads the weights (what the step closes over) once, in front of its own loop over the steps, and hears of no other.

The kernel is Pallas's: whole arrays, plain loads and stores. A GPU gets it by way of Triton, the one of Pallas's two back ends
there that multiplies by `dot_general`, and so takes a cell as it is written; JAX calls it deprecated since 0.11.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.straight import Line, parts_of, straighten, whole

Struct = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class Kernel:
    """How a kernel runs.

    Attributes:
      rows: rows of a tile; the last one is filled up with zeros.
      interpret: whether JAX itself goes through the kernel, on any platform, instead of compiling it for a GPU.
    """

    rows: int
    interpret: bool

    def scan(self, step: Callable, shared: Any, carry: Any, items: Any, reverse: bool = False) -> tuple[Any, Any]:
        """`(carry, results)`; `shared` and `carry` have leaves `[B, ...]`, items and results `[K, B, ...]`."""
        batch, count = jax.tree.leaves(carry)[0].shape[0], jax.tree.leaves(items)[0].shape[0]
        tiles = -(-batch // self.rows)
        line = self.line(step, shared, carry, items)
        axes = (None, 0, 0, 1), (0, 1)  # where the rows are, in what is read and what is written
        args = line.weights, shared, carry, items
        args = tuple(_with_rows(tiles * self.rows, axis, arg) for axis, arg in zip(axes[0], args, strict=True))
        end, results = line.results
        like = lambda leaf, *leading: Struct((*leading, tiles * self.rows, *leaf.shape[1:]), leaf.dtype)
        out = jax.tree.map(like, end), jax.tree.map(lambda leaf: like(leaf, count), results)
        run = self._call(functools.partial(_one_tile, line, count, reverse), tiles, axes, args, out)
        end, results = run(*args)
        return jax.tree.map(lambda leaf: leaf[:batch], end), jax.tree.map(lambda leaf: leaf[:, :batch], results)

    def line(self, step: Callable, shared: Any, carry: Any, items: Any) -> Line:
        """The step of one tile."""
        tile = functools.partial(tile_shapes, self.rows)
        return straighten(step, tile(0, shared), tile(0, carry), tile(1, items))

    def _call(self, program, tiles, axes, args, out):
        # Here, so that nothing experimental is loaded for those who have no use for it.
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import triton

        def block(axis, leaf):
            shape = tuple(self.rows if a == axis else size for a, size in enumerate(leaf.shape))
            return pl.BlockSpec(shape, lambda i: tuple(i if a == axis else 0 for a in range(len(shape))))

        blocks = lambda axes, trees: tuple(
            jax.tree.map(functools.partial(block, axis), tree) for axis, tree in zip(axes, trees, strict=True)
        )
        return pl.pallas_call(
            program,
            grid=(tiles,),
            in_specs=blocks(axes[0], args),
            out_specs=blocks(axes[1], out),
            out_shape=out,
            interpret=self.interpret,
            compiler_params=None if self.interpret else triton.CompilerParams(),
        )


def tile_shapes(rows: int, axis: int, tree: Any) -> Any:
    """One step of one tile, as shapes, of a tree that has its rows along `axis`."""
    return jax.tree.map(lambda leaf: Struct((rows, *leaf.shape[axis + 1 :]), leaf.dtype), tree)


def _one_tile(line, count, reverse, weights, shared, carry, items, end, results):
    """The program: its arguments are references to a tile's part of each array, in trees."""
    read = lambda tree: [ref[...] for ref in jax.tree.leaves(tree)]
    weights, shared, items, results = read(weights), read(shared), jax.tree.leaves(items), jax.tree.leaves(results)

    def one_step(i, carry):
        t = count - 1 - i if reverse else i
        out = line.run(weights, [*shared, *carry, *(ref[t] for ref in items)])
        for ref, result in zip(results, out[len(carry) :], strict=True):
            _write(ref, t, result)
        return [whole(leaf) for leaf in out[: len(carry)]]

    for ref, leaf in zip(jax.tree.leaves(end), lax.fori_loop(0, count, one_step, read(carry)), strict=True):
        ref[...] = leaf


def _write(ref, t, result):
    """Writes what step t gave, each part of it to its columns."""
    start = 0
    for part in parts_of(result):
        end = start + part.shape[-1]
        ref[(t, *[slice(None)] * (part.ndim - 1), slice(start, end))] = part
        start = end


def _with_rows(size, axis, tree):
    """The leaves with rows of zeros up to `size`, along `axis`; as they are if they have no rows."""

    def fill(leaf):
        missing = size - leaf.shape[axis]
        return jnp.pad(leaf, [(0, missing if a == axis else 0) for a in range(leaf.ndim)]) if missing else leaf

    return tree if axis is None else jax.tree.map(fill, tree)
