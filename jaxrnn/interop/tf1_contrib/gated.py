"""Weights of cells of one or two gates.

cell         names                      TF1's shape        TF1's gates -> jaxrnn's
UGRNNCell    ugrnn_cell/kernel, bias    [D+H, 2H], [2H]    g, c; forget_bias is added in every step
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.gated import UGRNNCell
from jaxrnn.interop.arrays import inside, join, one_kernel, rows_of, split, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {UGRNNCell: Layout(_read_ugrnn, _write_ugrnn)}


def _read_ugrnn(cell, take):
    take = inside("ugrnn_cell/", take)
    g, c = split(take("bias"), 2)
    return {**rows_of(take("kernel"), cell.num_units), "bias": join([g + g.dtype.type(cell.forget_bias), c])}


def _write_ugrnn(cell, params):
    g, c = split(params["bias"], 2)
    return under("ugrnn_cell/", {"kernel": one_kernel(params), "bias": join([g - g.dtype.type(cell.forget_bias), c])})
