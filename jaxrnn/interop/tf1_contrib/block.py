"""Weights of the cells that TF1 has as one op a step.

cell                       names                                                         TF1's shape
LSTMBlockCell              lstm_cell/... as of LSTMCell
LSTMBlockFusedCell         lstm_fused_cell/... as of LSTMCell
CudnnCompatibleLSTMCell    cudnn_compatible_lstm_cell/... as of LSTMCell
GRUBlockCell               gru_cell/w_ru, b_ru                                           [D+H, 2H], [2H]
                           gru_cell/w_c, b_c                                             [D+H, H], [H]
GRUBlockCellV2             gru_cell/... as of GRUCell
CudnnCompatibleGRUCell     cudnn_compatible_gru_cell/gates/kernel, bias                  [D+H, 2H], [2H]
                           cudnn_compatible_gru_cell/candidate/input_projection/...      [D, H], [H]
                           cudnn_compatible_gru_cell/candidate/hidden_projection/...     [H, H], [H]
FusedRNNCellAdaptor, TimeReversedFusedRNN add none to their cell's.

A layer over time stands in the caller's scope, which is "rnn/" here.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.block import (
    CudnnCompatibleGRUCell,
    CudnnCompatibleLSTMCell,
    GRUBlockCell,
    GRUBlockCellV2,
    LSTMBlockCell,
)
from jaxrnn.contrib.fused import FusedRNNCellAdaptor, LSTMBlockFusedCell, TimeReversedFusedRNN
from jaxrnn.interop.arrays import inside, join, one_kernel, rows_of, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def named(other: str, name: str, has: str = "core") -> Layout:
        """The names of the cell that it has, `name` in the place of `other` at the front."""
        spell = lambda key: name + key.removeprefix(other)
        read = lambda cell, take: framework().read(getattr(cell, has), lambda key: take(spell(key)))
        write = lambda cell, params: {spell(key): array for key, array in framework().write(getattr(cell, has), params).items()}
        return Layout(read, write)

    return {
        LSTMBlockCell: named("", ""),
        LSTMBlockFusedCell: named("lstm_cell/", "lstm_fused_cell/", "cell"),
        CudnnCompatibleLSTMCell: named("lstm_cell/", "cudnn_compatible_lstm_cell/"),
        GRUBlockCell: Layout(_read_gru, _write_gru),
        GRUBlockCellV2: named("", ""),
        CudnnCompatibleGRUCell: Layout(_read_cudnn_gru, _write_cudnn_gru),
        FusedRNNCellAdaptor: named("", "", "cell"),
        TimeReversedFusedRNN: named("", "", "cell"),
    }


def _read_gru(cell, take):
    take = inside("gru_cell/", take)
    kernels = rows_of(join([take("w_ru"), take("w_c")]), cell.num_units)
    return {**kernels, "bias": join([take("b_ru"), take("b_c")])}


def _write_gru(cell, params):
    kernel, bias, gates = one_kernel(params), params["bias"], 2 * cell.num_units
    weights = {"w_ru": kernel[:, :gates], "b_ru": bias[:gates], "w_c": kernel[:, gates:], "b_c": bias[gates:]}
    return under("gru_cell/", weights)


_GRU, _INPUTS, _STATE = "cudnn_compatible_gru_cell/", "candidate/input_projection/", "candidate/hidden_projection/"


def _read_cudnn_gru(cell, take):
    take = inside(_GRU, take)
    gates = rows_of(take("gates/kernel"), cell.num_units)
    return {
        "kernel": join([gates["kernel"], take(_INPUTS + "kernel")]),
        "recurrent_kernel": join([gates["recurrent_kernel"], take(_STATE + "kernel")]),
        "bias": join([take("gates/bias"), take(_INPUTS + "bias")]),
        "recurrent_bias": take(_STATE + "bias"),
    }


def _write_cudnn_gru(cell, params):
    gates, candidate = (lambda array: array[..., : 2 * cell.num_units]), (lambda array: array[..., 2 * cell.num_units :])
    weights = {
        "gates/kernel": gates(one_kernel(params)),
        "gates/bias": gates(params["bias"]),
        **under(_INPUTS, {"kernel": candidate(params["kernel"]), "bias": candidate(params["bias"])}),
        **under(_STATE, {"kernel": candidate(params["recurrent_kernel"]), "bias": params["recurrent_bias"]}),
    }
    return under(_GRU, weights)
