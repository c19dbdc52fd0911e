"""Memory, time and compilation of training steps against the length of the sequence: jaxrnn's modes and its peers.

    python benchmarks/memory.py                                    what is installed in this environment
    python benchmarks/memory.py --peers A/bin/python B/bin/python  and in these (set_up_peers.sh beside this file makes them)

For every length and system, one process: the temporary memory that the compiler counts (`temp_size_in_bytes`; for torch, which
counts none, the growth of the peak resident memory in a step), the planner's prediction, the time to trace and compile, and
the time of a step, the best of three. What would not fit into `--limit` is compiled but not run. Prints a table; writes
memory.json and memory.png to --out.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import resource
import subprocess
import time
from typing import Any

from places import processor, pythons
from running import search_path
from work import Work

HERE = pathlib.Path(__file__).parent
SYSTEMS = [
    "jaxrnn save", "jaxrnn offload", "jaxrnn recompute", "jaxrnn recursive", "jaxrnn static_rnn", "plain lax.scan", "Flax",
    "Flax, nn.remat", "Haiku", "Equinox, checkpointed", "torch",
]  # fmt: skip
PLANNED = SYSTEMS[:4]
LONGEST = {"jaxrnn static_rnn": 64}  # its compilation grows with T, to minutes
SHORTEST = {"jaxrnn recursive": 64}  # below, there is nothing to cut twice

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--peers", nargs="*", default=[], help="Pythons of environments that have peers")
parser.add_argument("--out", default="out/memory", help="where the results go")
parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 512, 4096, 32768, 262144, 1048576], help="T")
parser.add_argument("--sizes", type=int, nargs=3, default=[1, 8, 128], help="B, D, H")
parser.add_argument("--limit", type=float, default=6.0, help="GB that a step may take to be run")
parser.add_argument(
    "--one", nargs=3, metavar=("SYSTEM", "T", "LOSS"), help="measure one, print it as JSON (the driver's own use)"
)


# ---- one system, in a process of its own


def measure(system: str, length: int, loss: str, sizes: list[int], limit: float, planned: bool = True) -> dict[str, Any]:
    """Bytes, seconds and versions of one system's training step, and what the planner says of it."""
    if system == "torch":
        return measure_torch(length, loss, *sizes)
    import jax
    from systems import arrays_of, jaxrnn_plan, loss_of

    batch, inputs, units = sizes
    work = Work("lstm", length, batch, inputs, units)
    value, params = loss_of(system, work, loss)
    (x,) = arrays_of(work, system)
    step = jax.jit(jax.value_and_grad(value))
    began = time.perf_counter()
    compiled = step.lower(params, x).compile()
    result: dict[str, Any] = {"compile": time.perf_counter() - began}
    analysis: Any = compiled.memory_analysis()
    result |= {"bytes": analysis.temp_size_in_bytes, "host_bytes": analysis.host_temp_size_in_bytes}
    if system in PLANNED and planned:
        result["predicted"] = jaxrnn_plan(work, loss, system.split()[1]).device_bytes
    if result["bytes"] <= limit * 1e9:
        result["step"] = best_time(lambda: jax.block_until_ready(compiled(params, x)))
    return result | {"versions": {"python": platform.python_version(), "jax": jax.__version__}}


