"""Weights of cells of one or two gates.

cell                   names                                                TF1's shape        TF1's gates -> jaxrnn's
UGRNNCell              ugrnn_cell/kernel, bias                              [D+H, 2H], [2H]    g, c
IntersectionRNNCell    intersection_rnn_cell/kernel, bias                   [2H, 4H], [4H]     g, c, d, y
                       intersection_rnn_cell/in_projection/kernel, bias     [D, H], [H]        with num_in_proj

TF1 adds forget_bias in every step, to g and d.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.gated import IntersectionRNNCell, UGRNNCell
from jaxrnn.interop.arrays import inside, join, one_kernel, rows_of, split, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {
        UGRNNCell: Layout(_read_ugrnn, _write_ugrnn),
        IntersectionRNNCell: Layout(_read_intersection, _write_intersection),
    }


def _read_ugrnn(cell, take):
    take = inside("ugrnn_cell/", take)
    g, c = split(take("bias"), 2)
    return {**rows_of(take("kernel"), cell.num_units), "bias": join([g + g.dtype.type(cell.forget_bias), c])}


def _write_ugrnn(cell, params):
    g, c = split(params["bias"], 2)
    return under("ugrnn_cell/", {"kernel": one_kernel(params), "bias": join([g - g.dtype.type(cell.forget_bias), c])})


_PROJECTION = "in_projection"


def _read_intersection(cell, take):
    take = inside("intersection_rnn_cell/", take)
    g, c, d, y = split(take("bias"), 4)
    forget_bias = g.dtype.type(cell.forget_bias)
    params = {**rows_of(take("kernel"), cell.num_units), "bias": join([g + forget_bias, c, d + forget_bias, y])}
    if cell.num_in_proj:
        params[_PROJECTION] = {name: take(f"{_PROJECTION}/{name}") for name in ("kernel", "bias")}
    return params


def _write_intersection(cell, params):
    g, c, d, y = split(params["bias"], 4)
    forget_bias = g.dtype.type(cell.forget_bias)
    weights = {"kernel": one_kernel(params), "bias": join([g - forget_bias, c, d - forget_bias, y])}
    if cell.num_in_proj:
        weights.update(under(f"{_PROJECTION}/", params[_PROJECTION]))
    return under("intersection_rnn_cell/", weights)
