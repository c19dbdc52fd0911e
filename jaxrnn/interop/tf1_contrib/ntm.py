"""Weights of the neural Turing machine.

cell       names under ntm_cell/                              TF1's shape
NTMCell    parameters_kernel, parameters_bias                 [H, P], [P]
           output_kernel, output_bias                         [H + R W, O], [O]
           initial_read_vector_0, ..., R - 1                  [1, W]
           initial_address_weights_0, ..., R + K - 1          [1, N]
           memory                                             [N, W]

The controller's names are in the same scope.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.contrib.ntm import NTMCell
from jaxrnn.interop.arrays import inside, join, under
from jaxrnn.interop.weights import Framework, Layout


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Type of cell -> layout."""

    def read(cell, take):
        take = inside("ntm_cell/", take)
        heads = cell.read_head_num + cell.write_head_num
        return {
            "controller": framework().read(cell.controller, take),
            "heads": {"kernel": take("parameters_kernel"), "bias": take("parameters_bias")},
            "output": {"kernel": take("output_kernel"), "bias": take("output_bias")},
            "initial_reads": join([take(f"initial_read_vector_{i}") for i in range(cell.read_head_num)], 0),
            "initial_addresses": join([take(f"initial_address_weights_{i}") for i in range(heads)], 0),
            "initial_memory": take("memory"),
        }

    def write(cell, params):
        reads, addresses = params["initial_reads"], params["initial_addresses"]
        weights = {
            "parameters_kernel": params["heads"]["kernel"],
            "parameters_bias": params["heads"]["bias"],
            "output_kernel": params["output"]["kernel"],
            "output_bias": params["output"]["bias"],
            **{f"initial_read_vector_{i}": reads[i : i + 1] for i in range(reads.shape[0])},
            **{f"initial_address_weights_{i}": addresses[i : i + 1] for i in range(addresses.shape[0])},
            "memory": params["initial_memory"],
            **framework().write(cell.controller, params["controller"]),
        }
        return under("ntm_cell/", weights)

    return {NTMCell: Layout(read, write)}
