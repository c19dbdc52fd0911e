"""Weights of the grids of `tf.contrib.grid_rnn`.

cell                        names under the class's name, as in Grid2LSTMCell/        TF1's shape
GridRNNCell,                project_m_{d}, project_c_{d}                              [D / inputs, H]
Grid1BasicRNNCell,          recurrent/cell_{d}/... (the inner cell's)                 for inputs of size (n-1) H
Grid2BasicRNNCell,          non_recurrent/cell_{d}/fully_connected/weights, biases    [n H, H], [H]
Grid1BasicLSTMCell, ...

d is the dimension, counted from 0. If tied, there is no cell_{d}/. TF1 makes a project_c of every input dimension of a grid of
LSTMs and does not use that of a non-recurrent one, which is not read and is written as zeros. The inner cell of the grids with
BasicLSTM in their name is written as lstm_cell.
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from jaxrnn.contrib import grid_rnn_cells
from jaxrnn.contrib.grid_rnn import GridRNNCell
from jaxrnn.interop.arrays import inside, under, zeros_like
from jaxrnn.interop.weights import Framework, Layout

_READY_MADE = grid_rnn_cells.ReadyMadeGrid.__subclasses__()
_OF_NON_RECURRENT = {"kernel": "fully_connected/weights", "bias": "fully_connected/biases"}


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def read(cell, take):
        take, grid = inside(f"{type(cell).__name__}/", take), getattr(cell, "grid", cell)
        params = {f"project_m_{d}": take(f"project_m_{d}") for d in grid.input_dims}
        params.update({f"project_c_{d}": take(f"project_c_{d}") for d in grid.memory_dims})
        for d in range(grid.num_dims):
            its = inside(_scope(grid, d), take)
            if d in grid.recurrent_dims:
                params[grid.part(d)] = framework().read(grid.cell, its)
            else:
                params[grid.part(d)] = {ours: its(theirs) for ours, theirs in _OF_NON_RECURRENT.items()}
        return params

    def write(cell, params):
        grid = getattr(cell, "grid", cell)
        weights = {f"project_m_{d}": params[f"project_m_{d}"] for d in grid.input_dims}
        if len(jax.tree.leaves(grid.cell.state_size)) == 2:
            weights.update({f"project_c_{d}": zeros_like(params[f"project_m_{d}"]) for d in grid.input_dims})
        weights.update({f"project_c_{d}": params[f"project_c_{d}"] for d in grid.memory_dims})
        for d in range(grid.num_dims):
            p = params[grid.part(d)]
            own = {theirs: p[ours] for ours, theirs in _OF_NON_RECURRENT.items()} if d in grid.non_recurrent_dims else None
            weights.update(under(_scope(grid, d), own or framework().write(grid.cell, p)))
        return under(f"{type(cell).__name__}/", weights)

    return dict.fromkeys((GridRNNCell, *_READY_MADE), Layout(read, write))


def _scope(grid, d):
    kind = "recurrent" if d in grid.recurrent_dims else "non_recurrent"
    return f"{kind}/" if grid.tied else f"{kind}/cell_{d}/"
