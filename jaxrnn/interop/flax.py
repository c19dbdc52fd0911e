"""Weights of Flax: `SimpleCell`, `LSTMCell`, `OptimizedLSTMCell` and `GRUCell` of linen and of nnx.

cell            linen's params, one a gate                     Flax's shape            Flax's gates -> jaxrnn's
BasicRNNCell    i: kernel, bias;  h: kernel                    [D, H], [H]; [H, H]
LSTMCell        ii, if, ig, io: kernel                         [D, H]                  i,f,g,o
                hi, hf, hg, ho: kernel, bias                   [H, H], [H]
GRUCell         ir, iz, in: kernel, bias                       [D, H], [H]             r,z,n -> r,u,n
                hr, hz: kernel;  hn: kernel, bias              [H, H]; [H, H], [H]
a pair          forward_rnn/cell and backward_rnn/cell, as in a Bidirectional

cell            nnx's params, all gates side by side           Flax's shape
BasicRNNCell    dense_i: kernel, bias;  dense_h: kernel        [D, H], [H]; [H, H]
LSTMCell        dense_i: kernel;  dense_h: kernel, bias        [D, 4H]; [H, 4H], [4H]
                (of OptimizedLSTMCell; nnx's LSTMCell is linen's, with if_ for if)
GRUCell         dense_i: kernel, bias;  dense_h: kernel        [D, 3H], [3H]; [H, 3H]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxrnn import check
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.interop.arrays import flatten, join, nest, split, zeros_like
from jaxrnn.interop.parts import directions
from jaxrnn.interop.weights import UNPROJECTED, Framework, Layout


def from_flax(cell: Any, params: Mapping[str, Any]) -> Any:
    """A cell's params from those of a Flax cell, linen's or nnx's: their names tell which.

    Flax has the kernels as jaxrnn has them, linen one for each gate. nnx's GRU has no bias inside the reset gate:
    recurrent_bias is zeros.

    Args:
      cell: the cell that computes what Flax's does, with the same activation (None is tanh; `gate_fn` must be the sigmoid);
        `(cell_fw, cell_bw)` for a Bidirectional.
      params: the cell's own params dict `{"hi": {"kernel": [H, H], "bias": [H]}, ...}`; of nnx `nnx.state(cell, nnx.Param)`, or
        the pure dict of it. "params", or the module that the cell is in, may stand in front. Arrays may be traced, and
        gradients with respect to them are Flax's.

    Returns:
      The params, as `cell.init` makes them; a pair of them for a pair of cells. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if Flax has no such cell, params is not a mapping, or one of its arrays is not floating.
      ValueError: if Flax has the cell but not with that option, or names or shapes are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> rng = np.random.default_rng(0)
      >>> draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
      >>> weights = {"i": {"kernel": draw(3, 5), "bias": draw(5)}, "h": {"kernel": draw(5, 5)}}
      >>> params = jaxrnn.interop.from_flax(jaxrnn.BasicRNNCell(num_units=5), weights)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape
      ((3, 5), (5, 5))
    """
    flat = _flat("from_flax", params)
    return _dialect(flat).from_weights(cell, flat)


def to_flax(cell: Any, params: Any, *, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The params dict of a Flax cell from a cell's params: the inverse of `from_flax`.

    Args:
      cell: the cell, or `(cell_fw, cell_bw)`.
      params: its params, or `(params_fw, params_bw)`.
      like: the params of the Flax cell that is to be filled, for their names: `nnx.state(cell, nnx.Param)`, say. Without it the
        names are those of a linen cell.

    Returns:
      The nested dict of new numpy arrays (tracers where tracers came in).

    Raises:
      TypeError: if Flax has no such cell, or like is not a mapping.
      ValueError: if Flax has the cell but not with that option, the params or the names of like are not this cell's, or the
        GRU's recurrent_bias is not zeros and like is nnx's, which has no place for it.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.BasicRNNCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> jax.tree.map(jax.numpy.shape, jaxrnn.interop.to_flax(cell, params))
      {'h': {'kernel': (5, 5)}, 'i': {'bias': (5,), 'kernel': (3, 5)}}
    """
    if like is None:
        return nest(_LINEN.to_weights(cell, params))
    flat = _flat("to_flax: like", like)
    weights = _dialect(flat).to_weights(cell, params)
    if _dialect(flat) is _NNX:
        _no_recurrent_bias(params)
    keys = _dialect(flat).keys("to_flax: like", cell, flat)
    return nest({keys[name]: array for name, array in weights.items()})


