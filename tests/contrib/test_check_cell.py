"""`jaxrnn.testing.check_cell` on every cell of jaxrnn.contrib: rows apart, vmap, padding, dtypes, traces."""

import pytest

import jaxrnn
from tests.contrib.families import ROWS
from tests.rows import problem

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_check_cell(row):
    params, inputs, state = problem(row)
    jaxrnn.testing.check_cell(row.cell, params=params, inputs=inputs, initial_state=state)
