"""What a runner was called with."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxrnn import check
from jaxrnn.memory.host import on_host
from jaxrnn.typing import Inputs, Params, State

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Problem:
    """A run to be computed, without how; arrays, or their shapes."""

    params: Params
    inputs: Inputs
    sequence_length: Any
    initial_state: State
    resets: Any
    key: Any
    mask: Any = None
    reset_state: State = None
    cell: Any = dataclasses.field(default=None, metadata=_STATIC)
    dtype: str | None = dataclasses.field(default=None, metadata=_STATIC)
    time_major: bool = dataclasses.field(default=False, metadata=_STATIC)
    reverse: bool = dataclasses.field(default=False, metadata=_STATIC)
    streamed: bool = dataclasses.field(default=False, metadata=_STATIC)  # inputs and outputs live in the host's memory

    @property
    def time_and_batch(self) -> tuple[int, int]:
        """(T, B)."""
        time, batch = jax.tree.leaves(self.inputs)[0].shape[:2][:: 1 if self.time_major else -1]
        return time, batch


def problem_of(
    runner,
    cell,
    params,
    inputs,
    *,
    sequence_length=None,
    initial_state=None,
    dtype=None,
    time_major=False,
    reverse=False,
    resets=None,
    reset_state=None,
    mask=None,
    key=None,
) -> Problem:
    """The arguments of a run, checked as far as they can be without the cell's help."""
    check.is_cell(cell, runner)
    time_major, reverse = check.flag("time_major", time_major), check.flag("reverse", reverse)
    if key is not None:
        check.prng_key(key)
    inputs = check.arrays(inputs, "inputs")
    time, batch = check.sequence(inputs, 0 if time_major else 1)
    layout, shape = ("[T, B]", (time, batch)) if time_major else ("[B, T]", (batch, time))
    check.host_layout(on_host(inputs), time_major)
    check.on_device(
        params=on_host(params),
        initial_state=on_host(initial_state),
        sequence_length=on_host(sequence_length),
        resets=on_host(resets),
        reset_state=on_host(reset_state),
        mask=on_host(mask),
    )
    return Problem(
        params=check.arrays(params, "params"),
        inputs=inputs,
        sequence_length=check.lengths(sequence_length, batch, time),
        initial_state=_state("initial_state", initial_state, cell, batch),
        resets=check.booleans("resets", resets, shape, layout, "True where a sequence starts again"),
        reset_state=_state("reset_state", reset_state, cell, batch),
        mask=check.booleans("mask", mask, shape, layout, "True where a step is run"),
        key=key,
        cell=cell,
        dtype=check.dtype(dtype),
        time_major=time_major,
        reverse=reverse,
        streamed=on_host(inputs),
    )


def _state(name, state, cell, batch):
    return None if state is None else check.as_state(cell, check.arrays(state, name), batch, name)
