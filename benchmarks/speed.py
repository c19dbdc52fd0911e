"""Speed of training steps and forward passes on this machine: jaxrnn's modes and its peers, in one run.

    python benchmarks/speed.py                                    what is installed in this environment
    python benchmarks/speed.py --peers A/bin/python B/bin/python  and in these (set_up_peers.sh beside this file makes them)

Every system runs in a process of its own, from the first of the environments that has it, on the same work: batch-first
float32, the sum of the sines of all outputs, its gradient with respect to the parameters. For every row all systems get
ready, one after the other, and then take turns, one at a time, for several rounds. Shown are the best and the median of all
runs, the ratio to jaxrnn's "save", the share of the time that the matrix products alone would take at the rate that a large
one reaches in the same rounds, temporary memory, and the time to compile. Prints a table; writes speed.json and speed.png
to --out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import sys
from typing import Any

from places import processor, pythons
from running import Worker, timing
from work import Work

OURS = ["jaxrnn save", "jaxrnn packed", "jaxrnn offload", "jaxrnn recompute", "jaxrnn recursive"]
JAX_PEERS = ["plain lax.scan", "Flax", "Flax nnx", "Haiku", "Equinox", "Keras"]
PRODUCT = "a matrix product"
SIZES = ["28,150,28,150", "20,50,1,100", "50,32,1,100", "128,32,128,256", "1000,8,16,64", "64,64,512,512", "200,1,8,16"]
RAGGED = ["200,32,64,128,uniform", "400,64,32,128,geometric"]
ROWS = [f"{cell},{sizes}" for sizes in SIZES + RAGGED for cell in ("lstm", "gru", "basic")]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--peers", nargs="*", default=[], help="Pythons of environments that have peers")
parser.add_argument("--systems", nargs="*", default=[*OURS, *JAX_PEERS, "torch", "TF1"], help="which; jaxrnn save always")
parser.add_argument("--rows", nargs="*", default=ROWS, help="which, as cell,T,B,D,H[,lengths][,precision]")
parser.add_argument("--rounds", type=int, default=5, help="turns of each system")
parser.add_argument("--out", default="out/speed", help="where the results go")


def measure(work: Work, systems: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """One row of the table, system by system."""
    workers = []
    for system, python in systems.items():
        worker = timing(python, system, work)
        worker.get_ready()
        if worker.about is None:
            print(f"  left out: {system} ({worker.last_words()})", flush=True)
        else:
            workers.append(worker)
    for _ in range(rounds):
        for what in ("forward", "train"):
            for worker in workers:
                worker.run(what)
    for worker in workers:
        worker.end()
    return [result(worker) for worker in workers]


def result(worker: Worker) -> dict[str, Any]:
    """What one system's runs come to."""
    times = {what: {"best": min(runs), "median": statistics.median(runs)} for what, runs in worker.times.items()}
    return {"system": worker.system, **(worker.about or {}), **times}


def table(work: Work, results: list[dict[str, Any]]) -> list[str]:
    """A line a system: milliseconds and their ratio to jaxrnn's, share of the products' time, memory, compilation."""
    by_system = {row["system"]: row for row in results}
    ours, product = by_system["jaxrnn save"], by_system[PRODUCT]
    floor = work.operations / product["operations"] * product["train"]["best"]
    lines = [f"{work.name}   products alone: {floor * 1e3:.3g} ms"]
    for row in results:
        if row["system"] == PRODUCT:
            continue
        cells = [f"{row['system']:22}"]
        for what in ("train", "forward"):
            best, median = row[what]["best"], row[what]["median"]
            cells.append(f"{what} {best * 1e3:9.3f} ({median * 1e3:9.3f}) ms  x {best / ours[what]['best']:5.2f}")
        cells.append(f"{floor / row['train']['best']:4.0%} of it products")
        if "bytes" in row:
            cells.append(f"{row['bytes'] / 1e6:9.2f} MB  {row['compile']:5.2f} s to compile")
        lines.append("  ".join(cells))
    return lines


def ratios(rows: list[dict[str, Any]], what: str, system: str) -> list[float]:
    """jaxrnn's time over a system's, for every row that has it."""
    found = []
    for row in rows:
        times = {result["system"]: result[what]["best"] for result in row["results"]}
        if system in times:
            found.append(times["jaxrnn save"] / times[system])
    return found


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Against each system, jaxrnn's time as a part of its: geometric mean and worst row."""
    lines = ["", "jaxrnn save, as a part of the other's time: geometric mean (worst row)"]
    for system in dict.fromkeys(result["system"] for row in rows for result in row["results"]):
        if system in ("jaxrnn save", PRODUCT):
            continue
        cells = [f"{system:22}"]
        for what in ("train", "forward"):
            parts = ratios(rows, what, system)
            cells.append(f"{what} {statistics.geometric_mean(parts):5.2f} ({max(parts):5.2f})")
        lines.append("  ".join(cells))
    return lines


def draw(path: pathlib.Path, rows: list[dict[str, Any]], systems: list[str]) -> None:
    """Time of a training step as a multiple of jaxrnn's, a row each; eight systems at most."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    systems = [s for s in systems if any(ratios([row], "train", s) for row in rows)]
    figure, axes = plt.subplots(figsize=(9, 0.34 * len(rows) + 1.4), layout="constrained")
    for system, marker in zip(systems, "osD^v<>P", strict=False):
        points = [(1 / ratio[0], i) for i, row in enumerate(rows) if (ratio := ratios([row], "train", system))]
        axes.plot(*zip(*points, strict=True), marker, label=system, markersize=6, alpha=0.85)
    axes.axvline(1, color="0.2", linewidth=1)
    axes.set(xscale="log", xlabel="time of a training step, as a multiple of jaxrnn's (right of the line: slower)")
    axes.set_yticks(range(len(rows)), [row["work"] for row in rows], fontsize=8)
    axes.set_xticks(ticks := [0.5, 1, 2, 4, 8, 16], map(str, ticks))
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.grid(color="0.93")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, prints, writes."""
    options = parser.parse_args()
    systems, rows = pythons(dict.fromkeys(["jaxrnn save", *options.systems]), options.peers), []
    systems[PRODUCT] = sys.executable
    for work in map(Work.of, options.rows):
        results = measure(work, systems, options.rounds)
        rows.append({"work": work.name, "results": results})
        print(*table(work, results), sep="\n", flush=True)
    print(*summary(rows), sep="\n")
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor(), "cores": os.cpu_count()}
    (out / "speed.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if importlib.util.find_spec("matplotlib"):
        draw(out / "speed.png", rows, [*JAX_PEERS, "torch", "TF1"])
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
