"""Where the states live between the forward and the backward pass: the only user of `jax.checkpoint`.

A chunk names what it could keep (`GATES`, `STATES`, `OUTPUTS`); a memory mode is a `jax.checkpoint` policy on these names
and a way to nest the scan over the chunks. A cell knows nothing of this, and nothing here knows a cell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

GATES = "jaxrnn_gates"  # the activated gates of a cell in four functions, [K, B, ...]
STATES = "jaxrnn_states"  # the state that each step starts from
OUTPUTS = "jaxrnn_outputs"  # what one layer of a stack hands to the next

MODES = ("save", "recompute", "recursive", "offload")


@dataclasses.dataclass(frozen=True)
class Memory:
    """A memory mode, resolved.

    Attributes:
      policy: the `jax.checkpoint` policy of a chunk.
      keep: what a chunk of four functions keeps, "gates" or "states".
      recursive: whether the scan over the chunks is nested, so that not every chunk's first state is kept.
      skip: whether chunks past the longest row are skipped.
    """

    policy: Callable
    keep: str = "gates"
    recursive: bool = False
    skip: bool = True


_POLICIES = jax.checkpoint_policies
_SAVE = _POLICIES.save_only_these_names(GATES, STATES, OUTPUTS)
# The states are fewer bytes than the gates, and bytes to the host are what an offload waits for.
_OFFLOAD = _POLICIES.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=[GATES, STATES, OUTPUTS],
    offload_src="device",
    offload_dst="pinned_host",
)
_NAMED = {
    "save": Memory(_SAVE),
    "recompute": Memory(_POLICIES.nothing_saveable),
    "recursive": Memory(_POLICIES.nothing_saveable, recursive=True),
    # A transfer to the host under a condition is more than jax 0.10.0 can differentiate.
    "offload": Memory(_OFFLOAD, keep="states", skip=False),
}


def resolve(memory: str | Callable) -> Memory:
    """The mode of that name, or the one that a caller's own `jax.checkpoint` policy makes."""
    return _NAMED[memory] if isinstance(memory, str) else Memory(memory)


def named(tree: Any, name: str) -> Any:
    """`tree`, its leaves under a name that policies can choose."""
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, name), tree)


def default_chunk_size(time: int, batch: int) -> int:
    """Steps a chunk, where the caller names none.

    About 512 rows give a matrix product that runs near the machine's full rate (on CPU; more steps gain nothing), and a
    chunk of at most 128 steps keeps its own temporaries small beside a long sequence. A divisor of `time` within a
    factor of two is taken instead, since the rest of a division is a second loop to compile.
    """
    aim = min(max(math.ceil(512 / max(batch, 1)), 4), 128)
    if time <= aim:
        return max(time, 1)
    divisors = [k for k in range(math.ceil(aim / 2), 2 * aim + 1) if time % k == 0]
    return min(divisors, key=lambda k: abs(math.log(k / aim)), default=aim)


def scan_chunks(body: Callable, state: Any, xs: Any, memory: Memory, reverse: bool) -> tuple[Any, Any]:
    """`lax.scan` over chunks, `body(state, x) -> (state, y)`, keeping for the backward pass what `memory` says."""
    count = jax.tree.leaves(xs)[0].shape[0]
    # Eight states a level: memory grows with log8 of the number of chunks, and so does the number of forward passes.
    levels = max(1, math.ceil(math.log(max(count, 1), 8) - 1e-9)) if memory.recursive else 1
    return _nested_scan(body, state, xs, levels, memory.policy, reverse)


def _nested_scan(body, state, xs, levels, policy, reverse):
    """`levels` scans, one inside the other: each keeps the states at its own blocks' starts and recomputes inside them."""
    if levels == 1:
        return lax.scan(_checkpoint(body, policy), state, xs, reverse=reverse)
    count = jax.tree.leaves(xs)[0].shape[0]
    size = math.ceil(count ** ((levels - 1) / levels) - 1e-9)

    def block(state, xs):
        return _nested_scan(body, state, xs, levels - 1, policy, reverse)

    def blocks(state, xs):
        return lax.scan(_checkpoint(block, _POLICIES.nothing_saveable), state, xs, reverse=reverse)

    return split_scan(blocks, block, state, xs, size, reverse)


def split_scan(run_blocks: Callable, run_rest: Callable, state: Any, xs: Any, size: int, reverse: bool):
    """Runs a sequence as blocks of `size` and a rest that is shorter, in the order that `reverse` asks for.

    Args:
      run_blocks: `(state, xs) -> (state, ys)`, leaves of xs and ys `[blocks, size, ...]`.
      run_rest: the same for the last `len(xs) % size` items, leaves `[rest, ...]`.
      state: the carry.
      xs: leaves `[T, ...]`.
      size: items a block.
      reverse: whether the rest comes first.

    Returns:
      `(state, ys)`, leaves of ys `[T, ...]`.
    """
    count = jax.tree.leaves(xs)[0].shape[0]
    whole = count - count % size
    blocks = jax.tree.map(lambda a: a[:whole].reshape(whole // size, size, *a.shape[1:]), xs)
    flat = lambda tree: jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), tree)
    if whole == count:
        state, ys = run_blocks(state, blocks)
        return state, flat(ys)
    rest = jax.tree.map(lambda a: a[whole:], xs)
    if whole == 0:
        return run_rest(state, rest)
    if reverse:
        state, last = run_rest(state, rest)
        state, first = run_blocks(state, blocks)
    else:
        state, first = run_blocks(state, blocks)
        state, last = run_rest(state, rest)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), flat(first), last)


def _checkpoint(f: Callable, policy: Callable) -> Callable:
    # Inside a scan nothing can be merged with the forward pass, so the barriers against it would only cost time.
    return jax.checkpoint(f, policy=policy, prevent_cse=False)
