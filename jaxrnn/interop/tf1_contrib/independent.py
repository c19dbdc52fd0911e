"""Weights of cells whose recurrence is elementwise.

cell            names                                           TF1's shape                   TF1's gates -> jaxrnn's
SRUCell         sru_cell/kernel, bias                           [D, 4H], [2H]                 n,f,r,s; f,r
IndRNNCell      ind_rnn_cell/kernel_w, kernel_u, bias           [D, H], [1, H], [H]
IndyGRUCell     indy_gru_cell/gates/kernel_w, kernel_u, bias    [D, 2H], [1, 2H], [2H]        r,u -> r,u,-
                indy_gru_cell/candidate/kernel, kernel_u, bias  [D, H], [1, H], [H]           n -> -,-,n
IndyLSTMCell    indy_lstm_cell/kernel_w, kernel_u, bias         [D, 4H], [1, 4H], [4H]        i,j,f,o -> i,f,g,o; forget_bias is
                                                                                              added in every step
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.independent import IndRNNCell, IndyGRUCell, IndyLSTMCell, SRUCell
from jaxrnn.interop.arrays import inside, join, reorder, split, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {
        SRUCell: Layout(_read_sru, _write_sru),
        IndRNNCell: Layout(_read_ind_rnn, _write_ind_rnn),
        IndyGRUCell: Layout(_read_indy_gru, _write_indy_gru),
        IndyLSTMCell: Layout(_read_indy_lstm, _write_indy_lstm),
    }


def _read_sru(cell, take):
    return {name: take(f"sru_cell/{name}") for name in ("kernel", "bias")}


def _write_sru(cell, params):
    return under("sru_cell/", params)


def _read_ind_rnn(cell, take):
    return _read(inside("ind_rnn_cell/", take))


def _write_ind_rnn(cell, params):
    return under("ind_rnn_cell/", _write(params))


def _read_indy_gru(cell, take):
    gates = _read(inside("indy_gru_cell/gates/", take))
    candidate = _read(inside("indy_gru_cell/candidate/", take), kernel="kernel")
    return {name: join([gates[name], candidate[name]]) for name in gates}


def _write_indy_gru(cell, params):
    gates = {name: array[..., : 2 * cell.num_units] for name, array in params.items()}
    candidate = {name: array[..., 2 * cell.num_units :] for name, array in params.items()}
    return {
        **under("indy_gru_cell/gates/", _write(gates)),
        **under("indy_gru_cell/candidate/", _write(candidate, kernel="kernel")),
    }


def _read_indy_lstm(cell, take):
    params = {name: reorder(array, "ijfo", "ifjo") for name, array in _read(inside("indy_lstm_cell/", take)).items()}
    return {**params, "bias": _with_forget_bias(params["bias"], cell.forget_bias)}


def _write_indy_lstm(cell, params):
    params = {**params, "bias": _with_forget_bias(params["bias"], -cell.forget_bias)}
    return under("indy_lstm_cell/", _write({name: reorder(array, "ifgo", "igfo") for name, array in params.items()}))


def _read(take, kernel="kernel_w"):
    return {"kernel": take(kernel), "recurrent_kernel": take("kernel_u")[0], "bias": take("bias")}


def _write(params, kernel="kernel_w"):
    return {kernel: params["kernel"], "kernel_u": params["recurrent_kernel"][None], "bias": params["bias"]}


def _with_forget_bias(bias, forget_bias):
    """A bias in the order i, f, g, o with forget_bias added."""
    i, f, g, o = split(bias, 4)
    return join([i, f + f.dtype.type(forget_bias), g, o])
