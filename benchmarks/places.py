"""Where things run: which environment has which system, and on what processor."""

from __future__ import annotations

import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterable

NEEDS = {"Flax": "flax", "Haiku": "haiku", "Equinox": "equinox", "Keras": "keras", "torch": "torch", "TF1": "tensorflow"}


def pythons(systems: Iterable[str], peers: list[str]) -> dict[str, str]:
    """For each system the first Python, this one or a peers', that has what it needs; a word on those that none has."""
    found = {}
    for system in systems:
        needed = NEEDS.get(system.replace(",", "").split()[0], "jax")
        probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needed!r}) is None)"
        have = [python for python in (sys.executable, *peers) if subprocess.run([python, "-c", probe]).returncode == 0]
        if have:
            found[system] = have[0]
        else:
            print(f"left out: {system} ({needed} is not installed)")
    return found


def processor() -> str:
    """Its name, where the system tells it."""
    told = pathlib.Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
