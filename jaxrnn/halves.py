"""A batch in two halves that go side by side through one loop.

A step is a matrix product, then elementwise work on it, and it waits for the step before. A CPU's cores share the product; they
are slow to come to it, and have none of the elementwise work. Two halves of the batch do not wait for each other, so that one
can have its product while the other has its gates: a training step takes 5 to 20 % less on two cores.

That is so for cells whose gates are more work than their state, where XLA shares out the half's product, as it does with
weights of some size; where the weights, which are read twice now, are in the cache; and where a step's gates are not so many
that XLA shares out their work too. Measured on two cores, jax 0.10.2 and 0.12.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxrnn.tangents import several_devices
from jaxrnn.tape import Reads, Run
from jaxrnn.traced import read_leaves

_ROWS = 16  # or more
_WEIGHTS = range(2**16 + 1, 2**21)
_GATES = range(96_000)


def halves(run: Run, reads: Reads) -> list[tuple[Run, Reads]]:
    """The run as two that have half of the rows each, where that is faster; else as it is."""
    rows = jax.tree.leaves(reads.state)[0].shape[0]
    if not _worth_it(run, reads, rows):
        return [(run, reads)]
    middle = rows // 2
    return [_with_rows(run, reads, *half) for half in ((0, middle), (middle, rows - middle))]


def scan_together(loops: Sequence[tuple[Callable, Any, Any]], reverse: bool = False) -> list[tuple[Any, Any]]:
    """Scans of equally many steps, each `(one_step, carry, items)`, as one loop: `(carry, stacked)` of each."""
    steps, carries, items = zip(*loops, strict=True)

    def all_steps(carries, items):
        results = [step(carry, item) for step, carry, item in zip(steps, carries, items, strict=True)]
        return tuple(carry for carry, _ in results), [stacked for _, stacked in results]

    return list(zip(*lax.scan(all_steps, carries, items, reverse=reverse), strict=True))


def joined(parts: Sequence[tuple[Run, Reads]], trees: Sequence[Any]) -> Any:
    """What each part of the batch has, leaves `[B / 2, ...]`, as one tree, the rows as they lie."""
    trees = [run.sequence.as_they_lie(tree) for (run, _), tree in zip(parts, trees, strict=True)]
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def _with_rows(run: Run, reads: Reads, first: int, count: int) -> tuple[Run, Reads]:
    """These rows alone. Arrays over the whole sequence stay as they are: their rows are cut out chunk by chunk."""
    sequence = dataclasses.replace(run.sequence, rows=(first, count))
    return dataclasses.replace(run, sequence=sequence), reads.of_rows(sequence.cut_rows)


def _worth_it(run: Run, reads: Reads, rows: Any) -> bool:
    if jax.default_backend() != "cpu" or several_devices() or is_symbolic_dim(rows) or run.keeps != "gates":
        return False
    recur = lambda params: run.cell.recur(params, reads.state)
    gates = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(recur, reads.params)))
    weights = sum(leaf.size for leaf in read_leaves(recur, reads.params) if leaf.ndim == 2)
    many_gates = gates >= 2 * jax.tree.leaves(reads.state)[0].size
    return rows >= _ROWS and many_gates and gates in _GATES and weights in _WEIGHTS
