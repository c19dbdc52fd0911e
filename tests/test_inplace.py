"""Runs in arrays written in place: their derivatives of every order, their loops, and what takes this road."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.linear import linear
from jaxrnn.engine.tuning import current, using

T, B, D = 5, 2, 3
PLAIN = jax.checkpoint_policies.everything_saveable  # a policy of one's own: a scan over chunks
total = lambda tree: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree))


def weighted(tree):
    """A sum in which no two elements count the same."""
    weights = lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
    return sum(jnp.vdot(leaf, weights(leaf)) for leaf in jax.tree.leaves(tree))


# ---- linear functions with their own transpose


def test_the_transpose_is_the_one_given():
    w = jax.random.normal(jax.random.key(0), (3, 4))
    double = lambda w, x: linear(lambda w, x: [x[0] @ w], lambda w, y: [2 * y[0] @ w.T], w, [x])[0]
    x, y = jnp.arange(3.0), jnp.arange(4.0)
    np.testing.assert_allclose(double(w, x), x @ w)
    np.testing.assert_allclose(jax.jvp(lambda x: double(w, x), (x,), (x,))[1], x @ w)
    np.testing.assert_allclose(jax.grad(lambda x: jnp.vdot(double(w, x), y))(x), 2 * y @ w.T, rtol=1e-6)
    of_batch = jax.vmap(jax.grad(lambda x, w: jnp.vdot(double(w, x), y)), (None, 0))(x, jnp.stack([w, 3 * w]))
    np.testing.assert_allclose(of_batch[1], 6 * y @ w.T, rtol=1e-6)


def test_what_it_reads_has_derivatives_too():
    f = lambda w, x: linear(lambda w, x: [x[0] @ w, *x], lambda w, y: [y[0] @ w.T + y[1]], w, [x])[0]
    plain = lambda w, x: x @ w
    w, x = jax.random.normal(jax.random.key(0), (3, 4)), jnp.arange(3.0)
    for derivative in (jax.jacrev, jax.jacfwd, lambda f, i: jax.hessian(lambda *args: jnp.sum(f(*args) ** 2), i)):
        for i in (0, 1):
            np.testing.assert_allclose(derivative(f, i)(w, x), derivative(plain, i)(w, x), rtol=1e-5, atol=1e-6)


# ---- derivatives of runs

LOSSES = {
    "linear in the outputs": lambda outputs, state: total(outputs),
    "the state": lambda outputs, state: total(jax.tree.map(jnp.sin, state)),
}


@pytest.mark.parametrize(
    "loss",
    [pytest.param(loss, marks=pytest.mark.slow) for loss in LOSSES.values()],  # the fast one is test_layout.py's
    ids=LOSSES,
)
def test_second_derivatives_in_both_orders(x64, loss):
    """Whatever the loss leaves without a cotangent, and whatever has none of its own."""
    cell = jaxrnn.LSTMCell(4)
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64)
    state = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_state(B, jnp.float64))

    def second(memory):
        def value(params, inputs, state):
            return loss(*jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, memory=memory, chunk_size=2))

        gradient = jax.grad(value, (0, 1, 2))
        forward = lambda *at: jax.jvp(gradient, at, at)[1]
        backward = jax.grad(lambda *at: weighted(gradient(*at)), (0, 1, 2))
        of_one = jax.grad(lambda state: weighted(jax.grad(value, 2)(params, inputs, state)))  # the rest has no tangent
        return jax.jit(lambda *at: (forward(*at), backward(*at), of_one(at[2])))(params, inputs, state)

    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, atol=1e-11), second("save"), second(PLAIN))


STACK = jaxrnn.MultiRNNCell(
    [
        jaxrnn.DropoutWrapper(jaxrnn.LSTMCell(4), input_keep_prob=0.8, state_keep_prob=0.7),
        jaxrnn.ResidualWrapper(jaxrnn.GRUCell(4)),
        jaxrnn.OutputProjectionWrapper(jaxrnn.BasicRNNCell(2), 3),
    ]
)


@pytest.mark.parametrize(("time_major", "reverse"), [(False, True), pytest.param(True, False, marks=pytest.mark.slow)])
def test_a_stack_of_wrappers(x64, time_major, reverse):
    """Layer by layer over the whole sequence, chunk by chunk through the whole stack: the same numbers."""
    params = STACK.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64).at[1, 3:].set(jnp.nan)
    resets = jax.random.bernoulli(jax.random.key(2), 0.3, (B, T))
    turn = (lambda leaf: jnp.swapaxes(leaf, 0, 1)) if time_major else lambda leaf: leaf

    def value(memory, params, inputs):
        out = jaxrnn.dynamic_rnn(
            STACK,
            params,
            turn(inputs),
            sequence_length=jnp.array([T, 3]),
            resets=turn(resets),
            time_major=time_major,
            reverse=reverse,
            memory=memory,
            chunk_size=2,
        )
        return weighted((turn(out[0]), out[1]))

    got, want = (jax.value_and_grad(value, (1, 2))(memory, params, inputs) for memory in ("save", PLAIN))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-12), got, want)


# ---- what takes this road


def test_a_chunk_of_ones_own_is_used():
    class Doubled(jaxrnn.GRUCell):
        def chunk(self, params, xs, state, steps):
            outputs, state = jaxrnn.GRUCell.chunk(self, params, xs, state, steps)
            return 2 * outputs, state

    cell, inputs = Doubled(4), jax.random.normal(jax.random.key(1), (B, T, D))
    params = cell.init(jax.random.key(0), D)
    got, want = (jaxrnn.dynamic_rnn(c, params, inputs)[0] for c in (cell, jaxrnn.GRUCell(4)))
    np.testing.assert_array_equal(got, 2 * want)


def test_chunks_of_padding_are_not_run_for_any_example_of_a_batch():
    """Under `jax.vmap` over lengths one loop serves all, up to the longest of them, and nothing is selected."""
    cell, inputs = jaxrnn.BasicRNNCell(4), jnp.ones((B, 64, D))
    params = cell.init(jax.random.key(0), D)
    run = jax.vmap(lambda lengths: jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths, chunk_size=4)[0])
    lengths = jnp.array([[3, 0], [9, 1]])
    want = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths[1])[0]
    np.testing.assert_allclose(run(lengths)[1], want, rtol=1e-6)
    text = str(jax.make_jaxpr(run)(lengths))
    assert "while[" in text and "reduce_or" not in text


@pytest.mark.parametrize("chunk_size", [2, T])
def test_gates_that_are_handed_on(chunk_size, x64):
    """As a forward pass has it before jax 0.11."""
    cell = jaxrnn.GRUCell(4)
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64)
    run = lambda memory: jax.jit(lambda x: jaxrnn.dynamic_rnn(cell, params, x, memory=memory, chunk_size=chunk_size))(inputs)
    with using(dataclasses.replace(current(), old_loops=True, many_rows=1)):
        got = run("save")
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-12), got, run(PLAIN))


def test_a_gate_that_is_an_output_is_kept_once(compiled_for_a_cpu):
    """A simple cell's hidden state: with the outputs' own cotangents, nothing is left that is as long as the sequence."""
    time, batch, units = 2048, 8, 64
    cell, inputs = jaxrnn.BasicRNNCell(units), jax.ShapeDtypeStruct((batch, time, D), jnp.float32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    step = jax.jit(jax.grad(lambda p, x: jnp.sum(jnp.sin(jaxrnn.dynamic_rnn(cell, p, x)[0]))))
    temporaries = step.lower(params, inputs).compile().memory_analysis().temp_size_in_bytes
    assert temporaries < 2.5 * time * batch * units * 4


def test_what_is_set_around_a_run_holds_for_its_backward_pass():
    """The backward pass is traced when the context has been left."""
    cell, inputs = jaxrnn.LSTMCell(4, num_proj=2), jnp.ones((B, T, D))
    params = cell.init(jax.random.key(0), D)

    def loss(params):
        with jax.default_matmul_precision("highest"):
            return jnp.sum(jaxrnn.dynamic_rnn(cell, params, inputs)[0])

    for derivative in (jax.grad(loss), lambda params: jax.jvp(loss, (params,), (params,))):
        lowered = jax.jit(derivative).lower(params).as_text()
        products = [line for line in lowered.splitlines() if "dot_general" in line]
        assert products and all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize("memory", ["save", "recompute", "recursive"])
def test_a_cell_that_closes_over_a_traced_number(memory, x64):
    """It is run step by step: its functions cannot be traced again later."""
    cell, inputs = jaxrnn.BasicRNNCell(4), jax.random.normal(jax.random.key(1), (B, T, D), jnp.float64)
    params = cell.init(jax.random.key(0), D, jnp.float64)

    def by_cell(scale, params):
        class Scaled(jaxrnn.BasicRNNCell):
            def project(self, params, inputs):
                return super().project(params, inputs) * scale

        return weighted(jnp.sin(jaxrnn.dynamic_rnn(Scaled(4), params, inputs, memory=memory)[0]))

    def by_hand(scale, params):
        state, outputs = jnp.zeros((B, 4)), []
        for t in range(T):
            z = (inputs[:, t] @ params["kernel"] + params["bias"][None]) * scale
            state = jnp.tanh(z + state @ params["recurrent_kernel"])
            outputs.append(state)
        return weighted(jnp.sin(jnp.stack(outputs, 1)))

    got, want = (jax.jit(jax.grad(f, (0, 1)))(jnp.float64(0.7), params) for f in (by_cell, by_hand))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10), got, want)
