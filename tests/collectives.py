"""The places of a compiled program where devices exchange something, loop by loop."""

import collections
import re

KINDS = "all-gather", "reduce-scatter", "all-reduce", "collective-permute", "all-to-all"


def collectives(compiled):
    """`(in loops over steps, in loops around these, outside of loops)`: how many of each kind.

    A loop over steps has no other loop in it. Of loops there is a Counter each, without those in which nothing is exchanged.
    """
    bodies, entry = computations(compiled)
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


def operations_of_steps(compiled):
    """For every loop over steps the operations that compute or copy something, each counted; in some order."""
    bodies, _ = computations(compiled)
    loops = {name for lines in bodies.values() for name in re.findall(r"body=%?([\w.\-]+)", lines)}
    every = lambda lines: re.findall(r" = .*?[\]})] ([a-z][a-z0-9\-]*)\(", lines)
    names_an_array = {"bitcast", "constant", "get-tuple-element", "parameter", "tuple"}
    done = lambda lines: (operation for operation in every(lines) if operation not in names_an_array)
    steps = (bodies[name] for name in loops if " while(" not in bodies[name])
    return sorted(sorted(collections.Counter(done(lines)).items()) for lines in steps)


def computations(compiled):
    """`(text by name, the name of the first one)`."""
    text = compiled.as_text()
    found = re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", text, re.M | re.S)
    return dict(found), re.search(r"^ENTRY %?([\w.\-]+)", text, re.M).group(1)
