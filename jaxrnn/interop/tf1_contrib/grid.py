"""Weights of the grids of time and frequency.

cell                         names                                                    TF1's shape    TF1's gates -> jaxrnn's
GridLSTMCell                 grid_lstm_cell/W_f_{b}_0, W_t_{b}_0                      [F+2H, 4H]     i, j, f, o -> i, f, g, o
                             grid_lstm_cell/B_f_{b}, B_t_{b}                          [4H]
                             grid_lstm_cell/W_{F,I,O}_diag_{freqf,freqt}_{b}          [H]
                             grid_lstm_cell/W_{F,I,O}_diag_{timef,timet}_{b}          [H]
BidirectionalGridLSTMCell    bidirectional_grid_lstm_cell/fwd/..., bwd/...            as above

b is the block, counted from 0. W_f and B_f are the frequency LSTM's, W_t and B_t the time LSTM's; here they stand side by side.
The rows are for the window, for the state in time, for the state in frequency. forget_bias is added in every step. Coupled
gates have no f. Shared weights have no W_t, B_t, timef, timet. With num_unit_shards > 1 TF1 has W_f_{b} in pieces W_f_{b}_0,
W_f_{b}_1, ...: join them along their rows first.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.bidirectional_grid import BidirectionalGridLSTMCell
from jaxrnn.contrib.grid import GridLSTMCell, gate_letters, lstms, peepholes
from jaxrnn.interop.arrays import inside, join, reorder, split, under
from jaxrnn.interop.tf1_contrib.time_freq import three_kernels
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {GridLSTMCell: Layout(_read, _write), BidirectionalGridLSTMCell: Layout(_read_both, _write_both)}


def _read(cell, take):
    return _read_blocks(cell, inside("grid_lstm_cell/", take))


def _write(cell, params):
    return under("grid_lstm_cell/", _write_blocks(cell, params))


def _read_both(cell, take):
    return {way: _read_blocks(cell, inside(f"bidirectional_grid_lstm_cell/{way}/", take)) for way in ("fwd", "bwd")}


def _write_both(cell, params):
    ways = (under(f"{way}/", _write_blocks(cell, params[way])) for way in ("fwd", "bwd"))
    return under("bidirectional_grid_lstm_cell/", {name: array for way in ways for name, array in way.items()})


def _read_blocks(cell, take):
    return {f"block_{b}": _read_block(cell, b, take) for b in range(len(cell.num_frequency_blocks))}


def _read_block(cell, b, take):
    ours, theirs = gate_letters(cell), _their_letters(cell)
    kernel = join([reorder(take(f"W_{lstm[0]}_{b}_0"), theirs, ours) for lstm in lstms(cell)])
    bias = join([reorder(take(f"B_{lstm[0]}_{b}"), theirs, ours) for lstm in lstms(cell)])
    params = {**three_kernels(kernel, cell.num_units), "bias": _with_forget_bias(cell, bias, 1)}
    return params | {name: take(_their_peephole(name, b)) for name in peepholes(cell)}


def _write_blocks(cell, params):
    ours, theirs, weights = gate_letters(cell), _their_letters(cell), {}
    for b in range(len(cell.num_frequency_blocks)):
        p = params[f"block_{b}"]
        kernel = join([p[name] for name in ("kernel", "recurrent_kernel", "frequency_kernel")], axis=0)
        bias, count = _with_forget_bias(cell, p["bias"], -1), len(lstms(cell))
        for lstm, w, b_of_lstm in zip(lstms(cell), split(kernel, count), split(bias, count), strict=True):
            weights[f"W_{lstm[0]}_{b}_0"] = reorder(w, ours, theirs)
            weights[f"B_{lstm[0]}_{b}"] = reorder(b_of_lstm, ours, theirs)
        weights.update({_their_peephole(name, b): p[name] for name in peepholes(cell)})
    return weights


def _with_forget_bias(cell, bias, sign):
    gates = gate_letters(cell) * len(lstms(cell))
    parts = zip(gates, split(bias, len(gates)), strict=True)
    return join([part + part.dtype.type(sign * cell.forget_bias) if gate == "f" else part for gate, part in parts])


def _their_letters(cell):
    """TF1's order of a kernel's columns; its j is g here."""
    return "igo" if cell.couple_input_forget_gates else "igfo"


def _their_peephole(name, b):
    """w_i_diag_freqf -> W_I_diag_freqf_0."""
    _, gate, rest = name.split("_", 2)
    return f"W_{gate.upper()}_{rest}_{b}"
