"""Weights of Equinox: `eqx.nn.LSTMCell` and `eqx.nn.GRUCell`.

cell        attributes                         Equinox's shape and order, the same as jaxrnn's
LSTMCell    weight_ih, weight_hh, bias         [4H, D], [4H, H], [4H]          i,f,g,o
GRUCell     weight_ih, weight_hh, bias         [3H, D], [3H, H], [3H]          r,z,n; z is jaxrnn's u
            bias_n                             [H]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxrnn import check
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.interop.weights import TANH, UNPROJECTED, Framework, Layout


def from_equinox(cell: Any, module: Any) -> Any:
    """A cell's params from an Equinox module.

        kernel, recurrent_kernel = weight_ih.T, weight_hh.T
        bias, recurrent_bias = bias, bias_n

    Args:
      cell: an `LSTMCell` or `GRUCell` of the same size.
      module: the `eqx.nn.LSTMCell` or `eqx.nn.GRUCell`; or a mapping of its attributes' names to arrays, as `to_equinox` gives
        it. Without the biases (use_bias=False, the attributes None) they are zeros. Arrays may be traced, and gradients with
        respect to them are Equinox's.

    Returns:
      The params, as `cell.init` makes them. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if Equinox has no such cell, module has no attributes, or one of its arrays is not floating.
      ValueError: if Equinox has the cell but not with that option, or names or shapes are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> rng = np.random.default_rng(0)
      >>> shapes = {"weight_ih": (20, 3), "weight_hh": (20, 5), "bias": (20,)}
      >>> module = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
      >>> params = jaxrnn.interop.from_equinox(jaxrnn.LSTMCell(num_units=5), module)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape
      ((3, 20), (5, 20))
    """
    return _EQUINOX.from_weights(cell, _attributes(module))


def to_equinox(cell: Any, params: Any) -> dict[str, Any]:
    """The arrays of an Equinox module by their attributes' names, from a cell's params: the inverse of `from_equinox`.

    Args:
      cell: the cell.
      params: its params.

    Returns:
      `{name: array}`, new numpy arrays (tracers where tracers came in). They go into a module of the same sizes with
      `eqx.tree_at(lambda m: [getattr(m, name) for name in arrays], module, list(map(jnp.asarray, arrays.values())))`.

    Raises:
      TypeError: if Equinox has no such cell.
      ValueError: if Equinox has the cell but not with that option, or the params are not this cell's.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5)
      >>> arrays = jaxrnn.interop.to_equinox(cell, cell.init(jax.random.key(0), input_size=3))
      >>> {name: array.shape for name, array in arrays.items()}
      {'weight_ih': (15, 3), 'weight_hh': (15, 5), 'bias': (15,), 'bias_n': (5,)}
    """
    return _EQUINOX.to_weights(cell, params)


def _attributes(module: Any) -> Mapping[str, Any]:
    """The arrays among a module's attributes, by name."""
    if isinstance(module, Mapping):
        return module
    if not hasattr(module, "weight_ih"):
        raise TypeError(
            f"from_equinox: expected an eqx.nn.LSTMCell or GRUCell, or a mapping of their attributes' names to arrays, got "
            f"{check.describe(module)}. Pass the cell itself, not the model that it is in."
        )
    return {name: value for name, value in vars(module).items() if hasattr(value, "shape")}


# ---- cells


def _read_lstm(cell, take):
    return {"kernel": take("weight_ih").T, "recurrent_kernel": take("weight_hh").T, "bias": take("bias")}


def _write_lstm(cell, params):
    return {"weight_ih": params["kernel"].T, "weight_hh": params["recurrent_kernel"].T, "bias": params["bias"]}


def _read_gru(cell, take):
    return {**_read_lstm(cell, take), "recurrent_bias": take("bias_n")}


def _write_gru(cell, params):
    return {**_write_lstm(cell, params), "bias_n": params["recurrent_bias"]}


# ---- the framework


_EQUINOX = Framework(
    name="equinox",
    layouts={
        LSTMCell: Layout(_read_lstm, _write_lstm, only={**UNPROJECTED, "activation": TANH}),
        GRUCell: Layout(_read_gru, _write_gru, only={"reset_after": (True,), "activation": TANH}),
    },
    separator=".",
    optional=lambda name: name.startswith("bias"),
)
