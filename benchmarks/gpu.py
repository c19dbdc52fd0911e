"""Speed and memory on a GPU: jaxrnn's modes beside cuDNN and the JAX libraries, offload proven, XLA's options tried.

    python benchmarks/gpu.py                                   what is installed in this environment
    python benchmarks/gpu.py --peers A/bin/python B/bin/python and in these (set_up_peers.sh beside this file makes them)
    python benchmarks/gpu.py --platform cpu --rows lstm,16,2,3,4,bfloat16 --lengths 64 --sizes 2 3 4    a rehearsal

Every measurement is a process of its own that has the GPU to itself, the most important ones first, until `--seconds` are
over. After each, gpu.json in --out has it, and the same command goes on where it was cut off; gpu.txt has a table, gpu.png and
offload.png pictures. The work is that of speed.py, in several precisions: float32 (without tf32), tf32, mixed (products of
bfloat16, all else float32), bfloat16, float16. The part "speed" times forward passes and training steps; "offload" shows that
states in the host's memory give the right gradients, and takes bytes and times against T; "options" are jaxrnn's steps with
other options of XLA's compiler and with JAX's other names for the products of float32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from gpu_report import PRODUCT, SYSTEMS, draw_all, line, tables
from options import COMPILER_OPTIONS
from places import processor, pythons
from running import HERE, Worker, timing
from work import Work

CORE = ["jaxrnn save", "torch", "Flax"]  # of most rows these come first
IN_FULL = 2  # rows of which all systems come first
SIZES = [(16, 768), (64, 1024), (16, 256), (256, 1024), (64, 256), (64, 768), (16, 1024), (256, 256), (256, 768)]
FIRST_ROWS = [f"lstm,1024,16,768,768,{precision}" for precision in ("bfloat16", "tf32", "float32", "mixed", "float16")]
ROWS = [
    f"{cell},1024,{batch},{units},{units},{precision}"
    for precision in ("bfloat16", "tf32", "float32", "mixed", "float16")
    for batch, units in SIZES
    for cell in ("lstm", "gru")
]
ROWS = [*dict.fromkeys([*FIRST_ROWS, *ROWS])]
LONGEST_WAIT = 150  # seconds that one measurement may take to get ready

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seconds", type=float, default=540, help="after which what is left is skipped")
parser.add_argument("--parts", nargs="+", default=["speed", "offload", "options"], choices=["speed", "offload", "options"])
parser.add_argument("--platform", default="cuda", choices=["cuda", "cpu"])
parser.add_argument("--peers", nargs="*", default=[], help="Pythons of environments that have peers")
parser.add_argument("--systems", nargs="*", default=SYSTEMS, help="which; jaxrnn save always")
parser.add_argument("--rows", nargs="*", default=ROWS, help="which, as cell,T,B,D,H,precision")
parser.add_argument("--options-rows", nargs="*", default=[FIRST_ROWS[0], "lstm,1024,16,256,256,tf32"], help="for the options")
parser.add_argument("--rounds", type=int, default=3, help="turns of forward and train")
parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 16384, 65536, 262144], help="T of offload")
parser.add_argument("--sizes", type=int, nargs=3, default=[16, 32, 256], help="B, D, H of offload")
parser.add_argument("--limit", type=float, default=20.0, help="GB that a step of offload's lengths may take to be run")
parser.add_argument("--out", default="out/gpu", help="where the results go; what is there is not measured again")


class Job(NamedTuple):
    """A measurement: "speed" of a work, "offload" at sizes T,B,D,H and a loss, or its "trial"."""

    kind: str
    system: str
    work: str
    loss: str = "outputs"


# ---- which, in which order


def jobs(options) -> list[Job]:
    """All measurements, the most important first."""
    systems = [*dict.fromkeys(["jaxrnn save", *options.systems])]
    core = [system for system in systems if system in CORE]
    others = [system for system in systems if system not in CORE]
    each = lambda rows, systems: [Job("speed", system, row) for row in rows for system in systems]
    first, rest = options.rows[:IN_FULL], options.rows[IN_FULL:]
    speed, offload, tried = (part in options.parts for part in ("speed", "offload", "options"))
    wanted = [
        *(each(first, systems) if speed else []),
        *(offload_jobs(options) if offload else []),
        *(options_jobs(options) if tried else []),
        *(each(rest, core) + each(rest, others) if speed else []),
    ]
    return [*dict.fromkeys(with_products(wanted))]


def with_products(wanted: list[Job]) -> Iterator[Job]:
    """Before the first job of every precision a large product, against which all are held."""
    for job in wanted:
        if job.kind == "speed":
            yield Job("speed", PRODUCT, Work("lstm", 1, 1, 1, 1, precision=Work.of(job.work).precision).name)
        yield job


def offload_jobs(options) -> Iterator[Job]:
    """The trial, then offload beside "recompute", which is the choice without it. Batch-major inputs would be copied."""
    sizes = lambda length: ",".join(map(str, [length, *options.sizes]))
    yield Job("trial", "trial", sizes(min(options.lengths)))
    for loss in ("state", "outputs"):
        for length in options.lengths:
            for mode in ("recompute", "offload"):
                yield Job("offload", f"jaxrnn {mode}, time-major", sizes(length), loss)


def options_jobs(options) -> Iterator[Job]:
    """Options of the compiler, and JAX's other names for what float32 products are made of."""
    for row in options.options_rows:
        for system in ("jaxrnn save", *COMPILER_OPTIONS):
            yield Job("speed", system, row)
    for precision in ("", "high"):
        for row in options.options_rows[:1]:
            yield Job("speed", "jaxrnn save", Work.of(row)._replace(precision=precision).name)


