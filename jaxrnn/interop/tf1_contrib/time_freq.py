"""Weights of the LSTM over time and frequency.

cell                names under time_freq_lstm_cell/       TF1's shape        TF1's gates -> jaxrnn's
TimeFreqLSTMCell    W_0                                    [F+2H, 4H]         i, j, f, o -> i, f, g, o
                    B                                      [4H]               forget_bias is added in every step
                    W_F_diag, W_I_diag, W_O_diag           [H]

The rows of W_0 are for the window, for the state in time, for the window before. With num_unit_shards > 1 TF1 has it in pieces
W_0, W_1, ...: join them along their rows first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxrnn.contrib.time_freq import TimeFreqLSTMCell
from jaxrnn.interop.arrays import inside, join, reorder, split, under
from jaxrnn.interop.weights import Framework, Layout

_DIAGONALS = {"w_f_diag": "W_F_diag", "w_i_diag": "W_I_diag", "w_o_diag": "W_O_diag"}


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {TimeFreqLSTMCell: Layout(_read, _write)}


def three_kernels(kernel: Any, num_units: int) -> dict[str, Any]:
    """Of the rows for the window, for the state in time, for the window before."""
    names = ("kernel", "recurrent_kernel", "frequency_kernel")
    rows = (kernel[: -2 * num_units], kernel[-2 * num_units : -num_units], kernel[-num_units:])
    return dict(zip(names, rows, strict=True))


def _read(cell, take):
    take = inside("time_freq_lstm_cell/", take)
    i, j, f, o = split(take("B"), 4)
    params = three_kernels(reorder(take("W_0"), "ijfo", "ifjo"), cell.num_units)
    params["bias"] = join([i, f + f.dtype.type(cell.forget_bias), j, o])
    return params | {ours: take(theirs) for ours, theirs in _DIAGONALS.items() if cell.use_peepholes}


def _write(cell, params):
    i, f, g, o = split(params["bias"], 4)
    kernel = join([params[name] for name in ("kernel", "recurrent_kernel", "frequency_kernel")], axis=0)
    weights = {"W_0": reorder(kernel, "ifgo", "igfo"), "B": join([i, g, f - f.dtype.type(cell.forget_bias), o])}
    weights.update({theirs: params[ours] for ours, theirs in _DIAGONALS.items() if cell.use_peepholes})
    return under("time_freq_lstm_cell/", weights)
