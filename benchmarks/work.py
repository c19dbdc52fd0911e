"""The work that every system does: a layer, its sizes, its inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NotOfferedError(Exception):
    """The library does not have this."""


class Precision(NamedTuple):
    """The dtype of params and inputs, and JAX's name for the precision of matrix products; None is its default."""

    dtype: str
    products: str | None


PRECISIONS = {
    "": Precision("float32", None),
    "float32": Precision("float32", "highest"),
    "tf32": Precision("float32", "TF32_TF32_F32"),
    "high": Precision("float32", "high"),
    "mixed": Precision("float32", "BF16_BF16_F32"),  # products of bfloat16, all else float32
    "bfloat16": Precision("bfloat16", None),
    "float16": Precision("float16", None),
}


# How many blocks of H columns each cell's products have: of its inputs, of its state.
GATES = {
    "lstm": (4, 4),
    "gru": (3, 3),
    "basic": (1, 1),
    "layer_norm_lstm": (4, 4),
    "nas": (8, 8),
    "ind_rnn": (1, 0),
    "sru": (4, 0),
    "min_gru": (2, 0),
    "min_lstm": (3, 0),
    "lru": (3, 2),
}


class Work(NamedTuple):
    """A layer ("lstm" or another of `GATES`), its sizes T, B, D, H, the kind of lengths that its rows have, if any, and its
    precision's name."""

    cell: str
    time: int
    batch: int
    inputs: int
    units: int
    lengths: str = ""
    precision: str = ""

    @staticmethod
    def of(name: str) -> Work:
        """From its name, `cell,T,B,D,H[,lengths][,precision]`."""
        cell, time, batch, inputs, units, *rest = name.split(",")
        sizes = int(time), int(batch), int(inputs), int(units)
        kinds = {"precision" if part in PRECISIONS else "lengths": part for part in rest}
        return Work(cell, *sizes, **kinds)

    @property
    def dtype(self) -> str:
        """Of params and inputs."""
        return PRECISIONS[self.precision].dtype

    @property
    def name(self) -> str:
        """See `of`."""
        return ",".join(str(size) for size in self if size != "")

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Inputs `[B, T, D]`, and lengths `[B]` if there are any: "uniform" in 1..T/2, or "geometric" with mean T/8."""
        inputs = np.random.default_rng(0).standard_normal((self.batch, self.time, self.inputs), np.float32)
        if not self.lengths:
            return (inputs,)
        random = np.random.default_rng(1)
        if self.lengths == "uniform":
            lengths = random.integers(1, self.time // 2 + 1, self.batch)
        else:
            lengths = random.geometric(8 / self.time, self.batch).clip(1, self.time)
        return inputs, lengths.astype(np.int32)

    @property
    def operations(self) -> int:
        """Floating-point operations of the matrix products in a training step: of the valid steps forward, the states'
        cotangents backward, and the weights' gradients; inputs have none."""
        of_input, of_state = GATES[self.cell]
        steps = int(self.arrays[1].sum()) if self.lengths else self.time * self.batch
        return 2 * steps * self.units * (2 * of_input * self.inputs + 3 * of_state * self.units)
