"""TF1's names and shapes for the cells of `jaxrnn.contrib`, a file a family, as `jaxrnn.interop.tf1` has those of the core.

A file's docstring is its table of names; its `layouts(framework)` gives the layouts, `framework()` being the table that they
end in, for cells that have others inside.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.interop.tf1_contrib import (
    attention,
    block,
    convolutional,
    gated,
    grid,
    grid_rnn,
    grouped,
    independent,
    minimal,
    nas,
    normalized,
    ntm,
    phased,
    time_freq,
    wrappers,
)
from jaxrnn.interop.weights import Framework, Layout

_FAMILIES = (
    attention,
    block,
    convolutional,
    gated,
    grid,
    grid_rnn,
    grouped,
    independent,
    minimal,
    nas,
    normalized,
    ntm,
    phased,
    time_freq,
    wrappers,
)


def layouts(framework: Callable[[], Framework]) -> dict[type, Layout]:
    """Those of all families."""
    return {kind: layout for family in _FAMILIES for kind, layout in family.layouts(framework).items()}
