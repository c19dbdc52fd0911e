"""Weights of Haiku: `hk.VanillaRNN`, `hk.LSTM`, `hk.GRU` and `hk.DeepRNN`.

cell            modules and names                       Haiku's shape          Haiku's gates -> jaxrnn's
BasicRNNCell    vanilla_rnn/linear: w, b                [D, H], [H]
                vanilla_rnn/linear_1: w, b              [H, H], [H]
LSTMCell        lstm/linear: w, b                       [D+H, 4H], [4H]        i,g,f,o -> i,f,g,o
GRUCell         gru: w_i, w_h, b                        [D, 3H], [H, 3H],      z,r,a -> r,u,n with u = 1 - z
                                                        [3H]
MultiRNNCell    lstm/linear, gru, lstm_1/linear, ...: the cores of a DeepRNN, each kind numbered by itself
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxrnn import check
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.interop.arrays import flatten, join, one_kernel, reorder, rows_of, split, zeros_like
from jaxrnn.interop.parts import layers
from jaxrnn.interop.weights import TANH, UNPROJECTED, Framework, Layout


def from_haiku(cell: Any, params: Mapping[str, Mapping[str, Any]]) -> Any:
    """A cell's params from those of a Haiku core.

    Haiku's LSTM multiplies the inputs and the state, side by side, with one kernel, and adds 1 to the forget gate in every
    step; its GRU takes in the new part where z is large, and keeps the old one where jaxrnn's u is. As
    1 - sigmoid(a) = sigmoid(-a), that is a change of sign:

        kernel, recurrent_kernel = the rows of the LSTM's w for the inputs, for the state
        bias of the LSTM's f = b of f + 1
        bias of the basic cell = b of linear + b of linear_1
        u's part of kernel, recurrent_kernel, bias = -(z's part of w_i, w_h, b)

    Args:
      cell: `BasicRNNCell(num_units, activation=jax.nn.relu)` for a VanillaRNN, an `LSTMCell`, `GRUCell(reset_after=False)`; a
        `MultiRNNCell` of them for a DeepRNN of cores alone.
      params: `{module: {name: array}}` of that core, as its `init` gives it; any module may stand in front, the same for all.
        Without linear_1's b (double_bias=False) it is zeros. Arrays may be traced, and gradients with respect to them are
        Haiku's.

    Returns:
      The params, as `cell.init` makes them. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if Haiku has no such cell, params is not a mapping, or one of its arrays is not floating.
      ValueError: if Haiku has the cell but not with that option, or names or shapes are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> weights = {"lstm/linear": {"w": np.ones((3 + 5, 20), np.float32), "b": np.zeros(20, np.float32)}}
      >>> params = jaxrnn.interop.from_haiku(jaxrnn.LSTMCell(num_units=5), weights)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape, float(params["bias"][5])
      ((3, 20), (5, 20), 1.0)
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"from_haiku: expected a mapping {{module: {{name: array}}}}, got {check.describe(params)}.")
    return _HAIKU.from_weights(cell, flatten(params))


def to_haiku(cell: Any, params: Any) -> dict[str, dict[str, Any]]:
    """The params of a Haiku core from a cell's params: the inverse of `from_haiku`.

    Args:
      cell: the cell.
      params: its params.

    Returns:
      `{module: {name: array}}` with the names that Haiku makes at the top of a transformed function, new numpy arrays (tracers
      where tracers came in). The LSTM's forget gate has lost the 1 that Haiku adds; a VanillaRNN's second bias is zeros.

    Raises:
      TypeError: if Haiku has no such cell.
      ValueError: if Haiku has the cell but not with that option, or the params are not this cell's.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5, reset_after=False)
      >>> params = jaxrnn.interop.to_haiku(cell, cell.init(jax.random.key(0), input_size=3))
      >>> {module: {name: array.shape for name, array in arrays.items()} for module, arrays in params.items()}
      {'gru': {'w_i': (3, 15), 'w_h': (5, 15), 'b': (15,)}}
    """
    weights = _HAIKU.to_weights(cell, params)
    scope = "" if isinstance(_HAIKU.find(cell)[0], MultiRNNCell) else _scopes([cell])[0]
    modules: dict[str, dict[str, Any]] = {}
    for path, array in weights.items():
        module, name = f"{scope}{path}".rsplit("/", 1)
        modules.setdefault(module, {})[name] = array
    return modules


# ---- cells


def _read_vanilla(cell, take):
    bias = take("linear/b") + take("linear_1/b")
    return {"kernel": take("linear/w"), "recurrent_kernel": take("linear_1/w"), "bias": bias}


def _write_vanilla(cell, params):
    bias = params["bias"]
    return {
        "linear/w": params["kernel"],
        "linear/b": bias,
        "linear_1/w": params["recurrent_kernel"],
        "linear_1/b": zeros_like(bias),
    }


def _read_lstm(cell, take):
    i, g, f, o = split(take("linear/b"), 4)
    params = rows_of(reorder(take("linear/w"), "igfo", "ifgo"), cell.num_units)
    return {**params, "bias": join([i, f + f.dtype.type(1), g, o])}


def _write_lstm(cell, params):
    i, f, g, o = split(params["bias"], 4)
    kernel = reorder(one_kernel(params), "ifgo", "igfo")
    return {"linear/w": kernel, "linear/b": join([i, g, f - f.dtype.type(1), o])}


_GRU_NAMES = {"kernel": "w_i", "recurrent_kernel": "w_h", "bias": "b"}


def _read_gru(cell, take):
    def turn(array):
        z, r, a = split(array, 3)
        return join([r, -z, a])

    return {ours: turn(take(theirs)) for ours, theirs in _GRU_NAMES.items()}


def _write_gru(cell, params):
    def turn(array):
        r, u, n = split(array, 3)
        return join([-u, r, n])

    return {theirs: turn(params[ours]) for ours, theirs in _GRU_NAMES.items()}


# ---- the framework


_CORES = {BasicRNNCell: "vanilla_rnn", LSTMCell: "lstm", GRUCell: "gru"}


def _scopes(cells: Sequence[Any]) -> list[str]:
    """The names that Haiku gives to cores that are made in this order: lstm, gru, lstm_1, ..."""
    count, scopes = collections.Counter(), []
    for cell in cells:
        cell, _ = _HAIKU.find(cell)
        if isinstance(cell, MultiRNNCell):
            raise ValueError(
                f"haiku: expected single cells in a MultiRNNCell, got {check.name_of(cell)}. Convert that stack by itself."
            )
        name = _CORES[type(cell)]
        scopes.append(f"{name}_{count[name]}/" if count[name] else f"{name}/")
        count[name] += 1
    return scopes


_HAIKU = Framework(
    name="haiku",
    layouts={
        BasicRNNCell: Layout(_read_vanilla, _write_vanilla, only={"activation": (jax.nn.relu,)}),
        LSTMCell: Layout(_read_lstm, _write_lstm, only={**UNPROJECTED, "activation": TANH}),
        GRUCell: Layout(_read_gru, _write_gru, only={"reset_after": (False,), "activation": TANH}),
        MultiRNNCell: layers(lambda: _HAIKU, _scopes),
    },
    separator="/",
    optional=lambda name: name.endswith("linear_1/b"),
)
