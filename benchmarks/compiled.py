"""What XLA makes of a training step for an H100, on a machine that has none: kernels a step of time, temporary memory.

    python benchmarks/compiled.py                   LSTM and GRU, beside a plain scan and Flax
    python benchmarks/compiled.py "jaxrnn offload" lstm,65536,16,32,256 --loss state

Needs jax-cuda13-plugin and jax-cuda13-pjrt (they are part of `jax[cuda13]`), the assembler of CUDA 13 (ptxas), and no driver.
Nothing is run or tuned, nothing of cuDNN compiled: a GPU may choose other kernels for its products. `gpu.py` measures there.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ |= {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}

import jax
from jax.experimental import topologies
from kernels import launches
from options import COMPILER_OPTIONS
from systems import SYSTEMS, loss_of
from work import PRECISIONS, Work

import jaxrnn

SIZES = "1024,16,768,768,bfloat16"
H100 = """
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 7 } runtime_version { major: 13 }
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84929347584
}
"""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("system", nargs="?", choices=SYSTEMS, help="which; if none is named, jaxrnn, a plain scan and Flax")
parser.add_argument("work", nargs="?", default=f"lstm,{SIZES}", help="as cell,T,B,D,H[,precision]")
parser.add_argument("--loss", default="outputs", choices=["outputs", "state"], help="what it reads")


def compiled_step(system: str, work: Work, loss: str) -> Any:
    """The training step, compiled; jaxrnn is told that it is for a GPU."""
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    place = jax.sharding.SingleDeviceSharding(topology.devices[0])
    there = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
    jax.config.update("jax_default_matmul_precision", PRECISIONS[work.precision].products)
    with jaxrnn.tuned_for("cuda"):
        value, params = loss_of(system, work, loss)
        time_and_batch = (work.time, work.batch) if "time-major" in system else (work.batch, work.time)
        inputs = jax.ShapeDtypeStruct((*time_and_batch, work.inputs), work.dtype)
        lowered = jax.jit(jax.value_and_grad(value)).lower(*jax.tree.map(there, (params, inputs)))
        return lowered.compile(COMPILER_OPTIONS.get(system))


def main() -> None:
    """Compiles and prints."""
    options = parser.parse_args()
    rows = [(options.system, options.work)]
    if not options.system:
        rows = [(name, f"{cell},{SIZES}") for cell in ("lstm", "gru") for name in ("jaxrnn save", "plain lax.scan", "Flax")]
    for system, name in rows:
        work = Work.of(name)
        step = compiled_step(system, work, options.loss)
        sizes = step.memory_analysis()
        print(
            f"{system:32} {name:32} {launches(step.as_text()) / work.time:5.1f} kernels a step"
            f" {sizes.temp_size_in_bytes / 1e6:8.1f} MB {sizes.host_temp_size_in_bytes / 1e6:8.1f} MB on the host",
            flush=True,
        )


if __name__ == "__main__":
    main()
