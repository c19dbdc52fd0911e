"""Names for what signatures take and give. Axis letters: B batch, T time, K steps of a chunk, D input size, H units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

Tree = Any  # a pytree of arrays
Params = Tree  # a nested dict of arrays
Inputs = Tree  # of one step, leaves [B, ...]; of a run, [B, T, ...] or [T, B, ...]
Outputs = Tree  # laid out as the inputs
State = Tree  # leaves [B, ...]
Shapes = Tree  # a pytree of jax.ShapeDtypeStruct
Dim = Any  # an int, or a symbolic dimension of jax.export

MemoryName = Literal["save", "recompute", "recursive", "offload"]
Policy = Callable[..., Any]  # of jax.checkpoint


class Cell(Protocol):
    """Any function of one step; all that a runner needs."""

    def __call__(self, params: Params, inputs: Inputs, state: State, /) -> tuple[Outputs, State]:
        """`(output, new_state)`."""
        ...


class FourFunctions(Protocol):
    """A step in four functions: what the engine runs. `jaxrnn.RNNCell` says what each of them is."""

    def project(self, params: Params, inputs: Inputs) -> Tree:
        """z, of the inputs alone."""
        ...

    def recur(self, params: Params, state: State) -> Tree:
        """r, of the state alone."""
        ...

    def gates(self, params: Params, z: Tree, r: Tree, state: State) -> Tree:
        """g, which is worth keeping."""
        ...

    def combine(self, params: Params, g: Tree, state: State) -> tuple[Outputs, State]:
        """`(output, new_state)`."""
        ...
