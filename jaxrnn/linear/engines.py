"""Which engine runs linear recurrences."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import get_args

from jaxrnn import check
from jaxrnn.engine.recurrence import How
from jaxrnn.engine.tuning import current, using


@contextlib.contextmanager
def engine(how: How) -> Iterator[None]:
    """Runs that are traced inside have this engine for their linear cells. No number changes but for rounding.

    Outside it a CPU runs the steps in turn, and a GPU or TPU joins them in blocks.

    Args:
      how: "sequential", one step after the other; "chunked", blocks of 256 steps (or chunk_size), one after the other, whose
        steps are joined in pairs; "associative", all steps joined in pairs, with the most memory.

    Returns:
      A context manager, for runs of any shape.

    Raises:
      ValueError: if there is no such engine.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.linear.MinGRUCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 7, 3))
      >>> with jaxrnn.linear.engine("associative"):
      ...     outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs)
      >>> outputs.shape
      (4, 7, 5)
    """
    check.one_of("how", how, get_args(How))
    with using(dataclasses.replace(current(), engine=how)):
        yield
