"""Weights of the phased LSTM.

cell              names under phased_lstm_cell/       TF1's shape               TF1's gates -> jaxrnn's
PhasedLSTMCell    mask_gates/kernel, bias             [D+H(+H), 2H], [2H]       i,f -> i,f,-,-
                  new_input/kernel, bias              [D+H, H], [H]             g -> -,-,g,-
                  output_gate/kernel, bias            [D+H(+H), H], [H]         o -> -,-,-,o
                  period, phase, ratio_on             [H]

With use_peepholes the kernels of mask_gates and output_gate have H more rows, for the cell.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.phased import PhasedLSTMCell
from jaxrnn.interop.arrays import inside, join, one_kernel, rows_of, under
from jaxrnn.interop.weights import Framework, Layout

_GATES = ("mask_gates", "new_input", "output_gate")
_CYCLE = ("period", "phase", "ratio_on")
_PEEPHOLES = {"mask_gates": "peephole_kernel", "output_gate": "output_peephole_kernel"}


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {PhasedLSTMCell: Layout(_read, _write)}


def _read(cell, take):
    take, h = inside("phased_lstm_cell/", take), cell.num_units
    kernels = {gates: take(f"{gates}/kernel") for gates in _GATES}
    params = {name: take(name) for name in _CYCLE}
    if cell.use_peepholes:
        params.update({name: kernels[gates][-h:] for gates, name in _PEEPHOLES.items()})
        kernels.update({gates: kernels[gates][:-h] for gates in _PEEPHOLES})
    bias = join([take(f"{gates}/bias") for gates in _GATES])
    return {**rows_of(join(list(kernels.values())), h), "bias": bias, **params}


def _write(cell, params):
    h, weights = cell.num_units, {}
    columns = dict(zip(_GATES, (slice(2 * h), slice(2 * h, 3 * h), slice(3 * h, None)), strict=True))
    for gates, part in columns.items():
        kernel = one_kernel(params)[:, part]
        if cell.use_peepholes and gates in _PEEPHOLES:
            kernel = join([kernel, params[_PEEPHOLES[gates]]], axis=0)
        weights.update({f"{gates}/kernel": kernel, f"{gates}/bias": params["bias"][part]})
    return under("phased_lstm_cell/", {**weights, **{name: params[name] for name in _CYCLE}})
