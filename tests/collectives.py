"""The places of a compiled program where devices exchange something, loop by loop."""

import collections
import re

KINDS = "all-gather", "reduce-scatter", "all-reduce", "collective-permute", "all-to-all"


def collectives(compiled):
    """`(in loops over steps, in loops around these, outside of loops)`: how many of each kind.

    A loop over steps has no other loop in it. Of loops there is a Counter each, without those in which nothing is exchanged.
    """
    text = compiled.as_text()
    bodies = {}
    for name, lines in re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", text, re.M | re.S):
        bodies[name] = lines
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.M).group(1)
    loops_in = lambda name: re.findall(r"body=%?([\w.\-]+)", bodies[name])

    def called(name):
        found = re.findall(r"branch_computations=\{([^}]*)\}", bodies[name])
        names = [part.strip().lstrip("%") for group in found for part in group.split(",")]
        return names + re.findall(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)", bodies[name])

    def count(name):
        total = collections.Counter({kind: len(re.findall(rf" {kind}(?:-start)?\(", bodies[name])) for kind in KINDS})
        for inner in called(name):
            total += count(inner)
        return +total

    def inner_loops(name):
        return loops_in(name) + [loop for part in called(name) for loop in inner_loops(part)]

    steps, chunks = [], []

    def walk(name):
        for loop in inner_loops(name):
            (chunks if inner_loops(loop) else steps).append(count(loop))
            walk(loop)

    walk(entry)
    return [c for c in steps if c], [c for c in chunks if c], count(entry)
