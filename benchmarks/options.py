"""jaxrnn's "save" with other options of XLA's compiler, which say how a GPU runs a loop."""

from __future__ import annotations

from typing import Any

# Command buffers are CUDA graphs; a whole loop is in one only where WHILE is on the list. The names are those of jax 0.10 to
# 0.12, whose parsers know them on a CPU too.
_GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
_DOUBLE = {"xla_gpu_enable_while_loop_unrolling": "WHILE_LOOP_UNROLLING_DOUBLE_BUFFER"}
_WHOLE_LOOP = {"xla_gpu_enable_command_buffer": _GRAPHS + ",WHILE", "xla_gpu_graph_min_graph_size": 1}

COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    "jaxrnn save, command buffers": _WHOLE_LOOP,
    "jaxrnn save, compiler_options": _DOUBLE,  # jaxrnn's own, which not all environments have
    "jaxrnn save, command buffers doubled": _WHOLE_LOOP | _DOUBLE,
    "jaxrnn save, no command buffers": {"xla_gpu_enable_command_buffer": ""},
    "jaxrnn save, graphs of any size": {"xla_gpu_graph_min_graph_size": 1},
    "jaxrnn save, unrolled by XLA": {"xla_gpu_enable_while_loop_unrolling": "WHILE_LOOP_UNROLLING_AUTO_UNROLL"},
    "jaxrnn save, command buffers unrolled": _WHOLE_LOOP | {"xla_gpu_command_buffer_unroll_loops": True},
}
