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
from typing import Any

from jax.export import is_symbolic_dim

from jaxrnn.memory.modes import Mode

MOST_SEARCHED = 4  # levels whose cuts are all tried; of more, the innermost is cut first
MOST_BLOCKS = 32  # a level, where "recursive" chooses the levels: their number then grows with the logarithm of T


def levels_of(count: int) -> int:
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
    return split(count, mode.levels or max(1, levels_of(count)))
