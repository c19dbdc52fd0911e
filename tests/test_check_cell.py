"""`check_cell` passes good cells, of ours and of users, and names what is wrong with bad ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.masking import zero_padding
from jaxrnn.testing import check_cell
from tests.rows import ROWS, fast_if

RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.standard_normal((3, 5)), "u": RNG.standard_normal((5, 5)) / 3}
STATE = RNG.standard_normal((4, 5))


def elman(params, inputs, state):
    """A cell that is a function."""
    h = jnp.tanh(inputs @ params["w"] + state @ params["u"])
    return h, h


@dataclasses.dataclass(frozen=True)
class Leaky(jaxrnn.RNNCell):
    """A user's cell in four functions: h' = a h + (1 - a) tanh(x W + h U), with a leak a of its own for every unit."""

    num_units: int
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key, input_size, dtype=jnp.float32):
        """Random weights."""
        keys = jax.random.split(key, 3)
        shapes = {"w": (input_size, self.num_units), "u": (self.num_units, self.num_units), "leak": (self.num_units,)}
        return {name: jax.random.normal(k, shape, dtype) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}

    def project(self, params, inputs):
        """z = x W."""
        return inputs @ params["w"]

    def recur(self, params, state):
        """r = h U."""
        return state @ params["u"]

    def gates(self, params, z, r, state):
        """(a, tanh(z + r))."""
        return jnp.broadcast_to(jaxrnn.sigmoid(params["leak"]), z.shape), jaxrnn.tanh(z + r)

    def combine(self, params, g, state):
        """The new h."""
        a, n = g
        h = a * state + (1 - a) * n
        return h, h


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        pytest.param(Leaky(5), {}, marks=pytest.mark.slow),
        (elman, {"params": PARAMS, "initial_state": STATE}),
        pytest.param(jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(2), state_keep_prob=0.5), {"key": 0}, marks=pytest.mark.slow),
    ],
    ids=["four functions", "plain function", "dropout"],
)
def test_good_cells_pass(cell, options, small_heap):
    if "key" in options:
        options = {"key": jax.random.key(options["key"])}
    check_cell(cell, **options)


def leaks_between_rows(params, inputs, state):
    """A batch norm without its name."""
    h = jnp.tanh(inputs @ params["w"] + state @ params["u"])
    h = h - h.mean(0, keepdims=True)
    return h, h


@jax.custom_vjp
def wrong_tanh(x):
    """tanh, with a derivative that is a tenth off."""
    return jnp.tanh(x)


wrong_tanh.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, d: (d * (1.1 - y * y),))


def wrong_derivative(params, inputs, state):
    """An Elman cell with it."""
    h = wrong_tanh(inputs @ params["w"] + state @ params["u"])
    return h, h


def remembers(params, inputs, state):
    """A cell with a memory of its own: it counts its calls."""
    remembers.calls += 1
    h = jnp.tanh(inputs @ params["w"] + state @ params["u"]) * remembers.calls
    return h, h


remembers.calls = 0


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (leaks_between_rows, "rows of the batch"),
        (wrong_derivative, "finite difference"),
        (remembers, "stepping by hand"),
    ],
)
def test_bad_cells_do_not(cell, message):
    with pytest.raises(AssertionError, match=message):
        check_cell(cell, params=PARAMS, initial_state=STATE)


@pytest.mark.parametrize("row", fast_if(lambda row: row.name == "gru", ROWS), ids=lambda row: row.name)
def test_every_cell_of_ours_passes(row, small_heap):
    check_cell(row.cell, **({"inputs": row.inputs(np.random.default_rng(0))} if row.ids else {}))


class SumAndGate(Leaky):
    """Its z is read as part of a sum, and is a gate."""

    def gates(self, params, z, r, state):
        """(z, tanh(z + r))."""
        return jaxrnn.sigmoid(z), jaxrnn.tanh(z + r)


class OneOver(Leaky):
    """Not finite at zero."""

    def project(self, params, inputs):
        """z = 1/x W."""
        return (1 / inputs) @ params["w"]


class Doubled(Leaky):
    """Another step than that of its four functions."""

    def __call__(self, params, inputs, state, *, key=None):
        """Twice the output."""
        output, new = super().__call__(params, inputs, state, key=key)
        return 2 * output, new


def first_of_its_shape(variables, variable):
    """As if arrays of one shape were one array."""
    return next((i for i, v in enumerate(variables) if v.aval == variable.aval), None)


# What was wrong with the engine, done again: the cell, the name of what is replaced, and its replacement.
FAULTS = {
    "a sum where there is none": (SumAndGate(5), "jaxrnn.engine.jaxpr_queries.place", first_of_its_shape),
    "zeros in the padding": (
        OneOver(5),
        "jaxrnn.engine.inplace.fill_padding",
        lambda valid, tree, first: zero_padding(valid, tree),
    ),
    "another step by hand": (Doubled(5), "jaxrnn.check.own_call", lambda kind: False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_engine_are_seen(name, monkeypatch, one_device):
    cell, what, replacement = FAULTS[name]
    check_cell(cell)
    jax.clear_caches()
    monkeypatch.setattr(what, replacement)
    with pytest.raises(AssertionError):
        check_cell(cell)
