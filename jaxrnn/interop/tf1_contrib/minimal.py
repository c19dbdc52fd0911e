"""Weights of cells whose candidate is made of the inputs alone.

cell              names                              TF1's shape
MinimalRNNCell    minimal_rnn_cell/kernel, bias      [D+2H, H], [H]       rows of the inputs, of the candidate, of the state
CFNCell           cfn_cell/kernel, bias              [D, 3H], [2H]
                  cfn_cell/recurrent_kernel          [H, 2H]
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.minimal import CFNCell, MinimalRNNCell
from jaxrnn.interop.arrays import inside, join, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {MinimalRNNCell: Layout(_read_minimal, _write_minimal), CFNCell: Layout(_read_cfn, _write_cfn)}


def _read_minimal(cell, take):
    take = inside("minimal_rnn_cell/", take)
    kernel, h = take("kernel"), cell.num_units
    rows = {"kernel": kernel[: -2 * h], "gate_kernel": kernel[-2 * h : -h], "recurrent_kernel": kernel[-h:]}
    return {**rows, "bias": take("bias")}


def _write_minimal(cell, params):
    kernel = join([params[name] for name in ("kernel", "gate_kernel", "recurrent_kernel")], axis=0)
    return under("minimal_rnn_cell/", {"kernel": kernel, "bias": params["bias"]})


def _read_cfn(cell, take):
    return {name: take(f"cfn_cell/{name}") for name in ("kernel", "recurrent_kernel", "bias")}


def _write_cfn(cell, params):
    return under("cfn_cell/", params)
