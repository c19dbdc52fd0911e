"""Sequences of different lengths: a bidirectional GRU tells what kind of thing a name in Python's library stands for.

    python examples/sequence_lengths.py

The data are the names that the standard library's sources define: classes, constants, functions and variables. Written in
small letters and without underscores ("dictreader", "maxlinesize", "getservbyname") their kind has to be read from the
letters and their order. They are 3 to 45 letters long, so they come as a padded tensor and a vector of lengths.

Writes accuracy_by_length.png to out/sequence_lengths/.
"""

import argparse
import collections
import functools
import os
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
parser.add_argument("--out", default="out/sequence_lengths", help="where the picture goes")
parser.add_argument("--epochs", type=int, default=12, help="passes over the training names")
parser.add_argument("--batch", type=int, default=64, help="B, names in a batch")
parser.add_argument("--units", type=int, default=96, help="H, in each direction")
parser.add_argument("--embedding", type=int, default=32, help="D, size of a letter's embedding")
parser.add_argument("--keep", type=float, default=0.7, help="probability to keep an element in dropout")
parser.add_argument("--learning-rate", type=float, default=3e-3, help="at its start; it falls to zero")
parser.add_argument("--names", type=int, help="take only so many names")
parser.add_argument("--seed", type=int, default=0, help="of everything random")

DEFINITIONS = {
    "class": r"^\s*class (\w+)",
    "constant": r"^\s*([A-Z][A-Z0-9_]+) = ",
    "function": r"^\s*(?:async )?def (\w+)",
    "variable": r"^\s+([a-z][a-z0-9_]*) = ",
}
KINDS = list(DEFINITIONS)
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
PADDING = 0  # any id will do: what the padding holds is never looked at


# ---- the data


def read_names() -> tuple[list[str], np.ndarray]:
    """The standard library's names and their kinds `[N]`; a name that is of two kinds is left out."""
    library = pathlib.Path(os.__file__).parent
    found = collections.defaultdict(set)
    for path in sorted(library.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"}.isdisjoint(path.relative_to(library).parts):
            source = path.read_text(encoding="utf-8", errors="ignore")
            for kind, definition in DEFINITIONS.items():
                for name in re.findall(definition, source, re.MULTILINE | re.ASCII):
                    found[name.lower().replace("_", "")].add(KINDS.index(kind))
    names = sorted(name for name, kinds in found.items() if len(kinds) == 1 and len(name) > 2)
    return names, np.array([min(found[name]) for name in names])


def pad(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Letters `[N, T]` and lengths `[N]`, T the longest name's."""
    lengths = np.array([len(name) for name in names], np.int32)
    ids = np.full((len(names), lengths.max()), PADDING, np.int32)
    for row, name in zip(ids, names, strict=True):
        row[: len(name)] = [LETTERS.index(letter) for letter in name]
    return ids, lengths


def batches(random: np.random.Generator, lengths: np.ndarray, size: int) -> np.ndarray:
    """The rows of an epoch's batches `[N // B, B]`, in random order, each of names that are about equally long.

    The runner does not run the chunks that are padding in every row, so short names are read in less time, by the same
    compiled program.
    """
    rows = random.permutation(len(lengths))[: len(lengths) // size * size]
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return random.permutation(rows.reshape(-1, size))


# ---- the models


class GRUClassifier: ...
