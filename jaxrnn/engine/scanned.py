"""Driver 1: a scan over chunks, each of them checkpointed.

What a chunk keeps has a name, so that a memory mode is a `jax.checkpoint` policy. Scans can be nested: each level keeps the
states that its blocks start from, and runs a block again when the backward pass comes to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import check
from jaxrnn.memory.blocks import blocks
from jaxrnn.memory.host import to_device, to_host
from jaxrnn.memory.modes import KEEP_NOTHING, Mode
from jaxrnn.typing import Inputs, Outputs, State


def scan_chunks(
    body: Callable, state: State, xs: Inputs, chunk_size: int, mode: Mode, reverse: bool, streamed: bool = False
) -> tuple[State, Outputs]:
    """Runs T steps in chunks, keeping for the backward pass what `mode` says.

    Args:
      body: `(state, xs) -> (state, ys)` for a chunk of any number of steps, leaves `[K, ...]`.
      state: the carry.
      xs: leaves `[T, ...]`.
      chunk_size: K; what is left of T is one shorter chunk.
      mode: the memory mode.
      reverse: whether the last chunk comes first.
      streamed: whether xs live in the host's memory, and ys are to live there.

    Returns:
      `(state, ys)`, leaves of ys `[T, ...]`.
    """
    time = _length(xs)
    count, sizes = time // chunk_size, blocks(time, chunk_size, mode)
    if streamed:
        check.whole_blocks(time, chunk_size, sizes)
    outermost = _streamed if streamed else lambda f: f

    def run(sizes):
        return lambda state, xs: _nested_scan(body, state, xs, (*sizes, chunk_size), mode.policy, reverse, outermost)

    def chunks(state, xs):
        return _in_two(run(sizes), run(sizes[-1:]), state, xs, math.prod(sizes) * chunk_size, reverse)

    def rest(state, xs):
        return _nested_scan(body, state, xs, (1, time % chunk_size), mode.policy, reverse)

    return _in_two(chunks, rest, state, xs, count * chunk_size, reverse)


def _nested_scan(body, state, xs, sizes, policy, reverse, outermost=lambda f: f):
    """Scans one inside the other, `(..., K)` steps each: every one keeps the states that its blocks start from."""
    _, *inner = sizes

    def block(state, xs):
        return _nested_scan(body, state, xs, inner, policy, reverse)

    f, policy = (body, policy) if len(inner) == 1 else (block, KEEP_NOTHING)
    count, size = _length(xs) // math.prod(inner), math.prod(inner)
    # Inside a scan nothing can be merged with the forward pass, so the barriers against it would only cost time.
    f = jax.checkpoint(outermost(f), policy=policy, prevent_cse=count == 1)
    if count == 1:  # XLA removes such a loop, and then fails to reshape what is in the host's memory (jax 0.11.2)
        return f(state, xs)
    blocks = jax.tree.map(lambda a: a.reshape(count, size, *a.shape[1:]), xs)
    state, ys = lax.scan(f, state, blocks, reverse=reverse)
    return state, jax.tree.map(lambda a: a.reshape(count * size, *a.shape[2:]), ys)


def _streamed(f):
    """A block's steps brought in from the host, its outputs brought back; here, where a block is one piece of host memory."""

    def moved(state, xs):
        state, ys = f(state, to_device(xs))
        return state, to_host(ys)

    return moved


def _in_two(run_first, run_last, state, xs, first, reverse):
    """Runs the `first` items and the last ones, in the order that `reverse` asks for; either may be none."""
    count = _length(xs)
    if first == count:
        return run_first(state, xs)
    if first == 0:
        return run_last(state, xs)
    head, tail = jax.tree.map(lambda a: a[:first], xs), jax.tree.map(lambda a: a[first:], xs)
    if reverse:
        state, last = run_last(state, tail)
        state, begin = run_first(state, head)
    else:
        state, begin = run_first(state, head)
        state, last = run_last(state, tail)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), begin, last)


def _length(xs):
    return jax.tree.leaves(xs)[0].shape[0]
