"""Weights of PyTorch: `torch.nn.RNN`, `LSTM` and `GRU`, and `RNNCell`, `LSTMCell` and `GRUCell`.

cell            names of layer 0                              torch's shape and order, the same as jaxrnn's
BasicRNNCell    weight_ih_l0, weight_hh_l0                    [H, D], [H, H]
                bias_ih_l0, bias_hh_l0                        [H]
LSTMCell        weight_ih_l0, weight_hh_l0                    [4H, D], [4H, P]    i,f,g,o
                bias_ih_l0, bias_hh_l0                        [4H]
                weight_hr_l0                                  [P, H], with num_proj
GRUCell         weight_ih_l0, weight_hh_l0                    [3H, D], [3H, H]    r,z,n; z is jaxrnn's u
                bias_ih_l0, bias_hh_l0                        [3H]
MultiRNNCell    the same with _l0, _l1, ...
a pair          the same with _l0 and _l0_reverse
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax

from jaxrnn import check
from jaxrnn.activation import resolve
from jaxrnn.cells.basic import BasicRNNCell
from jaxrnn.cells.gru import GRUCell
from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.cells.stack import MultiRNNCell
from jaxrnn.interop.arrays import fold_biases, two_biases, zeros_like
from jaxrnn.interop.weights import NO_EXTRAS, TANH, Framework, Layout


def from_torch(cell: Any, state_dict: Mapping[str, Any]) -> Any:
    """A cell's params from the state dict of a torch module.

    torch multiplies from the left and has two biases, of which only the GRU's second one for n is not just added:

        kernel, recurrent_kernel, projection_kernel = weight_ih.T, weight_hh.T, weight_hr.T
        bias = bias_ih + bias_hh                    LSTM in the order i, f, g, o
        bias = bias_ih + (bias_hh but for n)        GRU in the order r, u, n, where torch calls u z
        recurrent_bias = bias_hh for n

    Args:
      cell: the cell that computes what the module does: a `BasicRNNCell` (activation None for nonlinearity "tanh",
        `jax.nn.relu` for "relu"), an `LSTMCell` (num_proj is torch's proj_size) or a `GRUCell`; a `MultiRNNCell` of equal
        ones for num_layers above 1; `(cell_fw, cell_bw)` for bidirectional=True with one layer.
      state_dict: a mapping of names to torch tensors or arrays `{"weight_ih_l0": [4H, D], ...}`, of this module only. The
        path of a submodule may stand in front ("encoder.weight_ih_l0"). Without the biases (bias=False) they are zeros. The
        numbers are copied; JAX's arrays may be traced, and gradients with respect to them are torch's.

    Returns:
      The params, as `cell.init` makes them; a pair of them for a pair of cells. Numpy arrays, or JAX's if JAX's came in.

    Raises:
      TypeError: if torch has no such cell, state_dict is not a mapping, or one of its arrays is not floating.
      ValueError: if torch has the cell but not with that option, if layers or directions are not alike, or if names or
        shapes are not this cell's.

    Example:
      >>> import numpy as np, jaxrnn
      >>> rng = np.random.default_rng(0)
      >>> shapes = {"weight_ih_l0": (15, 3), "weight_hh_l0": (15, 5), "bias_ih_l0": (15,), "bias_hh_l0": (15,)}
      >>> state_dict = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
      >>> params = jaxrnn.interop.from_torch(jaxrnn.GRUCell(num_units=5), state_dict)
      >>> params["kernel"].shape, params["recurrent_bias"].shape
      ((3, 15), (5,))
    """
    return _TORCH.from_weights(cell, state_dict)


def to_torch(cell: Any, params: Any) -> dict[str, Any]:
    """The state dict of a torch module from a cell's params: the inverse of `from_torch`.

    Args:
      cell: the cell, or `(cell_fw, cell_bw)`.
      params: its params, or `(params_fw, params_bw)`.

    Returns:
      `{name: array}`, new numpy arrays (tracers where tracers came in), to be loaded with
      `module.load_state_dict({k: torch.from_numpy(v) for k, v in ...})`. A bias that torch has twice is `bias_ih`, beside
      zeros in `bias_hh`.

    Raises:
      TypeError: if torch has no such cell.
      ValueError: if torch has the cell but not with that option, if layers or directions are not alike, or if the params
        are not this cell's.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.LSTMCell(num_units=5, num_proj=2)
      >>> state_dict = jaxrnn.interop.to_torch(cell, cell.init(jax.random.key(0), input_size=3))
      >>> for name, array in state_dict.items():
      ...     print(name, array.shape)
      weight_ih_l0 (20, 3)
      weight_hh_l0 (20, 2)
      bias_ih_l0 (20,)
      bias_hh_l0 (20,)
      weight_hr_l0 (2, 5)
    """
    return _TORCH.to_weights(cell, params)


# ---- cells


def _read_basic(cell, take):
    return {**_read_kernels(take), "bias": take("bias_ih_l0") + take("bias_hh_l0")}


def _write_basic(cell, params):
    bias = params["bias"]
    return {**_write_kernels(params), "bias_ih_l0": bias, "bias_hh_l0": zeros_like(bias)}


def _read_lstm(cell, take):
    params = _read_basic(cell, take)
    if cell.num_proj:
        params["projection_kernel"] = take("weight_hr_l0").T
    return params


def _write_lstm(cell, params):
    weights = _write_basic(cell, params)
    if cell.num_proj:
        weights["weight_hr_l0"] = params["projection_kernel"].T
    return weights


def _read_gru(cell, take):
    return {**_read_kernels(take), **fold_biases(take("bias_ih_l0"), take("bias_hh_l0"))}


def _write_gru(cell, params):
    ih, hh = two_biases(params)
    return {**_write_kernels(params), "bias_ih_l0": ih, "bias_hh_l0": hh}


def _read_kernels(take):
    return {"kernel": take("weight_ih_l0").T, "recurrent_kernel": take("weight_hh_l0").T}


def _write_kernels(params):
    return {"weight_ih_l0": params["kernel"].T, "weight_hh_l0": params["recurrent_kernel"].T}


# ---- layers and directions


def _read_stack(cell, take):
    _alike(cell.cells)
    layers = [lambda name, i=i: take(_in_layer(name, i)) for i in range(len(cell.cells))]
    return {f"cell_{i}": _TORCH.read(layer, layers[i]) for i, layer in enumerate(cell.cells)}


def _write_stack(cell, params):
    _alike(cell.cells)
    layers = [_TORCH.write(layer, params[f"cell_{i}"]) for i, layer in enumerate(cell.cells)]
    return {_in_layer(name, i): array for i, layer in enumerate(layers) for name, array in layer.items()}


def _in_layer(name: str, i: int) -> str:
    return name.replace("_l0", f"_l{i}")


def _read_pair(cells, take):
    _alike(cells)
    return _TORCH.read(cells[0], take), _TORCH.read(cells[1], lambda name: take(f"{name}_reverse"))


def _write_pair(cells, params):
    _alike(cells)
    fw, bw = (_TORCH.write(*each) for each in zip(cells, params, strict=True))
    return {**fw, **{f"{name}_reverse": array for name, array in bw.items()}}


def _alike(cells) -> None:
    """The layers and the directions of a torch module have one class and one size."""
    cells = [_TORCH.find(cell)[0] for cell in cells]
    for cell in cells:
        if isinstance(cell, MultiRNNCell):
            raise ValueError(
                f"torch: expected single cells in a pair or in a MultiRNNCell, got {check.name_of(cell)}. A bidirectional "
                "torch module feeds both directions of a layer to the next, which a pair of stacks does not: convert it "
                "layer by layer, each as a pair of cells."
            )
    kinds = [(type(c), c.num_units, getattr(c, "num_proj", None), resolve(c.activation)) for c in cells]
    if kinds.count(kinds[0]) != len(kinds):
        raise ValueError(
            f"torch: expected layers and directions of one class, size and activation, got "
            f"{', '.join(map(check.name_of, cells))}. Convert them one by one."
        )


# ---- the framework


def _spell(name: str) -> str:
    """`torch.nn.LSTMCell` and its like have the names of a layer without its number."""
    return re.sub(r"\b(weight|bias)_(ih|hh)$", r"\g<0>_l0", name)


_TORCH = Framework(
    name="torch",
    layouts={
        BasicRNNCell: Layout(_read_basic, _write_basic, only={"activation": (*TANH, jax.nn.relu)}),
        LSTMCell: Layout(
            _read_lstm,
            _write_lstm,
            only={**NO_EXTRAS, "activation": TANH},
        ),
        GRUCell: Layout(_read_gru, _write_gru, only={"reset_after": (True,), "activation": TANH}),
        MultiRNNCell: Layout(_read_stack, _write_stack),
        tuple: Layout(_read_pair, _write_pair),
    },
    separator=".",
    spell=_spell,
    optional=lambda name: name.startswith("bias"),
)
