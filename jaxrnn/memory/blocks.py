"""How a sequence is cut: chunks, and blocks of chunks, each of them run again when the backward pass comes to it.

A scan keeps the state that each of its blocks starts from, and every level of scans, one inside the other, runs the steps
once more. With L levels that all have the same number of blocks, and as many steps in a chunk, that number is T^(1/(L+1)):
the product is T and the sum, which is what is kept, at its least. Blocks of unequal lengths (Griewank and Walther,
"Revolve", 2000) would reuse the room of those already done and keep 0.71 of it at L = 1, 0.55 at L = 3; a loop whose arrays
have fixed sizes cannot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxrnn import check
from jaxrnn.memory.host import to_device, to_host
from jaxrnn.memory.modes import KEEP_NOTHING, Mode

ROWS_OF_ANY_BATCH = 16  # what a batch counts as whose size is known when an exported program is called, no sooner
MOST_SEARCHED = 4  # levels whose cuts are all tried; of more, the innermost is cut first
MOST_BLOCKS = 32  # a level, where "recursive" chooses the levels: their number then grows with the logarithm of T


def default_chunk_size(time: int, batch: int, mode: Mode) -> int:
    """Steps a chunk, where the caller names none.

    About 512 rows give a matrix product that runs near the machine's full rate (on CPU; more steps gain nothing), and a
    chunk of at most 128 steps keeps its own temporaries small beside a long sequence. What is saved anyway and has no more
    than four times the rows is one chunk: a loop of a few costs some 5 % of so short a run. With several levels a chunk is
    no longer than a block, or its temporaries would be most of the memory. On a GPU a chunk has some 30 kernels of its own, so
    that with fewer than 32 steps these would be most of what it waits for.

    A program exported for any T (`jax.export`) has chunks of one step: no other size divides every T, and one chunk of T
    steps would project all inputs at once, which takes more memory and no less time.
    """
    if is_symbolic_dim(time):
        return 1
    batch = ROWS_OF_ANY_BATCH if is_symbolic_dim(batch) else batch
    rows = 2048 if mode.name == "save" and time * batch <= 2048 else 512
    fewest = 4 if jax.default_backend() == "cpu" else 32
    aim = min(max(math.ceil(rows / max(batch, 1)), fewest), 128)
    if mode.levels != 1:
        levels = mode.levels or max(1, _log(time) - 1)
        aim = min(aim, math.ceil(time ** (1 / (levels + 1)) - 1e-9))
    return chunk_near(time, aim)


def _log(count: int) -> int:
    """Levels of at most `MOST_BLOCKS` that `count` needs."""
    return math.ceil(math.log(max(count, 1), MOST_BLOCKS) - 1e-9)


def chunk_near(count: int, aim: int) -> int:
    """About `aim`: a divisor of `count` within a factor of two if there is one, for the rest of a division is a second loop."""
    if count <= aim:
        return max(count, 1)
    divisors = [k for k in range(math.ceil(aim / 2), 2 * aim + 1) if count % k == 0]
    return min(divisors, key=lambda k: abs(math.log(k / aim)), default=max(aim, 1))


def split(count: int, levels: int) -> tuple[int, ...]:
    """`count` blocks as the numbers of `levels` loops, the outermost first, whose product is `count` or less.

    What is left over runs as a loop of its own, in front or behind. That costs a compilation and copies of the inputs, so
    a cut without it may keep half as many states again.
    """
    if levels > MOST_SEARCHED:
        inner = chunk_near(count, round(count ** (1 / levels)))
        return (*split(count // inner, levels - 1), inner)
    aim, about = round(count ** (1 / levels)), 6
    near = {k for k in range(max(1, aim // 2), 2 * aim + 1) if count % k == 0}
    near |= set(range(max(1, aim - about), aim + about + 1))

    def states(sizes):
        left_over = count - math.prod(sizes)
        return (sum(sizes) + left_over) * (1.5 if left_over else 1)

    inners = itertools.product(sorted(near), repeat=levels - 1)
    return min(((count // math.prod(inner), *inner) for inner in inners), key=states)


def blocks(time: int, chunk_size: int, mode: Mode) -> tuple[Any, ...]:
    """The numbers of the loops over chunks of T steps, the outermost first; one loop where the number is symbolic."""
    count = time // chunk_size
    if is_symbolic_dim(count):
        return (count,)
    return split(count, mode.levels or max(1, _log(count)))


def scan_chunks(
    body: Callable, state: Any, xs: Any, chunk_size: int, mode: Mode, reverse: bool, streamed: bool = False
) -> tuple[Any, Any]:
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
    # Inside a scan nothing can be merged with the forward pass, so the barriers against it would only cost time.
    f = jax.checkpoint(outermost(f), policy=policy, prevent_cse=False)
    count, size = _length(xs) // math.prod(inner), math.prod(inner)
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
