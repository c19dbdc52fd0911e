"""Whether the search sees faults: `python tests/mutants_of_random_cells.py [NAME ...]`.

A mutant is a copy of the package with one piece of text replaced. Its search has to find seeds that fail, beside those that fail
without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# name: (file, old, new)
MUTANTS = {
    "mask one step late": ("lengths.py", "time[:, None] < lengths[None]", "time[:, None] < lengths[None] + 1"),
    "padding is not copied through": ("lengths.py", "select_rows(step.valid, new, old)", "new"),
    "resets in the padding": ("lengths.py", "resets if self.valid is None else resets & self.valid", "resets"),
    "a reset without its cotangent": ("derivative.py", "add_tangents(ct_start, more)", "ct_start"),
    "a tap dropped": ("derivative.py", 'dstate), taps["gates"])', "dstate), None)"),
    "the gates' own state dropped": ("derivative.py", 'taps["recur"]), dstate)', 'taps["recur"]), jax.tree.map(lambda d: 0 * d, dstate))'),
    "a sum where there is none": ("traced.py", 'adding[0].primitive.name == "add"', 'adding[0].primitive.name in ("add", "mul")'),
    "a sum of a difference": ("traced.py", 'adding[0].primitive.name == "add"', 'adding[0].primitive.name in ("add", "sub")'),
    "residuals shared by shape": ("kept.py", "position = {id(leaf): i for", "position = {leaf.shape: i for"),
    "an output taken for a gate": ("traced.py", "if results[i] is b)", "if results[i].aval == b.aval)"),
    "states kept one step late": ("tape.py", "jnp.concatenate([first[None], outputs[i][:-1]])", "outputs[i]"),
    "inputs' gradient in the padding": ("passes.py", "zero_padding(steps.valid, ct_xs)", "ct_xs"),
    "reset state of the chunk": ("tape.py", "self.lengths, self.state))", "self.lengths, jax.tree.map(lambda s: 0.9 * s, self.state)))"),
    "zero outputs' cotangent kept": ("passes.py", "ct_ys = zero_padding(steps.valid, chunk.read(self.ct_outputs))", "ct_ys = chunk.read(self.ct_outputs)"),
}  # fmt: skip


def failing(folder: Path, seeds: tuple[int, int], kinds: tuple[str, ...] = ("cell",)) -> set[str]:
    """The seeds that fail there."""
    failed = set()
    for kind in kinds:
        command = [sys.executable, "tests/search_random_cells.py", "--short", "--kind", kind, "--seeds", *map(str, seeds)]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        text = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
        if "failed" not in text:
            raise RuntimeError(f"the search did not end: {text[-300:]}")
        failed |= set(re.findall(r"^seed (\d+):", text, re.MULTILINE))
    return failed


def copy(folder: str, mutant: str | None = None) -> Path:
    """The package and its tests in `folder`, with the mutant's change."""
    target = Path(folder) / (mutant or "original").replace(" ", "_").replace("'", "")
    for part in ("jaxrnn", "tests"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant:
        name, old, new = MUTANTS[mutant]
        file = target / "jaxrnn" / name
        if old not in file.read_text():
            raise ValueError(f"mutant {mutant!r}: jaxrnn/{name} has no {old!r} any more. Write it anew.")
        file.write_text(file.read_text().replace(old, new))
    return target


def main(names: list[str], seeds: tuple[int, int] = (0, 100)) -> int:
    """The number of mutants that live."""
    with tempfile.TemporaryDirectory() as folder:
        known, alive = failing(copy(folder), seeds), 0
        print(f"the original: {len(known)} of {seeds[1] - seeds[0]} fail", flush=True)
        for name in names or MUTANTS:
            found = sorted(failing(copy(folder, name), seeds) - known, key=int)
            alive += not found
            print(f"{name}: {len(found)} more fail, {', '.join(found[:5]) or 'it lives'}", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