def measure_torch(length, loss, batch, inputs, units):
    """The same for `torch.nn.LSTM`, which counts no bytes: the growth of the peak resident memory in the first step."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    lstm, x = torch.nn.LSTM(inputs, units, batch_first=True), torch.randn(batch, length, inputs)

    def step():
        lstm.zero_grad()
        outputs, (h, _) = lstm(x)
        (outputs if loss == "outputs" else h).sin().sum().backward()

    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before = peak()
    step()
    return {"bytes": peak() - before, "step": best_time(step), "versions": {"torch": torch.__version__}}


def best_time(step) -> float:
    """Seconds of the fastest of three runs, or of as many as begin within ten seconds, after one to warm up."""
    step()
    times, began = [], time.perf_counter()
    while len(times) < 3 and (not times or time.perf_counter() - began < 10):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


# ---- all of them


def run_all(options) -> list[dict[str, Any]]:
    """Every length and system in turn."""
    rows, places = [], pythons(SYSTEMS, options.peers)
    for loss in ("state", "outputs"):
        for length in options.lengths:
            for system, python in places.items():
                if not SHORTEST.get(system, 0) <= length <= LONGEST.get(system, length):
                    continue
                if system == "torch" and too_large(rows, system, loss, length, options.limit):
                    continue
                result = run_one(python, system, length, loss, options)
                rows.append({"system": system, "time": length, "loss": loss, **result})
                print(line(rows[-1]), flush=True)
    return rows


def too_large(rows, system, loss, length, limit):
    """Whether the system, going on as before, would need more than the limit."""
    shorter = [row for row in rows if row["system"] == system and row["loss"] == loss]
    return bool(shorter) and shorter[-1]["bytes"] * length / shorter[-1]["time"] > limit * 1e9


def run_one(python: str, system: str, length: int, loss: str, options) -> dict[str, Any]:
    """What a process of its own says of a system."""
    sizes = [*map(str, options.sizes)]
    command = [python, __file__, "--one", system, str(length), loss, "--sizes", *sizes, "--limit", str(options.limit)]
    environment = os.environ | {"PYTHONPATH": search_path()}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(row) -> str:
    """One row of the table."""
    size = lambda value: f"{value / 1e6:.2f} MB" if value is not None else "-"
    compiling = f"{row['compile']:.2f} s" if "compile" in row else "-"
    running = f"{row['step'] / row['time'] * 1e6:.2f} us a step" if "step" in row else "not run"
    cells = [size(row["bytes"]), size(row.get("predicted")) + " predicted", compiling + " compile", running]
    return f"{row['loss']:8} T {row['time']:8}  {row['system']:22}" + "".join(f"{cell:>22}" for cell in cells)


def draw(path: pathlib.Path, rows, sizes) -> None:
    """Bytes against T on logarithmic axes, a panel a loss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(13, 6), sharey=True, layout="constrained")
    colors = {"jaxrnn": "tab:red", "plain": "0.45", "Flax": "tab:blue", "Haiku": "tab:purple", "Equinox": "tab:green",
              "torch": "tab:orange"}  # fmt: skip
    styles = {"recompute": "-", "recursive": "--", "save": "-.", "offload": ":", "nn.remat": "--"}
    for panel, loss in zip(panels, ("state", "outputs"), strict=True):
        labels = []
        for system in SYSTEMS:
            points = [(row["time"], row["bytes"]) for row in rows if row["system"] == system and row["loss"] == loss]
            if len(points) < 2 or system == "jaxrnn static_rnn":
                continue
            first, last = system.replace(",", "").split()[0], system.split()[-1]
            panel.plot(*zip(*points, strict=True), styles.get(last, "-"), color=colors[first], marker=".", linewidth=1.6)
            labels.append((points[-1], system, colors[first]))
        height = 0.0
        for (x, y), system, color in sorted(labels, key=lambda label: label[0][1]):
            height = max(y, height * 1.45)  # the labels of lines that are close stand one above the other
            panel.text(x * 1.2, height, system, color=color, va="center", fontsize=9)
        name = {"state": "loss on the last output", "outputs": "loss on all outputs"}[loss]
        panel.set(xscale="log", yscale="log", xlabel="T, steps", title=name)
        panel.set_xlim(right=max(row["time"] for row in rows) * 40)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.93")
    panels[0].set_ylabel("temporary memory of a training step, bytes")
    batch, inputs, units = sizes
    figure.suptitle(f"LSTM, B = {batch}, D = {inputs}, H = {units}, float32")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, prints, writes."""
    options = parser.parse_args()
    if options.one:
        system, length, loss = options.one
        print(json.dumps(measure(system, int(length), loss, options.sizes, options.limit)))
        return
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = run_all(options)
    machine = {"processor": processor(), "cores": os.cpu_count(), "sizes": options.sizes}
    (out / "memory.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if importlib.util.find_spec("matplotlib"):
        draw(out / "memory.png", rows, options.sizes)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