def _flat(where: str, params: Any) -> dict[str, Any]:
    if not isinstance(params, Mapping):
        raise TypeError(f"{where}: expected a mapping of names to arrays or mappings, got {check.describe(params)}.")
    return flatten(params)


def _dialect(flat: Mapping[str, Any]) -> Framework:
    return _NNX if any(path.endswith("dense_h/kernel") for path in flat) else _LINEN


def _no_recurrent_bias(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if "recurrent_bias" in jax.tree_util.keystr(path) and (isinstance(leaf, Tracer) or np.any(leaf)):
            what = "a traced array, whose values cannot be seen" if isinstance(leaf, Tracer) else "others"
            raise ValueError(
                f"to_flax: expected params{jax.tree_util.keystr(path)} of zeros, since nnx.GRUCell has no bias inside the "
                f"reset gate, got {what}. Use linen's GRUCell, which has one, or hold it at zero in training."
            )


# ---- linen: a kernel for each gate


def _read_basic(cell, take):
    return {"kernel": take("i/kernel"), "recurrent_kernel": take("h/kernel"), "bias": take("i/bias")}


def _write_basic(cell, params):
    return {"i/kernel": params["kernel"], "i/bias": params["bias"], "h/kernel": params["recurrent_kernel"]}


def _read_lstm(cell, take):
    return {
        "kernel": join([take(f"i{gate}/kernel") for gate in "ifgo"]),
        "recurrent_kernel": join([take(f"h{gate}/kernel") for gate in "ifgo"]),
        "bias": join([take(f"h{gate}/bias") for gate in "ifgo"]),
    }


def _write_lstm(cell, params):
    return {
        **_by_gate("i{}/kernel", "ifgo", params["kernel"]),
        **_by_gate("h{}/kernel", "ifgo", params["recurrent_kernel"]),
        **_by_gate("h{}/bias", "ifgo", params["bias"]),
    }


def _read_gru(cell, take):
    return {
        "kernel": join([take(f"i{gate}/kernel") for gate in "rzn"]),
        "recurrent_kernel": join([take(f"h{gate}/kernel") for gate in "rzn"]),
        "bias": join([take(f"i{gate}/bias") for gate in "rzn"]),
        "recurrent_bias": take("hn/bias"),
    }


def _write_gru(cell, params):
    return {
        **_by_gate("i{}/kernel", "rzn", params["kernel"]),
        **_by_gate("i{}/bias", "rzn", params["bias"]),
        **_by_gate("h{}/kernel", "rzn", params["recurrent_kernel"]),
        "hn/bias": params["recurrent_bias"],
    }


def _by_gate(name: str, gates: str, array: Any) -> dict[str, Any]:
    return {name.format(gate): part for gate, part in zip(gates, split(array, len(gates)), strict=True)}


_RESET_AFTER = {"reset_after": (True,)}

_LINEN = Framework(
    name="flax",
    layouts={
        BasicRNNCell: Layout(_read_basic, _write_basic),
        LSTMCell: Layout(_read_lstm, _write_lstm, only=UNPROJECTED),
        GRUCell: Layout(_read_gru, _write_gru, only=_RESET_AFTER),
        tuple: directions(lambda: _LINEN, "forward_rnn/cell/", "backward_rnn/cell/"),
    },
    separator="/",
    spell=lambda name: name.replace("if_/", "if/"),
)


# ---- nnx: one kernel for all gates, as jaxrnn has it


def _side_by_side(bias: str, **options: Any) -> Layout:
    """jaxrnn's own arrays under nnx's names."""
    names = {"kernel": "dense_i/kernel", "recurrent_kernel": "dense_h/kernel", "bias": bias}

    def read(cell, take):
        return {ours: take(theirs) for ours, theirs in names.items()}

    def write(cell, params):
        return {theirs: params[ours] for ours, theirs in names.items()}

    return Layout(read, write, **options)


_GRU = _side_by_side("dense_i/bias")


def _read_gru_without_recurrent_bias(cell, take):
    params = _GRU.read(cell, take)
    return {**params, "recurrent_bias": zeros_like(params["bias"][: cell.num_units])}


_NNX = Framework(
    name="flax",
    layouts={
        BasicRNNCell: _side_by_side("dense_i/bias"),
        LSTMCell: _side_by_side("dense_h/bias", only=UNPROJECTED),
        GRUCell: Layout(_read_gru_without_recurrent_bias, _GRU.write, only=_RESET_AFTER),
        tuple: directions(lambda: _NNX, "forward_rnn/cell/", "backward_rnn/cell/"),
    },
    separator="/",
)
