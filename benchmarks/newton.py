"""Iterations of Newton's method over time, beside the Lyapunov exponent of the cell and the time of the loop.

    python benchmarks/newton.py --out benchmarks/results/newton_NAME.json
    python benchmarks/newton.py --cells gru,lstm --times 200 --scales 1 --units 64

Each row is a cell with the weights that its `init` draws, the kernels times a scale, on random inputs in float32: iterations of
the forward pass and of the adjoint (the most of all chunks), whether either fell back to single steps, the exponent in nats
a step (mean of the rows), and the milliseconds of a training step by the loop and by Newton's method, the least of some runs.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import jax
import jax.numpy as jnp

import jaxrnn

CELLS = {
    "basic": jaxrnn.BasicRNNCell,
    "gru": jaxrnn.GRUCell,
    "gru_reset_before": lambda units: jaxrnn.GRUCell(units, reset_after=False),
    "lstm": jaxrnn.LSTMCell,
    "lstm_peepholes": lambda units: jaxrnn.LSTMCell(units, use_peepholes=True),
    "lstm_projection": lambda units: jaxrnn.LSTMCell(units, num_proj=max(1, units // 2 + 1)),
    "ind_rnn": jaxrnn.contrib.IndRNNCell,
    "indy_lstm": jaxrnn.contrib.IndyLSTMCell,
    "sru": jaxrnn.contrib.SRUCell,
}
INPUT_SIZE = 3


def problem(name, scale, steps, units, batch):
    """(cell, params, inputs)."""
    cell = CELLS[name](units)
    params = cell.init(jax.random.key(0), INPUT_SIZE)
    params = {key: leaf * scale if "kernel" in key else leaf for key, leaf in params.items()}
    return cell, params, jax.random.normal(jax.random.key(1), (batch, steps, INPUT_SIZE))


def milliseconds(run, *args, runs=3):
    """The least of some runs, after one that compiles."""
    jax.block_until_ready(run(*args))
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        jax.block_until_ready(run(*args))
        taken.append(time.perf_counter() - begin)
    return 1e3 * min(taken)


def training_step(cell, parallel):
    """Value and gradient of a loss on all outputs."""

    def loss(params, inputs):
        outputs, _ = jaxrnn.dynamic_rnn(cell, params, inputs, parallel=parallel)
        return jnp.mean(outputs**2)

    return jax.jit(jax.value_and_grad(loss))


def measure(name, scale, steps, units, batch):
    """One row of the results."""
    cell, params, inputs = problem(name, scale, steps, units, batch)
    report = jaxrnn.newton_report(cell, params, inputs)
    row = {"cell": name, "units": units, "batch": batch, "steps": steps, "scale": scale}
    row["exponent"] = float(jaxrnn.analysis.lyapunov(cell, params, inputs, discard=steps // 4).mean())
    row["iterations"], row["fell_back"] = int(report.iterations.max()), bool(report.fell_back.any())
    row["adjoint_iterations"] = int(report.adjoint_iterations.max())
    row["adjoint_fell_back"] = bool(report.adjoint_fell_back.any())
    for how, parallel in (("loop_ms", None), ("newton_ms", "newton")):
        row[how] = milliseconds(training_step(cell, parallel), params, inputs)
    return row


def main():
    """Measures, prints and writes."""
    numbers = lambda text: [float(part) if "." in part else int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--scales", type=numbers, default=[1, 2, 4])
    parser.add_argument("--times", type=numbers, default=[200, 2000])
    parser.add_argument("--units", type=numbers, default=[16, 64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    rows = []
    for name in options.cells.split(","):
        for units in options.units:
            for steps in options.times:
                for scale in options.scales:
                    rows.append(measure(name, scale, steps, units, options.batch))
                    print(rows[-1], flush=True)
    if options.out:
        device = jax.devices()[0]
        about = {"jax": jax.__version__, "device": device.device_kind, "platform": device.platform}
        options.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
