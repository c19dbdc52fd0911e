"""Runs random cells until something differs: `python tests/search_random_cells.py --seeds 0 2000`.

Every failing seed is printed with its cell, its run and what went wrong, and the search goes on. The last lines have the number
of failures by their reason, and the time.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import re
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax

from tests import conftest  # noqa: F401  # the configuration of the tests
from tests.random_runs import KINDS, check_case, draw_case

FORGET_AFTER = 40  # cells: each has some compiled programs


def try_seed(kind: str, seed: int) -> tuple[int, str, str]:
    """`(seed, reason, text)`: no reason is a case that holds."""
    jax.config.update("jax_enable_compilation_cache", False)  # no cell comes twice
    if seed % FORGET_AFTER == 0:
        jax.clear_caches()
    with jax.enable_x64(True):
        case = None
        try:
            case = draw_case(seed, kind)
            return seed, "" if check_case(case) else "too large", ""
        except Exception as error:  # of any kind: it is what is looked for
            return seed, f"{type(error).__name__}{_where(error)}: {error}", str(case)


def _where(error: Exception) -> str:
    """The last function of ours that an exception came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/jaxrnn/" in frame.filename]
    return f" in {Path(frames[-1].filename).stem}.{frames[-1].name}" if frames and not isinstance(error, AssertionError) else ""


def outline(reason: str) -> str:
    """A reason without its numbers and names."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.]+(e[-+]?\d+)?", "#", reason))[:110]


def _worker(args: tuple[str, range]) -> list:
    kind, seeds = args
    return [try_seed(kind, seed) for seed in seeds]


def main() -> int:
    """The number of failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 200), metavar=("FROM", "TO"))
    parser.add_argument("--kind", choices=KINDS, default="cell")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="one line a failure")
    options = parser.parse_args()

    start, reasons, too_large = time.perf_counter(), collections.defaultdict(list), 0
    seeds = range(*options.seeds)
    blocks = [(options.kind, seeds[i : i + 10]) for i in range(0, len(seeds), 10)]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = pool.imap(_worker, blocks) if options.jobs > 1 else map(_worker, blocks)
        for seed, reason, text in (result for block in results for result in block):
            if reason == "too large":
                too_large += 1
            elif reason:
                reasons[outline(reason)].append(seed)
                print(f"seed {seed}: {reason[: 160 if options.short else 2000]}", flush=True)
                print("" if options.short else f"  {text}\n", end="" if options.short else "\n", flush=True)
    for reason, failed in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"{len(failed):5} x {reason}  (seeds {', '.join(map(str, failed[:6]))})")
    failures, seconds = sum(map(len, reasons.values())), time.perf_counter() - start
    print(
        f"jax {jax.__version__}: {len(seeds)} of kind {options.kind!r}, {failures} failed, {too_large} too large to compare, "
        f"{seconds:.0f} s, {seconds / max(len(seeds), 1):.2f} s each"
    )
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
