"""A memory plan: a memory mode, a chunk size and what they cost; and the choice among plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxrnn import check
from jaxrnn.memory.modes import Mode, recursive, resolve
from jaxrnn.typing import MemoryName, Policy


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to run one problem, and what it costs. `dynamic_rnn(..., memory=plan)` runs it, for that problem alone.

    Attributes:
      mode: "save", "offload", "recompute" or "recursive".
      chunk_size: K, steps a chunk.
      levels: scans over chunks, one inside the other; 1 but for "recursive".
      device_bytes: temporary memory of a training step on the device, in bytes: all but the arguments (params, inputs) and
        the results (the gradient).
      host_bytes: the same in the host's memory.
      extra_forwards: forward passes that the backward pass runs again; of "offload" only what makes gates of states, a
        matrix product a chunk.
      loss: what was taken to read the result; of a function, its name.
      made_for: the problem, name by name: cells, shapes and dtypes.
    """

    mode: str
    chunk_size: int
    levels: int
    device_bytes: int
    host_bytes: int
    extra_forwards: int
    loss: str
    made_for: dict[str, Any] = dataclasses.field(repr=False, hash=False)

    @property
    def memory_mode(self) -> Mode:
        """The mode as the engine takes it."""
        return recursive(self.levels) if self.mode == "recursive" else resolve(self.mode)

    @property
    def how(self) -> str:
        """Its mode and sizes in a few words."""
        levels = f", levels={self.levels}" if self.mode == "recursive" else ""
        return f"memory={self.mode!r}{levels}, chunk_size={self.chunk_size}"

    def __str__(self) -> str:
        return "\n".join(_table([self]))


@dataclasses.dataclass(frozen=True)
class Plans:
    """All plans for one problem, the one with the least work first. `print` shows them as a table."""

    plans: tuple[Plan, ...]

    def within(self, budget: int) -> Plan:
        """The first plan that keeps to a budget of device memory in bytes.

        Raises:
          TypeError, ValueError: if the budget is not a positive int, or is below the least that the problem needs.
        """
        return first_within(budget, self.plans)

    def __iter__(self):
        return iter(self.plans)

    def __len__(self) -> int:
        return len(self.plans)

    def __str__(self) -> str:
        first = self.plans[0]
        problem = [f"{name} {what}" for name, what in first.made_for.items() if name.startswith(("cell", "inputs"))]
        return "\n".join([", ".join([*problem, f"loss on {first.loss}"]), *_table(self.plans)])


def first_within(budget: int, plans: Iterable[Plan]) -> Plan:
    """The first of `plans` within the budget; no further one is looked at."""
    check.budget(budget)
    seen = []
    for plan in plans:
        if plan.device_bytes <= budget:
            return plan
        seen.append(plan)
    least = min(seen, key=lambda plan: plan.device_bytes)
    raise check.budget_too_small(budget, least.device_bytes, least.how)


def _table(plans: Iterable[Plan]) -> list[str]:
    """A line a plan, below a heading."""
    rows = [("memory", "chunk", "levels", "device", "host", "extra forward passes")]
    for p in plans:
        sizes = (readable(p.device_bytes), readable(p.host_bytes) if p.host_bytes else "-")
        rows.append((p.mode, str(p.chunk_size), str(p.levels), *sizes, str(p.extra_forwards)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows]  # fmt: skip


def readable(size: int) -> str:
    """`12.3 MB`; units are powers of ten."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"


Memory = MemoryName | int | Mode | Plan | Policy  # what `memory=` takes; an int is a budget in bytes
