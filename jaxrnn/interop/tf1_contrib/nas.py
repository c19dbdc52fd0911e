"""Weights of the cell that a search has found.

cell       names                                TF1's shape            TF1's gates -> jaxrnn's
NASCell    nas_cell/kernel, recurrent_kernel    [D, 8H], [P, 8H]       0,1,2,3,4,5,6,7 -> 0,2,5,7,4,6,1,3
           nas_cell/bias                        [8H] with use_bias     the same
           nas_cell/projection_weights          [H, P] with num_proj
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.nas import NASCell
from jaxrnn.interop.arrays import inside, reorder, under
from jaxrnn.interop.weights import Framework, Layout

_TF1, _OURS = "01234567", "02574613"
_PROJECTION = "projection_weights"


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {NASCell: Layout(_read, _write)}


def _read(cell, take):
    take = inside("nas_cell/", take)
    params = {name: reorder(take(name), _TF1, _OURS) for name in _blocks(cell)}
    return {**params, "projection_kernel": take(_PROJECTION)} if cell.num_proj else params


def _write(cell, params):
    weights = {name: reorder(params[name], _OURS, _TF1) for name in _blocks(cell)}
    return under("nas_cell/", {**weights, _PROJECTION: params["projection_kernel"]} if cell.num_proj else weights)


def _blocks(cell):
    return ("kernel", "recurrent_kernel", "bias") if cell.use_bias else ("kernel", "recurrent_kernel")
