"""How many kernels a compiled program launches, read off its text: the same on every run, and without a profiler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "opt-barrier",
    "partition-id",
    "replica-id",
}
HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
CALLED = re.compile(r"(?:to_apply|body|branch_computations|true_computation|false_computation)=(\{[^}]*\}|[%\w.\-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Loop(NamedTuple):
    """How often the body of a loop runs in all, and the kernels that it launches each time, those of inner loops left out."""

    times: int
    kernels: int


class _Instruction(NamedTuple):
    opcode: str
    called: list[str]
    trips: int


def launches(text: str) -> int:
    """Kernels of one run of a program, from its optimised HLO.

    A fusion, a library's call, a copy is one each, though a library may launch several; what only names memory is none. A loop
    of a number of rounds that the compiler doesn't know counts as one round, a branch as all its sides.
    """
    return sum(loop.times * loop.kernels for loop in loops(text))


def loops(text: str) -> list[Loop]:
    """The program itself, as a loop of one round, and the loops in it, outer ones first."""
    computations, entry = _parse(text)
    return list(_walk(computations, entry, 1))


def _walk(computations, name: str, times: int) -> Iterator[Loop]:
    inlined = list(_inlined(computations, name))
    yield Loop(times, sum(instruction.opcode != "while" for instruction in inlined))
    for instruction in inlined:
        for body in instruction.called if instruction.opcode == "while" else ():
            yield from _walk(computations, body, times * instruction.trips)


def _inlined(computations, name: str) -> Iterator[_Instruction]:
    """What costs something, with what is called, such as a command buffer, in the place of the call."""
    for instruction in computations.get(name, ()):
        if instruction.opcode in ("call", "conditional"):
            for called in instruction.called:
                yield from _inlined(computations, called)
        elif instruction.opcode not in FREE:
            yield instruction


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations, entry, current = {}, "", []
    for line in text.splitlines():
        if head := HEAD.match(line):
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif instruction := _instruction(line):
            current.append(instruction)
    return computations, entry


def _instruction(line: str) -> _Instruction | None:
    found = re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*)", line)
    opcode = found and re.search(r" ([a-z][a-z0-9\-]*)\(", " " + found[1])
    if not opcode or opcode[1].endswith("-done"):
        return None
    called = [name.strip("{%} ") for names in CALLED.findall(line) for name in names.split(",")]
    trips = TRIPS.search(line)
    return _Instruction(opcode[1].removesuffix("-start"), called, int(trips[1]) if trips else 1)
