"""What XLA can be told about the loop over time."""

from __future__ import annotations

from typing import Any

import jax

from jaxrnn import check
from jaxrnn.engine.tuning import GPUS, PLATFORMS


def compiler_options(platform: str | None = None) -> dict[str, Any]:
    """Options for the compiler that shorten what lies between a loop's kernels: for your own `jax.jit`, never set for you.

    The steps of a recurrent network with a small batch are short, and a GPU waits for the host to start the next kernel. With
    these options XLA records a loop as one CUDA graph (command buffers, the loop itself in them too), however few kernels it
    has, and gives the loop's state two places, in turns, so that it is not copied from step to step. They change no number.
    What they gain depends on the network and the device: measure it (`benchmarks/gpu.py`).

    Args:
      platform: "cpu", "gpu" (or "cuda", "rocm") or "tpu"; None is the default backend's. Only a GPU has such options.

    Returns:
      A dict for `jax.jit(step, compiler_options=...)` or `lowered.compile(...)`, any shape of arrays; empty where there is
      nothing to say.

    Raises:
      ValueError: if there is no such platform.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 7, 3))
      >>> loss = lambda params: jnp.sum(jaxrnn.dynamic_rnn(cell, params, inputs)[0])
      >>> step = jax.jit(jax.grad(loss), compiler_options=jaxrnn.compiler_options())
      >>> step(params)["kernel"].shape
      (3, 15)
    """
    platform = jax.default_backend() if platform is None else platform
    check.platform(platform, PLATFORMS)
    if platform not in GPUS:
        return {}
    return {
        # XLA's own list, and WHILE; "+WHILE" is understood in XLA_FLAGS only.
        "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,WHILE",
        "xla_gpu_graph_min_graph_size": 1,
        "xla_gpu_enable_while_loop_unrolling": "WHILE_LOOP_UNROLLING_DOUBLE_BUFFER",
    }
