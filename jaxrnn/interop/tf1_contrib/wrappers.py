"""Weights of wrappers with gates or attention of their own.

cell                     names                                                TF1's shape
HighwayWrapper           carry_w, carry_b, transform_w, transform_b           [D, D], [D]
AttentionCellWrapper     attention_cell_wrapper/kernel, bias                  [D+A, I], [I]
                         .../attention/attn_w, attn_v, kernel, bias           [1, 1, A, Q], [Q], [S, Q], [Q]
                         .../attn_output_projection/kernel, bias              [H+A, A], [A]

AttentionCellWrapper has its cell's names in its own scope. HighwayWrapper has no scope: its names stand beside its cell's, so
TF1 has no highway around another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxrnn import check
from jaxrnn.contrib.wrappers import AttentionCellWrapper, HighwayWrapper
from jaxrnn.interop.arrays import inside, one_kernel, rows_of, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def read_highway(cell, take):
        gates = {gate: {"kernel": take(f"{gate}_w"), "bias": take(f"{gate}_b")} for gate in _gates(cell)}
        return {"cell": framework().read(cell.cell, take), **gates}

    def write_highway(cell, params):
        weights = framework().write(cell.cell, params["cell"])
        check.one_highway(cell, weights)
        for gate in _gates(cell):
            weights |= {f"{gate}_w": params[gate]["kernel"], f"{gate}_b": params[gate]["bias"]}
        return weights

    def read_attention(cell, take):
        take = inside("attention_cell_wrapper/", take)
        attention = {name: take(f"attention/{name}") for name in ("attn_w", "attn_v", "kernel", "bias")}
        return {
            "cell": framework().read(cell.cell, take),
            **rows_of(take("kernel"), cell.output_size),
            "bias": take("bias"),
            "attention": attention | {"attn_w": attention["attn_w"][0, 0]},
            "projection": {name: take(f"attn_output_projection/{name}") for name in ("kernel", "bias")},
        }

    def write_attention(cell, params):
        attention = params["attention"]
        weights = {
            "kernel": one_kernel(params),
            "bias": params["bias"],
            **under("attention/", attention | {"attn_w": attention["attn_w"][None, None]}),
            **under("attn_output_projection/", params["projection"]),
            **framework().write(cell.cell, params["cell"]),
        }
        return under("attention_cell_wrapper/", weights)

    return {
        HighwayWrapper: Layout(read_highway, write_highway),
        AttentionCellWrapper: Layout(read_attention, write_attention),
    }


def _gates(cell: Any) -> list[str]:
    return ["carry"] if cell.couple_carry_transform_gates else ["carry", "transform"]
