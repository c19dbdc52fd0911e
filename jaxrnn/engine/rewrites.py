"""Tunings as cells: four functions made of four functions, with the same params and the same numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.engine.autodiff import tangent_of
from jaxrnn.engine.step import step
from jaxrnn.keys import StepKey
from jaxrnn.typing import Dim, FourFunctions, Inputs, Outputs, Params, State, Tree


class Rewritten:
    """A cell for B rows, some of whose functions are others; as it is here, the cell itself."""

    def __init__(self, cell: FourFunctions, rows: Dim = None) -> None:
        self.cell, self.rows = cell, rows

    def __repr__(self) -> str:
        """The cell's, for error texts."""
        return repr(self.cell)

    def project(self, params: Params, inputs: Inputs) -> Tree:
        return self.cell.project(params, inputs)

    def recur(self, params: Params, state: State) -> Tree:
        return self.cell.recur(params, state)

    def gates(self, params: Params, z: Tree, r: Tree, state: State) -> Tree:
        return self.cell.gates(params, z, r, state)

    def combine(self, params: Params, g: Tree, state: State) -> tuple[Outputs, State]:
        return self.cell.combine(params, g, state)

    def begin(self, tree: Tree, axis: int = 0) -> Tree:
        """Its own form of the cell's state, inputs or z, with rows along `axis`."""
        return tree

    def end(self, state: State) -> Tree:
        """The cell's state, from its own form."""
        return state


class Keyed(Rewritten):
    """A cell whose inputs are `(inputs, key)`, for one whose `project` draws."""

    def __call__(self, params: Params, inputs: tuple[Inputs, StepKey], state: State) -> tuple[Outputs, State]:
        return step(params, inputs[0], state, inputs[1], cell=self.cell)

    def project(self, params: Params, inputs: tuple[Inputs, StepKey]) -> Tree:
        project: Any = self.cell.project
        return project(params, inputs[0], key=inputs[1])


class RowByRow(Rewritten):
    """Its recurrent product of B rows as B products of one; of more rows, those of all steps, as it is."""

    def recur(self, params: Params, state: State) -> Tree:
        if jax.tree.leaves(state)[0].shape[0] != self.rows:
            return self.cell.recur(params, state)
        row = lambda i: jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, i, i + 1), state)
        return jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves), *(self.cell.recur(params, row(i)) for i in range(self.rows))
        )


class Halves(Rewritten):
    """Inputs, z, r, gates and state are those of the first half of the rows, and those of the second half.

    A step is a matrix product, then elementwise work on it, and it waits for the step before. A CPU's cores share the product;
    they are slow to come to it, and have none of the elementwise work. Two halves do not wait for each other: one can have its
    product while the other has its gates.
    """

    def begin(self, tree: Tree, axis: int = 0) -> Tree:
        middle = self.rows // 2
        rows = lambda first, stop: jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, first, stop, axis=axis), tree)
        return rows(0, middle), rows(middle, None)

    def end(self, state: State) -> Tree:
        return jax.tree.map(lambda *halves: jnp.concatenate(halves), *state)

    def project(self, params: Params, inputs: Inputs) -> Tree:
        return tuple(self.cell.project(params, half) for half in inputs)

    def recur(self, params: Params, state: State) -> Tree:
        return tuple(self.cell.recur(params, half) for half in state)

    def gates(self, params: Params, z: Tree, r: Tree, state: State) -> Tree:
        return tuple(self.cell.gates(params, *each) for each in zip(z, r, state, strict=True))

    def combine(self, params: Params, g: Tree, state: State) -> tuple[Outputs, State]:
        outputs, new = zip(*(self.cell.combine(params, *each) for each in zip(g, state, strict=True)), strict=True)
        return self.end(outputs), new


def recur_tangent(cell: FourFunctions, params: Params, transposed: bool) -> Callable:
    """`(state, .state) -> r(.state)` at every step of a loop.

    The backward loop multiplies by the transpose of the recurrent matrices. If `transposed` it reads copies that were made in
    front of it, and transposes them back, where the compiler makes one product of the two.
    """
    leaves, tree = jax.tree.flatten(params)
    matrices = [transposed and leaf.ndim == 2 for leaf in leaves]
    copies = [lax.optimization_barrier(leaf.T) if m else leaf for leaf, m in zip(leaves, matrices, strict=True)]

    def tangent(state, dstate):
        params = tree.unflatten([leaf.T if m else leaf for leaf, m in zip(copies, matrices, strict=True)])
        return tangent_of(functools.partial(cell.recur, params), (state,), (dstate,))

    return tangent
