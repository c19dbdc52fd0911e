"""A loop over steps inside one kernel.

    scan(step, shared, carry, items)    is    lax.scan(lambda carry, item: step(shared, carry, item), carry, items)

for steps that treat every row of the batch alone. The batch is cut into tiles of rows. Each is a program of the kernel's grid,
which reads the weights (what the step closes over) once, in front of its own loop over the steps, and hears of no other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.experimental.kernels import triton
from jaxrnn.experimental.kernels.straight import Line, straighten, whole

Struct = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class Program:
    """What each tile does.

    Attributes:
      line: the step of a tile.
      rows, tiles: rows of a tile, tiles of the batch.
      count, reverse: how many steps, and whether the last one comes first.
    """

    line: Line
    rows: int
    tiles: int
    count: int
    reverse: bool

    def loop(self, weights: list, shared: list, carry: list, read: Callable, write: Callable) -> list:
        """All steps; the last carry. `read(t)` gives the items of step t, `write(t, results)` takes what it made of them."""

        def one_step(i, carry):
            t = self.count - 1 - i if self.reverse else i
            out = self.line.run(weights, [*shared, *carry, *read(t)])
            write(t, out[len(carry) :])
            return [whole(leaf) for leaf in out[: len(carry)]]

        return lax.fori_loop(0, self.count, one_step, carry)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """How a kernel runs.

    Attributes:
      rows: rows of a tile; the last one is filled up with zeros.
      interpret: whether JAX itself interprets it.
    """

    rows: int
    interpret: bool

    def scan(self, step: Callable, shared: Any, carry: Any, items: Any, reverse: bool = False) -> tuple[Any, Any]:
        """`(carry, results)`; `shared` and `carry` have leaves `[B, ...]`, items and results `[K, B, ...]`."""
        batch, count = jax.tree.leaves(carry)[0].shape[0], jax.tree.leaves(items)[0].shape[0]
        tiles = -(-batch // self.rows)
        program = Program(self.line(step, shared, carry, items), self.rows, tiles, count, reverse)
        filled = lambda axis, tree: [_with_rows(tiles * self.rows, axis, leaf) for leaf in jax.tree.leaves(tree)]
        args = program.line.weights, filled(0, shared), filled(0, carry), filled(1, items)
        (end, end_tree), (results, results_tree) = map(jax.tree.flatten, program.line.results)
        like = lambda leaf, *leading: Struct((*leading, tiles * self.rows, *leaf.shape[1:]), leaf.dtype)
        out = [like(leaf) for leaf in end], [like(leaf, count) for leaf in results]
        end, results = triton.call(program, args, out, self.interpret)
        return end_tree.unflatten([leaf[:batch] for leaf in end]), results_tree.unflatten([leaf[:, :batch] for leaf in results])

    def line(self, step: Callable, shared: Any, carry: Any, items: Any) -> Line:
        """The step of one tile."""
        tile = functools.partial(tile_shapes, self.rows)
        return straighten(step, tile(0, shared), tile(0, carry), tile(1, items))


def tile_shapes(rows: int, axis: int, tree: Any) -> Any:
    """One step of one tile, as shapes, of a tree that has its rows along `axis`."""
    return jax.tree.map(lambda leaf: Struct((rows, *leaf.shape[axis + 1 :]), leaf.dtype), tree)


def _with_rows(size, axis, leaf):
    """`leaf` with rows of zeros along `axis`, up to `size`."""
    missing = size - leaf.shape[axis]
    return jnp.pad(leaf, [(0, missing if a == axis else 0) for a in range(leaf.ndim)]) if missing else leaf
