"""A training step over two processes, each on a core of its own, beside one process on one core and on both.

    python benchmarks/distributed.py [--rounds 3] [--write benchmarks/results/distributed_zen3.json]

The global batch is the same. The ways take turns, each in processes of its own; the best time of all rounds counts.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import socket
import subprocess
import sys
import time
from typing import Any

WAYS = {"one process, one core": (1, 1), "one process, two cores": (1, 2), "two processes, a core each": (2, 1)}
SIZES = {"rows": (128, 64, 256, 1), "units": (128, 64, 512, 1), "layers": (512, 16, 256, 4)}  # T, B, H, layers
REPEATS = 5


def cases(devices: int) -> dict[str, Any]:
    """`name -> (gradient, its arguments)`, of params and inputs that are equal in all processes."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import PartitionSpec as P

    import jaxrnn
    from jaxrnn.distributed import HiddenUnits, pipelined_rnn, stack_layers

    mesh = jax.make_mesh((devices,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    over_devices = lambda loss, specs: jax.shard_map(
        jax.value_and_grad(loss), mesh=mesh, in_specs=specs, out_specs=(P(), specs[0])
    )
    sizes = {name: shape[:3] for name, shape in SIZES.items()}
    inputs = {
        name: np.random.default_rng(0).normal(size=(batch, steps, units)).astype(np.float32)
        for name, (steps, batch, units) in sizes.items()
    }
    cells = {name: jaxrnn.LSTMCell(units) for name, (_, _, units) in sizes.items()}
    params = {name: cell.init(jax.random.key(0), cell.num_units) for name, cell in cells.items()}
    stack = jaxrnn.MultiRNNCell([cells["layers"]] * SIZES["layers"][3])
    units = HiddenUnits(cells["units"], SIZES["units"][2], devices, "d")

    def of_rows(params, inputs):
        return jax.lax.psum(jnp.sum(jaxrnn.dynamic_rnn(cells["rows"], params, inputs)[0] ** 2), "d")

    def of_units(params, inputs):
        outputs, _ = jaxrnn.dynamic_rnn(units.local_cell, units.local(params), inputs)
        return jax.lax.psum(jnp.sum(outputs**2), "d")

    def of_layers(params, inputs):
        return jnp.sum(pipelined_rnn(stack, params, inputs, axis="d")[0] ** 2)

    def of_whole_stack(params, inputs):
        return jnp.sum(jaxrnn.dynamic_rnn(stack, params, inputs)[0] ** 2)

    whole = stack.init(jax.random.key(0), SIZES["layers"][2])
    layers = (over_devices(of_layers, (P("d"), P())), stack_layers(whole)) if devices > 1 else (None, whole)
    return {
        "rows": (over_devices(of_rows, (P(), P("d"))), params["rows"], inputs["rows"]),
        "units": (over_devices(of_units, (units.specs, P())), units.split(params["units"]), inputs["units"]),
        "layers": (layers[0] or jax.value_and_grad(of_whole_stack), layers[1], inputs["layers"]),
    }


def measure(process: int, processes: int, cores: int, port: int) -> None:
    """One process: prints the seconds of each case, the best of some."""
    os.sched_setaffinity(0, range(process * cores, (process + 1) * cores))
    import jax
    import numpy as np

    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
    seconds = {}
    for name, (gradient, *args) in cases(processes).items():
        run, args = jax.jit(gradient), jax.tree.map(np.asarray, args)
        jax.block_until_ready(run(*args))
        times = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            jax.block_until_ready(run(*args))
            times.append(time.perf_counter() - begin)
        seconds[name] = min(times)
    if process == 0:
        print(json.dumps(seconds))


def run(processes: int, cores: int) -> dict[str, float]:
    """A way's seconds, case by case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--processes", str(processes), "--cores", str(cores), "--port", str(port)]
    started = [subprocess.Popen([*command, "--process", str(i)], stdout=subprocess.PIPE, text=True) for i in range(processes)]
    said = [process.communicate()[0] for process in started]
    return json.loads(said[0].splitlines()[-1])


def main(rounds: int, write: str | None) -> None:
    """All ways in turn; a table, and a file."""
    import jax

    best: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for _ in range(rounds):
        for way, (processes, cores) in WAYS.items():
            for name, seconds in run(processes, cores).items():
                best[way][name] = min(seconds, best[way].get(name, seconds))
            print(way, {name: f"{1000 * seconds:.0f} ms" for name, seconds in best[way].items()}, flush=True)
    if write:
        about = {"date": str(datetime.date.today()), "jax": jax.__version__, "python": platform.python_version()}
        results = {**about, "machine": "AMD Zen 3, two cores", "sizes": SIZES, "seconds": best}
        pathlib.Path(write).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write")
    for name in ("process", "processes", "cores", "port"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.process is None:
        main(given.rounds, given.write)
    else:
        measure(given.process, given.processes, given.cores, given.port)
