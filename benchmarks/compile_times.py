"""How long a gradient takes to trace, lower and compile: jaxrnn and its peers, in processor time.

    python benchmarks/compile_times.py                        what is installed in this environment
    python benchmarks/compile_times.py --peers A/bin/python   and in these (see set_up_peers.sh)

Every system compiles in a process of its own, which has compiled another shape before: what a library imports and JAX sets up
once is left out. Shown is the least of several rounds, in milliseconds, and the ratio of the sums to a plain scan's. Prints a
table, and writes compile_times.json to --out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import time
from typing import Any

from places import pythons
from running import HERE, Worker
from work import NotOfferedError, Work

PLAIN = "plain lax.scan"
SYSTEMS = ["jaxrnn save", PLAIN, "Flax", "Flax nnx", "Haiku", "Equinox", "Keras"]
SIZES = ["50,4,16,16", "50,32,64,16", "50,4,64,128", "50,32,64,128", "50,32,128,256"]
ROWS = [f"{cell},{sizes}{lengths}" for lengths in ("", ",uniform") for sizes in SIZES for cell in ("lstm", "gru", "basic")]
ROWS += [f"{cell},400,64,32,128,uniform" for cell in ("lstm", "gru", "basic")]
STAGES = ("trace", "lower", "compile")
WARM_UP = "7,3,5,6"


def measure(system: str, work: Work) -> list[float]:
    """Seconds of processor time to trace, lower and compile the gradient with respect to the params."""
    import jax
    from systems import arrays_of, loss_of

    value, params = loss_of(system, work, "outputs")
    args = (params, *arrays_of(work))
    jax.clear_caches()
    clock = [time.process_time()]
    traced = jax.jit(jax.grad(lambda *args: value(*args))).trace(*args)
    clock.append(time.process_time())
    lowered = traced.lower()
    clock.append(time.process_time())
    lowered.compile()
    clock.append(time.process_time())
    return [end - begin for begin, end in itertools.pairwise(clock)]


def answer(system: str) -> None:
    """Measures the work that each line names, for as long as there are lines."""
    for line in map(str.strip, sys.stdin):
        try:
            if line == "go":
                measure(system, Work.of(f"lstm,{WARM_UP}"))
                print("{}", flush=True)
            else:
                print(json.dumps(measure(system, Work.of(line))), flush=True)
        except NotOfferedError:
            print("[]", flush=True)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Pythons of environments that have peers")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS, help="which")
    parser.add_argument("--rows", nargs="*", default=ROWS, help="which, as cell,T,B,D,H[,lengths]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default="out/compile_times", help="where the results go")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.answer)
        return
    where = pythons(options.systems, options.peers)
    workers = [Worker(s, [python, str(HERE / "compile_times.py"), "--answer", s]) for s, python in where.items()]
    for worker in workers:
        worker.get_ready()
        if worker.about is None:
            print(f"left out: {worker.system} ({worker.last_words()})", flush=True)
    results: dict[str, dict[str, Any]] = {}
    for row in options.rows:
        rounds = [{w.system: w.ask(row) for w in workers if w.about is not None} for _ in range(options.rounds)]
        best = {s: [min(stage) for stage in zip(*(r[s] for r in rounds), strict=True)] for s in rounds[0] if rounds[0][s]}
        results[row] = best
        print(row, flush=True)
        for system, stages in best.items():
            times = "  ".join(f"{name} {seconds * 1e3:5.0f}" for name, seconds in zip(STAGES, stages, strict=True))
            ratio = f"{sum(stages) / sum(best[PLAIN]):.2f} of a plain scan" if PLAIN in best else ""
            print(f"  {system:16} {times}  {ratio}", flush=True)
    for worker in workers:
        worker.end()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "compile_times.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
