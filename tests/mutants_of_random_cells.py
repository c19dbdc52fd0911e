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


def _of_its_shape(arguments: str) -> tuple[str, str]:
    """A variable is looked for, and the first one of its shape is taken."""
    variables, variable = arguments.split(", ")
    first = f"next((i for i, u in enumerate({variables}) if u.aval == {variable}.aval), None)"
    return f"place({arguments})", first


# name: (file of the engine, old, new)
MUTANTS = {
    "a mask one step late": ("masking.py", "times[:, None] < lengths[None]", "times[:, None] < lengths[None] + 1"),
    "padding changes the state": ("masking.py", "select_rows(step.valid, new, old)", "new"),
    "padding starts again": ("derivative.py", "leave(now, old, new), kept", "leave(now, enter(now, old), new), kept"),
    "no resets beside lengths": ("masking.py", "self if resets is None else", "self if resets is None or first else"),
    "holes are run": ("masking.py", "before_the_end & mask", "before_the_end"),
    "a reset in a hole is lost": ("derivative.py", "leave(now, old, new), kept", "leave(now, state, new), kept"),
    "a reset's cotangent dropped": ("derivative.py", "add_tangents(ct_start, more)", "ct_start"),
    "the gates' weights dropped": ("derivative.py", 'dstate), dweights["gates"])', "dstate), None)"),
    "the combination's weights dropped": ("derivative.py", '(doutput, dnew), dweights["combine"])', "(doutput, dnew), None)"),
    "a cotangent of one shape taken for another": ("jaxpr_queries.py", *_of_its_shape("distinct, variable")),
    "a residual of one shape shared": ("residuals.py", *_of_its_shape("new, result")),
    "an output of one shape taken for a gate": ("residuals.py", *_of_its_shape("outputs, v")),
    "weights taken for rows": ("facts.py", "and all(all(trace.varies) for trace in traces)", ""),
    "states one step late": ("residuals.py", "jnp.concatenate([first[None], after[:-1]])", "after"),
    "the padding's output has a cotangent": ("inplace.py", "ct_ys = zero_padding(steps.valid, ", "ct_ys = zero_padding(None, "),
    "a frozen leaf among live ones": ("autodiff.py", "next(rest) if live else other", "next(rest, other)"),
    "a tile's states in another order": ("layout.py", "jnp.take(leaf, self.rows, 0", "jnp.take(leaf, jnp.sort(self.rows), 0"),
    "a tile that ends with its shortest row": ("layout.py", "order[:, 0]", "order[:, -1]"),
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
        file = target / "jaxrnn" / "engine" / name
        if old not in file.read_text():
            raise ValueError(f"mutant {mutant!r}: jaxrnn/engine/{name} has no {old!r} any more. Write it anew.")
        file.write_text(file.read_text().replace(old, new))
    return target


def main(names: list[str], seeds: tuple[int, int] = (0, 300)) -> int:
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
