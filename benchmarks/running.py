"""A process that measures one system, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import select
import subprocess
import tempfile
from typing import Any

from work import Work

HERE = pathlib.Path(__file__).parent


class Worker:
    """A process that imports what it needs, gets ready when it is told to, and then answers every line with one of JSON."""

    def __init__(self, system: str, command: list[str], environment: dict[str, str] | None = None):
        environment = os.environ | {"PYTHONPATH": search_path(), "PYTHONWARNINGS": "ignore"} | (environment or {})
        # A pipe that nobody reads would fill up.
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, encoding="utf-8", stdin=pipe, stdout=pipe, stderr=self.said, bufsize=1
        )
        self.system, self.about, self.late = system, None, False
        self.times: dict[str, list[float]] = {"forward": [], "train": []}

    def get_ready(self, seconds: float | None = None) -> None:
        """Has it compile; `about` is what it says of that, None if it ended instead or took longer than `seconds`."""
        self.about = self.ask("go", seconds)

    def run(self, what: str, seconds: float | None = None) -> None:
        """A turn of "forward" or "train"."""
        self.times[what] += self.ask(what, seconds) or []

    def ask(self, what: str, seconds: float | None = None) -> Any:
        """Its answer to a line; None if there is none."""
        assert self.process.stdin
        try:
            self.process.stdin.write(what + "\n")
        except BrokenPipeError:
            return None
        return self._answer(seconds)

    def _answer(self, seconds: float | None) -> Any:
        """The next line of JSON; what a library prints is passed over."""
        assert self.process.stdout
        while select.select([self.process.stdout], [], [], seconds)[0]:
            line = self.process.stdout.readline()
            if not line:
                return None
            with contextlib.suppress(ValueError):
                return json.loads(line)
        self.late = True
        return None

    def end(self) -> None:
        """Ends it, and gives its memory back."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """What it said when it ended."""
        if self.late:
            return "took too long"
        self.said.seek(0)
        lines = ["no reason given", *self.said.read().strip().splitlines()]
        return next((line for line in reversed(lines) if re.match(r"[\w.]+Error", line)), lines[-1])


def search_path() -> str:
    """This package and these benchmarks, before what there is already."""
    return os.pathsep.join(filter(None, [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH")]))


def timing(python: str, system: str, work: Work, environment: dict[str, str] | None = None) -> Worker:
    """One that runs a system's steps; see `worker.py`."""
    return Worker(system, [python, str(HERE / "worker.py"), system, work.name], environment)
