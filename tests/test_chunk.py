"""The engine against plain autodiff of the same cell, where a batch is large enough for the forms that run fastest."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxrnn
from jaxrnn.engine.jaxpr_queries import scan
from tests.rows import fast_if

CELLS = [
    jaxrnn.BasicRNNCell(5),
    jaxrnn.LSTMCell(5, use_peepholes=True, num_proj=2),
    jaxrnn.GRUCell(5),
    jaxrnn.GRUCell(5, reset_after=False),
]
B, T, D = 9, 6, 3


def problem(cell):
    key = jax.random.key(1)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(key, leaf.shape), cell.init(key, D, jnp.float64))
    return params, jax.random.normal(key, (B, T, D)), {"sequence_length": jnp.arange(B) % (T + 1), "chunk_size": 3}


@pytest.mark.parametrize("cell", fast_if(lambda cell: cell in CELLS[::2], CELLS), ids=str)
def test_derivatives_are_those_of_plain_autodiff(cell, x64, one_device):
    params, inputs, options = problem(cell)
    function = lambda params, inputs, state: cell(params, inputs, state)  # differentiated step by step
    args = (params, inputs, cell.initial_state(B, jnp.float64))

    def value(params, inputs, state, cell, memory):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, memory=memory, **options)
        return jnp.sin(outputs).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    grad = jax.jit(jax.grad(value, (0, 1, 2)), static_argnums=(3, 4))
    want = grad(*args, function, "save")
    for memory in ("save", "offload"):  # what is kept is the gates, or the states
        got = grad(*args, cell, memory)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)

    along = jax.tree.map(jnp.cos, args)
    slope = jax.jit(lambda args: jax.jvp(lambda *args: value(*args, cell, "save"), args, along)[1])(args)
    dot = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(along), strict=True))
    np.testing.assert_allclose(slope, dot, rtol=1e-10)


def test_results_that_are_one_array_are_stacked_once():
    def body(carry, item):
        a, b = item
        both = a + b
        return carry + both, {"sum": both, "again": both, "other": b + a, "input": a, "carry": carry}

    items = jnp.arange(3.0), jnp.arange(3.0) + 1
    want, got = lax.scan(body, 1.0, items), scan(body, 1.0, items)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    (loop,) = (eqn for eqn in jax.make_jaxpr(lambda: scan(body, 1.0, items))().eqns if eqn.primitive.name == "scan")
    assert len(loop.outvars) == 1 + 3  # the sum, the other sum and the carry; JAX itself hands an input on


def test_a_recurrent_product_keeps_its_precision(one_device, on_a_cpu):
    """What the backward loop multiplies by is the cell's own product, transposed."""

    class Precise(jaxrnn.BasicRNNCell):
        def recur(self, params, state):
            return jnp.matmul(state, params["recurrent_kernel"], precision="highest")

    cell = Precise(5)
    params, inputs = cell.init(jax.random.key(0), D), jnp.ones((B, T, D))
    lowered = jax.jit(jax.grad(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs)[0].sum())).lower(params).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line and "tensor<5x5xf32>" in line]
    forms = {re.search(r"contracting_dims = (\S+ x \S+),", line)[1] for line in products}
    assert forms == {"[1] x [0]", "[1] x [1]", "[0] x [0]"}  # forward, backward, and for the weights
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
