"""Every family of cells in jaxrnn.contrib: its rows for the contract, its goldens."""

from tests.contrib import gated

FAMILIES = (gated,)
ROWS = [row for family in FAMILIES for row in family.ROWS]
GOLDENS = {name: cell for family in FAMILIES for name, cell in family.GOLDENS.items()}
