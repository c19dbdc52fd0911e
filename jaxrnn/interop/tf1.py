"""Weights of TensorFlow 1.

    cell                       names under the cell's scope               TF1's shape         TF1's gates -> jaxrnn's
    BasicRNNCell               basic_rnn_cell/kernel, bias                [D+H, H], [H]
    LSTMCell                   lstm_cell/kernel, bias                     [D+P, 4H], [4H]     i,j,f,o -> i,f,g,o
                               lstm_cell/w_i_diag, w_f_diag, w_o_diag     [H]
                               lstm_cell/projection/kernel                [H, P]
    GRUCell                    gru_cell/gates/kernel, bias                [D+H, 2H], [2H]     r,u -> r,u,-
                               gru_cell/candidate/kernel, bias            [D+H, H], [H]       n -> -,-,n
    MultiRNNCell               multi_rnn_cell/cell_0/..., cell_1/...
    InputProjectionWrapper     input_projection_wrapper/kernel, bias      [D, P], [P]
    OutputProjectionWrapper    output_projection_wrapper/kernel, bias     [H, P], [P]
    EmbeddingWrapper           embedding_wrapper/embedding                [V, E]
    a pair of cells            fw/..., bw/...

The last three wrappers have their cell's names in their own scope, `input_projection_wrapper/gru_cell/...`; DropoutWrapper and
ResidualWrapper add none. The cells of `jaxrnn.contrib`, and attention, are in `jaxrnn.interop.tf1_contrib`. Names and orders
are those of the variables that `tf.compat.v1` of TF 2.15.1 makes; those of the three wrappers, which it lacks, and of `contrib`
are TF 1.15's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.cells.wrappers import EmbeddingWrapper, InputProjectionWrapper, OutputProjectionWrapper
from jaxrnn.interop.arrays import inside, join, one_kernel, reorder, rows_of, split, under
from jaxrnn.interop.parts import directions, layers, numbered
from jaxrnn.interop.tf1_contrib import layouts as contrib_layouts
from jaxrnn.interop.weights import Framework, Layout, outside


def from_tf1(cell: Any, variables: Mapping[str, Any]) -> Any:
    """A cell's params from the values of TF1's variables.

    TF1 multiplies the inputs and the state, side by side, with one kernel; jaxrnn has a kernel for each. TF1's LSTM has its
    gates in the order i, j, f, o and adds `forget_bias` in every step:

        kernel, recurrent_kernel = the rows of TF1's kernel for the inputs, for the state
        i, f, g, o = TF1's i, f, j, o              in kernels and bias
        bias of f = TF1's bias of f + cell.forget_bias

    Args:
      cell: the cell that the variables were made by, with the same hyperparameters; `(cell_fw, cell_bw)` for
        `bidirectional_dynamic_rnn` and its kin. A TF1 GRU is `GRUCell(reset_after=False)`, a TF1 BasicLSTMCell an `LSTMCell`.
      variables: a mapping of names to arrays `{"rnn/lstm_cell/kernel": [D + P, 4H], ...}`, of this cell only. Any scope may
        stand in front, the same for all (but a memory_layer of attention has its own), and `:0` behind. Numpy arrays are
        copied; JAX's may be traced, and gradients with respect to them are TF1's.

    Returns:
      The params, as `cell.init` makes them; a pair of them for a pair of cells. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if TF1 has no such cell, variables is not a mapping, or one of its arrays is not floating.
      ValueError: if TF1 has the cell but not with that option, or names or shapes are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> rng = np.random.default_rng(0)
      >>> variables = {"model/rnn/lstm_cell/kernel:0": rng.normal(size=(3 + 5, 4 * 5)).astype(np.float32),
      ...              "model/rnn/lstm_cell/bias:0": np.zeros(4 * 5, np.float32)}
      >>> params = jaxrnn.interop.from_tf1(jaxrnn.LSTMCell(num_units=5), variables)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape, float(params["bias"][5])
      ((3, 20), (5, 20), 1.0)
    """
    return _TF1.from_weights(cell, variables)


def to_tf1(cell: Any, params: Any) -> dict[str, Any]:
    """The values of TF1's variables from a cell's params: the inverse of `from_tf1`.

    Args:
      cell: the cell, or `(cell_fw, cell_bw)`.
      params: its params, or `(params_fw, params_bw)`.

    Returns:
      `{name: array}` with the names that TF1 makes in `dynamic_rnn`, `rnn/lstm_cell/kernel` and so on, or in
      `bidirectional_dynamic_rnn`, `bidirectional_rnn/fw/lstm_cell/kernel` and so on. New numpy arrays, or tracers where
      tracers came in. The forget gate's bias has lost the `cell.forget_bias` that TF1 adds.

    Raises:
      TypeError: if TF1 has no such cell.
      ValueError: if TF1 has the cell but not with that option, or the params are not this cell's.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5, reset_after=False)
      >>> variables = jaxrnn.interop.to_tf1(cell, cell.init(jax.random.key(0), input_size=3))
      >>> for name, array in variables.items():
      ...     print(name, array.shape)
      rnn/gru_cell/gates/kernel (8, 10)
      rnn/gru_cell/gates/bias (10,)
      rnn/gru_cell/candidate/kernel (8, 5)
      rnn/gru_cell/candidate/bias (5,)
    """
    weights = under("bidirectional_rnn/" if isinstance(cell, (tuple, list)) else "rnn/", _TF1.to_weights(cell, params))
    elsewhere = outside(weights, "/")
    return {elsewhere.get(name, name): array for name, array in weights.items()}


# ---- cells


def _read_basic(cell, take):
    return {**rows_of(take("basic_rnn_cell/kernel"), cell.num_units), "bias": take("basic_rnn_cell/bias")}


def _write_basic(cell, params):
    return {"basic_rnn_cell/kernel": one_kernel(params), "basic_rnn_cell/bias": params["bias"]}


_DIAGONALS = ("w_i_diag", "w_f_diag", "w_o_diag")


def _read_lstm(cell, take):
    take = inside("lstm_cell/", take)
    i, j, f, o = split(take("bias"), 4)
    params = rows_of(reorder(take("kernel"), "ijfo", "ifjo"), cell.output_size)
    params["bias"] = join([i, f + f.dtype.type(cell.forget_bias), j, o])
    if cell.use_peepholes:
        params.update({name: take(name) for name in _DIAGONALS})
    if cell.num_proj:
        params["projection_kernel"] = take("projection/kernel")
    return params


def _write_lstm(cell, params):
    i, f, g, o = split(params["bias"], 4)
    weights = {
        "kernel": reorder(one_kernel(params), "ifgo", "igfo"),
        "bias": join([i, g, f - f.dtype.type(cell.forget_bias), o]),
    }
    if cell.use_peepholes:
        weights.update({name: params[name] for name in _DIAGONALS})
    if cell.num_proj:
        weights["projection/kernel"] = params["projection_kernel"]
    return under("lstm_cell/", weights)


def _read_gru(cell, take):
    gates, candidate = inside("gru_cell/gates/", take), inside("gru_cell/candidate/", take)
    kernels = rows_of(join([gates("kernel"), candidate("kernel")]), cell.num_units)
    return {**kernels, "bias": join([gates("bias"), candidate("bias")])}


def _write_gru(cell, params):
    kernel, bias, gates = one_kernel(params), params["bias"], 2 * cell.num_units
    return {
        "gru_cell/gates/kernel": kernel[:, :gates],
        "gru_cell/gates/bias": bias[:gates],
        "gru_cell/candidate/kernel": kernel[:, gates:],
        "gru_cell/candidate/bias": bias[gates:],
    }


# ---- cells of cells


def _projection(scope: str) -> Layout:
    def read(cell, take):
        take = inside(scope, take)
        return {"cell": _TF1.read(cell.cell, take), "projection": {name: take(name) for name in ("kernel", "bias")}}

    def write(cell, params):
        return under(scope, {**params["projection"], **_TF1.write(cell.cell, params["cell"])})

    return Layout(read, write)


def _read_embedding(cell, take):
    take = inside("embedding_wrapper/", take)
    return {"cell": _TF1.read(cell.cell, take), "embedding": take("embedding")}


def _write_embedding(cell, params):
    weights = {"embedding": params["embedding"], **_TF1.write(cell.cell, params["cell"])}
    return under("embedding_wrapper/", weights)


# ---- the framework


def _spell(name: str) -> str:
    """A variable's name without the number of its output; TF1's BasicLSTMCell is an LSTMCell without its options, and an
    `attention_layer=` is named as any tf.layers.Dense."""
    name = re.sub(r"(^|/)basic_lstm_cell/", r"\1lstm_cell/", name.removesuffix(":0"))
    return name.replace("attention_wrapper/dense", "attention_wrapper/attention_layer")


_TF1 = Framework(
    name="tf1",
    layouts={
        BasicRNNCell: Layout(_read_basic, _write_basic),
        LSTMCell: Layout(_read_lstm, _write_lstm),
        GRUCell: Layout(_read_gru, _write_gru, only={"reset_after": (False,)}),
        MultiRNNCell: layers(lambda: _TF1, numbered("multi_rnn_cell/cell_{}/")),
        InputProjectionWrapper: _projection("input_projection_wrapper/"),
        OutputProjectionWrapper: _projection("output_projection_wrapper/"),
        EmbeddingWrapper: Layout(_read_embedding, _write_embedding),
        **contrib_layouts(lambda: _TF1),
        tuple: directions(lambda: _TF1, "fw/", "bw/"),
    },
    separator="/",
    spell=_spell,
)