# ---- one after the other


def started(wanted: list[Job], places: dict[str, str], options) -> Iterator[tuple[Job, Worker]]:
    """Every job with its process; the next one's imports meanwhile, without touching the GPU."""
    following = None
    try:
        for job, after in zip_longest(wanted, wanted[1:]):
            current = following or launch(job, places, options)
            following = after and launch(after, places, options)
            try:
                yield job, current
            finally:
                current.end()
    finally:
        if following:
            following.end()


def launch(job: Job, places: dict[str, str], options) -> Worker:
    """Its process, which waits to be told."""
    environment = {
        "JAX_PLATFORMS": options.platform,  # and no other: a GPU that is not found must not be a CPU's numbers
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    python = places.get(job.system, sys.executable)
    if job.kind == "speed":
        return timing(python, job.system, Work.of(job.work), environment)
    command = [python, str(HERE / "offload.py"), job.system, job.work, job.loss, str(options.limit)]
    return Worker(job.system, command, environment)


def measured(job: Job, worker: Worker, rounds: int, end: float) -> dict[str, Any]:
    """What a process finds, or why it finds nothing."""
    left = lambda: max(1.0, min(LONGEST_WAIT, end - time.monotonic()))
    worker.get_ready(left())
    result = worker.about or {}
    if worker.about and job.kind == "speed":
        for what in ("forward", "train") * rounds:
            worker.run(what, left())
        result["kernels"] = worker.ask("kernels", min(30, left())) or {}
        for what, times in worker.times.items():
            result |= {what: {"best": min(times), "median": statistics.median(times)}} if times else {}
    complete = worker.about and (job.kind != "speed" or {"forward", "train"} <= result.keys())
    return result if complete else {"left_out": worker.last_words()}


def run_all(options, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows that are not done yet, as they come."""
    wanted, end, card = jobs(options), time.monotonic() + options.seconds, card_name(options.platform)
    places = pythons(dict.fromkeys(job.system for job in wanted if job.kind == "speed"), options.peers)
    known = {(row["kind"], row["system"], row["work"], row["loss"]) for row in done if row["card"] == card}
    wanted = [job for job in wanted if tuple(job) not in known and (job.kind != "speed" or job.system in places)]
    print(f"{len(wanted)} measurements, {len(known)} known", flush=True)
    for count, (job, worker) in enumerate(started(wanted, places, options)):
        if time.monotonic() > end - 5:
            print(f"{options.seconds:.0f} seconds are over; skipped: {len(wanted) - count} of {len(wanted)} measurements")
            return
        result = measured(job, worker, options.rounds, end)
        if result.get("left_out") != "took too long" or time.monotonic() < end:  # else the next run has it again
            yield job._asdict() | {"card": card} | result


def kept(path: pathlib.Path) -> list[dict[str, Any]]:
    """What an earlier run found, and what it found not to be offered; what failed is tried again."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in rows if "left_out" not in row or "NotOffered" in row["left_out"]]


def card_name(on: str) -> str:
    """Of the GPU, or the processor in a rehearsal."""
    if on == "cpu" or not shutil.which("nvidia-smi"):
        return processor()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(query, stdout=subprocess.PIPE, encoding="utf-8").stdout.split("\n")[0]


def main() -> None:
    """Measures, prints, writes."""
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "gpu.json"
    rows = kept(path)
    machine = {"card": card_name(options.platform), "cores": os.cpu_count(), "python": platform.python_version()}
    print(machine, flush=True)
    for row in run_all(options, rows):
        rows.append(row)
        path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
        print(line(row, rows), flush=True)
    (out / "gpu.txt").write_text("\n".join(tables(rows)) + "\n")
    if importlib.util.find_spec("matplotlib"):
        draw_all(out, rows, options.sizes)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
