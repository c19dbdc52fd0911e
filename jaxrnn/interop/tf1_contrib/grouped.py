"""Weights of the group LSTM.

cell         names under glstm_cell/                   TF1's shape            TF1's gates -> jaxrnn's
GLSTMCell    group0/kernel, group1/kernel, ...         [(D+P)/G, 4H/G]        i,j,f,o -> i,f,g,o
             bias_i, bias_j, bias_f, bias_o            [H]                    forget_bias is added in every step
             projection/kernel                         [H, P]
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.grouped import GLSTMCell
from jaxrnn.interop.arrays import inside, join, reorder, rows_of, split, stack, under
from jaxrnn.interop.weights import Framework, Layout

_BIASES = ("bias_i", "bias_f", "bias_j", "bias_o")


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""
    return {GLSTMCell: Layout(_read, _write)}


def _read(cell, take):
    take, groups = inside("glstm_cell/", take), cell.number_of_groups
    each = [rows_of(reorder(take(f"group{k}/kernel"), "ijfo", "ifjo"), cell.output_size // groups) for k in range(groups)]
    params = {name: stack([kernels[name] for kernels in each]) for name in each[0]}
    i, f, g, o = (take(name).reshape(groups, -1) for name in _BIASES)
    params["bias"] = join([i, f + f.dtype.type(cell.forget_bias), g, o])
    if cell.num_proj:
        params["projection_kernel"] = take("projection/kernel")
    return params


def _write(cell, params):
    kernels = reorder(join([params["kernel"], params["recurrent_kernel"]], axis=1), "ifgo", "igfo")
    weights = {f"group{k}/kernel": kernels[k] for k in range(cell.number_of_groups)}
    i, f, g, o = split(params["bias"], 4)
    biases = zip(_BIASES, (i, f - f.dtype.type(cell.forget_bias), g, o), strict=True)
    weights.update({name: bias.reshape(-1) for name, bias in biases})
    if cell.num_proj:
        weights["projection/kernel"] = params["projection_kernel"]
    return under("glstm_cell/", weights)
