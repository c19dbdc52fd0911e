"""Every family of cells in jaxrnn.contrib: its rows for the contract, its goldens."""

from tests.contrib import (
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

FAMILIES = (
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
ROWS = [row for family in FAMILIES for row in family.ROWS]
GOLDENS = {name: cell for family in FAMILIES for name, cell in family.GOLDENS.items()}
