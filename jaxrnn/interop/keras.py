"""Weights of Keras 3: `SimpleRNN`, `LSTM`, `GRU`, their cells, `StackedRNNCells` and `Bidirectional`.

cell            get_weights()                        Keras's shape              Keras's gates -> jaxrnn's
BasicRNNCell    kernel, recurrent_kernel, bias       [D, H], [H, H], [H]
LSTMCell        kernel, recurrent_kernel, bias       [D, 4H], [H, 4H], [4H]     i,f,c,o, the same as i,f,g,o
GRUCell         kernel, recurrent_kernel, bias       [D, 3H], [H, 3H],          z,r,h -> r,u,n
                                                     [2, 3H] or [3H]            with or without reset_after
MultiRNNCell    the layers' one after the other
a pair          those of the forward layer, then those of the backward layer
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxrnn import check
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.interop.arrays import fold_biases, reorder, stack, two_biases
from jaxrnn.interop.parts import directions, layers, numbered
from jaxrnn.interop.weights import UNPROJECTED, Framework, Layout


def from_keras(cell: Any, weights: Sequence[Any]) -> Any:
    """A cell's params from `layer.get_weights()`.

    Keras has the GRU's gates in the order z, r, h, where z is jaxrnn's u, and with reset_after two rows of biases, of which
    only the second one for h is not just added:

        bias = row 0 + (row 1 but for h)
        recurrent_bias = row 1 for h

    Args:
      cell: the cell that computes what the layer does, with the same activation (None is tanh; `recurrent_activation` must be
        Keras's default, the sigmoid); a `MultiRNNCell` for `StackedRNNCells` or for layers one after the other;
        `(cell_fw, cell_bw)` for `Bidirectional`.
      weights: a list of arrays, in Keras's order. Without the biases (use_bias=False) they are zeros. Numpy arrays are copied;
        JAX's may be traced, and gradients with respect to them are Keras's.

    Returns:
      The params, as `cell.init` makes them; a pair of them for a pair of cells. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if Keras has no such cell, weights is not a list or tuple, or one of its arrays is not floating.
      ValueError: if Keras has the cell but not with that option, or the number or shapes of the arrays are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> rng = np.random.default_rng(0)
      >>> weights = [rng.normal(size=shape).astype(np.float32) for shape in [(3, 15), (5, 15), (2, 15)]]
      >>> params = jaxrnn.interop.from_keras(jaxrnn.GRUCell(num_units=5), weights)
      >>> params["kernel"].shape, params["recurrent_bias"].shape
      ((3, 15), (5,))
    """
    names = _KERAS.names("from_keras", cell)
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"from_keras: expected a list of arrays, as get_weights() gives it, got {check.describe(weights)}.")
    without_biases = [name for name in names if not _is_bias(name)]
    if len(weights) not in (len(names), len(without_biases)):
        raise ValueError(
            f"from_keras: expected {len(names)} arrays for {check.name_of(cell)}: {', '.join(names)}; or "
            f"{len(without_biases)} without the biases; got {len(weights)}. See that the cell is built like the layer."
        )
    given = names if len(weights) == len(names) else without_biases
    return _KERAS.from_weights(cell, dict(zip(given, weights, strict=True)))


def to_keras(cell: Any, params: Any) -> list[Any]:
    """What `layer.set_weights` takes, from a cell's params: the inverse of `from_keras`.

    Args:
      cell: the cell, or `(cell_fw, cell_bw)`.
      params: its params, or `(params_fw, params_bw)`.

    Returns:
      The list of arrays, new numpy arrays (tracers where tracers came in). The GRU's two rows of biases are the bias, and
      zeros with `recurrent_bias` for h. A layer that takes them has use_bias=True, Keras's default.

    Raises:
      TypeError: if Keras has no such cell.
      ValueError: if Keras has the cell but not with that option, or the params are not this cell's.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.LSTMCell(num_units=5)
      >>> [array.shape for array in jaxrnn.interop.to_keras(cell, cell.init(jax.random.key(0), input_size=3))]
      [(3, 20), (5, 20), (20,)]
    """
    return list(_KERAS.to_weights(cell, params).values())


# ---- cells


_NAMES = ("kernel", "recurrent_kernel", "bias")


def _read_plain(cell, take):
    return {name: take(name) for name in _NAMES}


def _write_plain(cell, params):
    return {name: params[name] for name in _NAMES}


def _read_gru(cell, take):
    params = {name: reorder(take(name), "zrh", "rzh") for name in _NAMES}
    return {**params, **fold_biases(*params["bias"])} if cell.reset_after else params


def _write_gru(cell, params):
    bias = stack(two_biases(params)) if cell.reset_after else params["bias"]
    return {name: reorder(bias if name == "bias" else params[name], "rzh", "zrh") for name in _NAMES}


# ---- the framework


def _is_bias(name: str) -> bool:
    return name.endswith("bias")


_KERAS = Framework(
    name="keras",
    layouts={
        BasicRNNCell: Layout(_read_plain, _write_plain),
        LSTMCell: Layout(_read_plain, _write_plain, only=UNPROJECTED),
        GRUCell: Layout(_read_gru, _write_gru),
        MultiRNNCell: layers(lambda: _KERAS, numbered("cell_{}/")),
        tuple: directions(lambda: _KERAS, "forward/", "backward/"),
    },
    separator="/",
    optional=_is_bias,
)
