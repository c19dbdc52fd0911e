"""How a run is to be computed: memory modes, budgets, plans, chunks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jax.export import is_symbolic_dim

from jaxrnn.check.basics import at_least, describe, name_of


def memory(value: Any, swap_memory: bool, names: tuple[str, ...], kinds: tuple[type, ...]) -> None:
    """A mode, or a budget or a plan, which are of `kinds` or ints; and one way to say it."""
    if is_budget(value):
        budget(value)
    elif not isinstance(value, kinds):
        mode(value, names, others="a budget in bytes (an int), a plan, ")
    if swap_memory and value not in ("save", "offload"):
        raise ValueError(
            f"swap_memory=True is memory='offload': expected no other memory mode beside it, got memory={value!r}. "
            "Give one of the two."
        )


def mode(value: Any, names: tuple[str, ...], kinds: tuple[type, ...] = (), others: str = "") -> None:
    """A mode's name, a policy, or one of `kinds`."""
    if not (value in names if isinstance(value, str) else callable(value) or isinstance(value, kinds)):
        raise ValueError(
            f"memory: expected one of {', '.join(map(repr, names))}, {others}or a jax.checkpoint policy, got {value!r}."
        )


def is_budget(memory: Any) -> bool:
    return isinstance(memory, (int, np.integer)) and not isinstance(memory, bool)


def budget(size: Any) -> None:
    if not is_budget(size):
        raise TypeError(f"budget: expected bytes of device memory as an int, got {describe(size)}.")
    if size < 1:
        raise ValueError(f"budget: expected at least 1 byte of device memory, got {size}.")


def share(size: Any, parts: int) -> int:
    """What each of the parts of a run may take of a budget."""
    budget(size)
    return max(size // parts, 1)


def budget_too_small(size: int, needed: int, how: str) -> ValueError:
    return ValueError(
        f"budget: expected at least {needed} bytes, the least that this problem needs ({how}), got {size}. Give more, or "
        "shorten the sequence or the batch; jaxrnn.memory_plans prints what each way costs."
    )


def made_for(plan: dict[str, Any], problem: dict[str, Any], chunk: int, chunk_size: int | None) -> None:
    """A plan for this very problem."""
    for name in dict.fromkeys([*plan, *problem]):
        want, got = plan.get(name), problem.get(name)
        if want != got:
            raise ValueError(
                f"memory: expected the problem that the plan was made for, {name} = {want}, got {name} = {got}. Make a plan "
                "for this one with jaxrnn.plan_memory."
            )
    if chunk_size not in (None, chunk):
        raise ValueError(
            f"chunk_size: expected None beside a plan, which has chunks of {chunk} steps, got {chunk_size}. Leave it out."
        )


def loss(reads: Any) -> Any:
    if not callable(reads) and not (isinstance(reads, str) and reads in ("outputs", "state")):
        raise ValueError(
            f"loss: expected 'outputs', 'state' or a function (outputs, state) -> scalar, got {reads!r}. It says what reads "
            "the result."
        )
    return reads


def options(given: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"{name}: expected options among {', '.join(known)}, as of dynamic_rnn. Leave it out.")


def host_layout(streamed: bool, time_major: bool) -> None:
    if streamed and not time_major:
        raise ValueError(
            "inputs: expected time_major=True for inputs in the host's memory, got time_major=False. A chunk has to be one "
            "piece of that memory: lay them out as [T, B, ...] there."
        )


def on_device(**on_host: bool) -> None:
    """All that is read at every step is in the device's memory."""
    for name, there in on_host.items():
        if there:
            raise ValueError(
                f"{name}: expected arrays in the device's memory, got some in the host's. Move them with "
                "jaxrnn.memory.to_device; the inputs of dynamic_rnn alone can stay there."
            )


def whole_blocks(time: int, chunk_size: int, sizes: tuple[int, ...]) -> None:
    """Inputs on the host are read in equal blocks, one for each step of the outermost loop."""
    block = math.prod(sizes[1:]) * chunk_size
    if sizes[0] * block != time:
        raise ValueError(
            f"inputs: expected T in the host's memory to be a multiple of the block of {block} steps that is brought in at "
            f"once ({' * '.join(map(str, (*sizes[1:], chunk_size)))}, the inner loops times chunk_size), got T = {time}. Give "
            "a chunk_size that divides T (every level of a recursion has to), or pad the inputs and pass their "
            "sequence_length."
        )


def chunk_size(size: Any) -> None:
    at_least("chunk_size", size, " step")


def whole_chunks(time: Any, size: int | None) -> None:
    """A program exported for any T cannot say whether there is a rest."""
    if size is not None and is_symbolic_dim(time) and time % size != 0:
        raise ValueError(
            f"chunk_size: expected a divisor of the symbolic T = {time}, got {size}. Leave it out, for chunks of one step, or "
            f"export for a T of whole chunks, jax.export.symbolic_shape('{size}*n')."
        )


def known_sizes(time: Any, batch: Any) -> None:
    """Bytes are counted for one T and one B."""
    if is_symbolic_dim(time) or is_symbolic_dim(batch):
        raise ValueError(
            f"memory: expected known sizes to count bytes for, got T = {time}, B = {batch}. Name a mode instead of a budget, "
            "such as that of a plan for the largest T and B."
        )


def levels(count: Any) -> None:
    at_least("levels", count, "")


def platform(name: Any, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(f"platform: expected one of {', '.join(map(repr, names))}, got {name!r}.")


def parallel(value: Any, kind: type, needed: bool = False) -> None:
    """How a run is parallel over time: "newton", its options, or None if it `needed` not be so."""
    is_named = isinstance(value, str) and value == "newton"
    if not (is_named or isinstance(value, kind) or (value is None and not needed)):
        nothing = "" if needed else "None, "
        raise ValueError(f"parallel: expected {nothing}'newton' or a jaxrnn.Newton, got {value!r}.")


def windows(cell: Any, in_four_functions: bool, time: Any, chunk_size: int | None) -> None:
    """A run that Newton's method can solve, window by window."""
    if not in_four_functions:
        raise TypeError(
            f"parallel: expected a cell in four functions, or one made of such cells, got {name_of(cell)}. Write it as a "
            "jaxrnn.RNNCell with project, recur, gates and combine, or leave parallel out."
        )
    if is_symbolic_dim(time) and chunk_size is None:
        raise ValueError(
            f"parallel: expected a known number of steps to solve at once, got the symbolic T = {time}. Give a chunk_size, and "
            "export for a T made of such chunks, jax.export.symbolic_shape('64*n') with chunk_size=64."
        )
