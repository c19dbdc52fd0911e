"""Every family of cells in jaxrnn.contrib: its rows for the contract, its goldens."""

import importlib

NAMES = "block convolutional gated grid grid_rnn grouped independent minimal nas normalized ntm phased time_freq wrappers"
FAMILIES = [importlib.import_module(f"tests.contrib.{name}") for name in NAMES.split()]
ROWS = [row for family in FAMILIES for row in family.ROWS]
GOLDENS = {name: cell for family in FAMILIES for name, cell in family.GOLDENS.items()}
