"""Weights of LSTMs with layer or weight normalisation, and of the LSTM with coupled gates.

cell                              names under the cell's scope                    TF1's shape           TF1's gates -> jaxrnn's
LayerNormBasicLSTMCell            layer_norm_basic_lstm_cell/kernel, bias         [D+H, 4H], [4H]       i,j,f,o -> i,f,g,o
LayerNormLSTMCell                 layer_norm_lstm_cell/... as of LSTMCell
WeightNormLSTMCell                wn_lstm_cell/wn_lstm_cell/... as of LSTMCell
                                  .../norm_0, norm_1                              [4H]                  i,j,f,o -> i,f,g,o
                                  .../projection/norm_0                           [P]
CoupledInputForgetGateLSTMCell    coupled_input_forget_gate_lstm_cell/W_0, B      [D+P, 3H], [3H]       j,f,o -> f,g,o
                                  .../W_F_diag, W_O_diag                          [H]
                                  .../W_P_0                                       [H, P]

With layer_norm each of the scopes input (not of the coupled one), transform, forget, output, state has gamma, beta [H];
forget_bias is added in every step. Then LayerNormBasicLSTMCell has no bias, and the others do not use theirs: it is dropped,
and written as zeros.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.contrib.coupled import CoupledInputForgetGateLSTMCell
from jaxrnn.contrib.normalized import LayerNormBasicLSTMCell, LayerNormLSTMCell
from jaxrnn.contrib.weight_norm import WeightNormLSTMCell
from jaxrnn.interop.arrays import inside, join, one_kernel, reorder, rows_of, split, under, zeros_like
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def read_lstm(cell, take):
        return framework().read(cell, lambda name: take(name.removeprefix("lstm_cell/")))

    def write_lstm(cell, params):
        return {name.removeprefix("lstm_cell/"): array for name, array in framework().write(cell, params).items()}

    def layer_norm(scope, whole, has_bias):
        """`whole(cell)` is the cell as a LayerNormLSTMCell."""

        def read(cell, take):
            take, cell = inside(scope, take), whole(cell)
            if not cell.layer_norm:
                return read_lstm(_plain(cell), take)
            params = read_lstm(_plain(cell), lambda name: zeros_like(take("kernel")[0]) if name == "bias" else take(name))
            del params["bias"]
            return {**params, **_read_norms(cell, take, _GATES)}

        def write(cell, params):
            cell = whole(cell)
            if not cell.layer_norm:
                return under(scope, write_lstm(_plain(cell), params))
            weights = write_lstm(_plain(cell), {**params, "bias": zeros_like(params["beta"])})
            if not has_bias:
                del weights["bias"]
            return under(scope, {**weights, **_write_norms(cell, params, _GATES)})

        return Layout(read, write)

    def read_weight_norm(cell, take):
        take = inside(_WEIGHT_NORM, take)
        params = read_lstm(cell.with_plain_weights, take)
        if cell.norm:
            params["kernel_gain"] = reorder(take("norm_0"), "ijfo", "ifjo")
            params["recurrent_kernel_gain"] = reorder(take("norm_1"), "ijfo", "ifjo")
        if cell.norm and cell.num_proj:
            params["projection_kernel_gain"] = take("projection/norm_0")
        return params

    def write_weight_norm(cell, params):
        weights = write_lstm(cell.with_plain_weights, params)
        if cell.norm:
            weights["norm_0"] = reorder(params["kernel_gain"], "ifgo", "igfo")
            weights["norm_1"] = reorder(params["recurrent_kernel_gain"], "ifgo", "igfo")
        if cell.norm and cell.num_proj:
            weights["projection/norm_0"] = params["projection_kernel_gain"]
        return under(_WEIGHT_NORM, weights)

    basic = layer_norm("layer_norm_basic_lstm_cell/", lambda cell: cell.without_dropout, has_bias=False)
    return {
        LayerNormBasicLSTMCell: basic,
        LayerNormLSTMCell: layer_norm("layer_norm_lstm_cell/", lambda cell: cell, has_bias=True),
        WeightNormLSTMCell: Layout(read_weight_norm, write_weight_norm),
        CoupledInputForgetGateLSTMCell: Layout(_read_coupled, _write_coupled),
    }


_GATES = ("input", "forget", "transform", "output")  # in jaxrnn's order
_WEIGHT_NORM, _COUPLED = "wn_lstm_cell/wn_lstm_cell/", "coupled_input_forget_gate_lstm_cell/"


def _plain(cell):
    """The LSTM whose weights a LayerNormLSTMCell has too; of one that does not use its bias, zeros are zeros in TF1."""
    forget_bias = 0.0 if cell.layer_norm else cell.forget_bias
    return LSTMCell(cell.num_units, cell.use_peepholes, num_proj=cell.num_proj, forget_bias=forget_bias)


def _read_norms(cell, take, gates):
    betas = {gate: take(f"{gate}/beta") for gate in gates}
    betas["forget"] = betas["forget"] + betas["forget"].dtype.type(cell.forget_bias)
    return {
        "gamma": join([take(f"{gate}/gamma") for gate in gates]),
        "beta": join(list(betas.values())),
        "state_gamma": take("state/gamma"),
        "state_beta": take("state/beta"),
    }


def _write_norms(cell, params, gates):
    weights = {"state/gamma": params["state_gamma"], "state/beta": params["state_beta"]}
    for name in ("gamma", "beta"):
        weights.update({f"{gate}/{name}": part for gate, part in zip(gates, split(params[name], len(gates)), strict=True)})
    weights["forget/beta"] = weights["forget/beta"] - weights["forget/beta"].dtype.type(cell.forget_bias)
    return weights


def _read_coupled(cell, take):
    take = inside(_COUPLED, take)
    params = rows_of(reorder(take("W_0"), "jfo", "fjo"), cell.output_size)
    if cell.layer_norm:
        params.update(_read_norms(cell, take, _GATES[1:]))
    else:
        j, f, o = split(take("B"), 3)
        params["bias"] = join([f + f.dtype.type(cell.forget_bias), j, o])
    if cell.use_peepholes:
        params["w_f_diag"], params["w_o_diag"] = take("W_F_diag"), take("W_O_diag")
    if cell.num_proj:
        params["projection_kernel"] = take("W_P_0")
    return params


def _write_coupled(cell, params):
    weights = {"W_0": reorder(one_kernel(params), "fgo", "gfo")}
    if cell.layer_norm:
        weights.update({"B": zeros_like(params["beta"]), **_write_norms(cell, params, _GATES[1:])})
    else:
        f, g, o = split(params["bias"], 3)
        weights["B"] = join([g, f - f.dtype.type(cell.forget_bias), o])
    if cell.use_peepholes:
        weights["W_F_diag"], weights["W_O_diag"] = params["w_f_diag"], params["w_o_diag"]
    if cell.num_proj:
        weights["W_P_0"] = params["projection_kernel"]
    return under(_COUPLED, weights)
