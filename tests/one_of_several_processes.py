"""A process of test_processes.py: `one_of_several_processes.py PORT PROCESS OF FILE`. The first one writes the results."""

import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

port, process, of, file = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", 4 // int(of))
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=int(of), process_id=int(process), local_device_ids=None)

from tests import test_distributed  # noqa: E402 it makes arrays, which needs the devices
from tests.cases_of_processes import CASES  # noqa: E402
from tests.collectives import operations_of_steps  # noqa: E402

assert jax.device_count() == 4
results = {}
for name, case in CASES.items():
    run, args = case()
    program = jax.jit(run)
    values = program(*jax.tree.map(np.asarray, args))
    leaves = jax.tree.leaves(multihost_utils.process_allgather(values, tiled=True))
    results |= {f"{name} {i}": leaf for i, leaf in enumerate(leaves)}
program = jax.jit(test_distributed.over_rows(test_distributed.LSTM, 4, {}))
compiled = program.lower(*jax.tree.map(np.asarray, test_distributed.many_rows())).compile()
results["operations"] = np.array(repr(operations_of_steps(compiled)))
if process == "0":
    np.savez(file, **results)
