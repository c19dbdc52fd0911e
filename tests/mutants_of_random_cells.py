"""Whether the search sees faults: `python tests/mutants_of_random_cells.py [NAME ...]`.

A mutant is a copy of the package with one piece of text replaced. Its search has to find a seed that fails with it and not
without it.
"""

from __future__ import annotations

import functools
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
    "a mask one step late": ("lengths.py", "time[:, None] < lengths[None]", "time[:, None] < lengths[None] + 1"),
    "padding changes the state": ("lengths.py", "select_rows(step.valid, new, old)", "new"),
    "padding starts again": ("chunk.py", "leave(step, state, new), output", "leave(step, start, new), output"),
    "no resets beside lengths": ("lengths.py", "else resets | padded", "else padded"),
    "a reset's cotangent dropped": ("derivative.py", "add_tangents(ct_start, more)", "ct_start"),
    "the gates' weights dropped": ("derivative.py", 'dstate), taps["gates"])', "dstate), None)"),
    "the combination's weights dropped": ("derivative.py", '(doutput, dnew), taps["combine"])', "(doutput, dnew), None)"),
    "a product taken for a sum": ("traced.py", 'name == "add"', 'name in ("add", "mul")'),
    "a difference taken for a sum": ("traced.py", 'name == "add"', 'name in ("add", "sub")'),
    "a sum, one of two uses": ("traced.py", "len(adding) == 1 and adding == readers(y)", "adding[:1] == readers(y)[:1] != []"),
    "a result reads nothing": ("traced.py", "[*equations, *(result for result in jaxpr.outvars if result is v)]", "equations"),
    "a residual of one shape shared": ("kept.py", "if v is variable)", "if v.aval == variable.aval)"),
    "an output of one shape taken for a gate": ("traced.py", "if results[i] is b)", "if results[i].aval == b.aval)"),
    "weights taken for rows": ("tangents.py", "return all(trace.varies) and all(", "return all("),
    "states one step late": ("tape.py", "jnp.concatenate([first[None], outputs[i][:-1]])", "outputs[i]"),
    "the padding's output has a cotangent": ("passes.py", "ct_ys = zero_padding(steps.valid, ", "ct_ys = zero_padding(None, "),
    "a frozen leaf among live ones": ("tangents.py", "next(rest) if live else other", "next(rest, other)"),
}  # fmt: skip
BLOCK = 25  # seeds at once, until there is a find


def failing(folder: Path, seeds: tuple[int, int]) -> set[int]:
    """The seeds that fail there."""
    command = [sys.executable, "tests/search_random_cells.py", "--short", "--seeds", *map(str, seeds)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    text = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
    if " failed, " not in text:
        raise RuntimeError(f"the search did not end: {text[-300:]}")
    return {int(seed) for seed in re.findall(r"^seed (\d+):", text, re.MULTILINE)}


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
        original, alive = copy(folder), 0
        without = functools.cache(lambda block: failing(original, block))
        for name in names or MUTANTS:
            mutant, found = copy(folder, name), []
            blocks = [(first, first + BLOCK) for first in range(*seeds, BLOCK)]
            for block in blocks:
                found += sorted(failing(mutant, block) - without(block))
                if found:
                    break
            alive += not found
            print(f"{name}: {f'found by {found}' if found else 'it lives'}", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
