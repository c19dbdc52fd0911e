"""`check_cell` passes good cells, of ours and of users, and names what is wrong with bad ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.testing import check_cell

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
        (Leaky(5), {}),
        (elman, {"params": PARAMS, "initial_state": STATE}),
        (jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(2), state_keep_prob=0.5), {"key": 0}),
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
        (remembers, "finite difference"),
    ],
)
def test_bad_cells_do_not(cell, message):
    with pytest.raises(AssertionError, match=message):
        check_cell(cell, params=PARAMS, initial_state=STATE)
