"""The runners as JAX functions: jit, grad, jvp, hessian, vmap, leaks, retraces, dtypes."""

import dataclasses
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests.rows import LENGTHS, ROWS, B, D, T, fast_if

STACK = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(5, use_peepholes=True, num_proj=2), jaxrnn.GRUCell(4, reset_after=False)])
KEY = jax.random.key(0)
INPUTS = jax.random.normal(jax.random.key(1), (B, T, D))


def close(got, want, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, want)


def loss(params, inputs=INPUTS, **options):
    outputs, state = jaxrnn.dynamic_rnn(STACK, params, inputs, chunk_size=3, **options)
    return jnp.sin(outputs).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))


@pytest.mark.slow
def test_jit_is_eager():
    params = STACK.init(KEY, D)
    close(jax.jit(jax.value_and_grad(loss))(params), jax.value_and_grad(loss)(params))
    steps = [INPUTS[:, t] for t in range(T)]
    static = lambda p: jaxrnn.static_rnn(STACK, p, steps, sequence_length=jnp.asarray(LENGTHS))
    close(jax.jit(static)(params), static(params))
    with jax.disable_jit():
        close(jaxrnn.dynamic_rnn(jaxrnn.GRUCell(2), jaxrnn.GRUCell(2).init(KEY, D), INPUTS, chunk_size=3),
              jax.jit(lambda x: jaxrnn.dynamic_rnn(jaxrnn.GRUCell(2), jaxrnn.GRUCell(2).init(KEY, D), x))(INPUTS))  # fmt: skip


@pytest.mark.parametrize("memory", fast_if(lambda m: m == "save", ["save", "recompute", "recursive", "offload"]))
def test_forward_mode_agrees_with_reverse_mode(memory, x64):
    params = STACK.init(KEY, D, jnp.float64)
    inputs = jnp.asarray(INPUTS, jnp.float64)
    move = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape, p.dtype), params)
    resets = jax.random.bernoulli(KEY, 0.3, (B, T))
    f = lambda p: loss(p, inputs, memory=memory, sequence_length=jnp.asarray(LENGTHS), resets=resets, reverse=True)

    @jax.jit
    def both(params):
        grad = jax.grad(f)(params)
        return jax.jvp(f, (params,), (move,))[1], sum(
            jnp.vdot(g, m) for g, m in zip(jax.tree.leaves(grad), jax.tree.leaves(move), strict=True)
        )

    forward, backward = both(params)
    np.testing.assert_allclose(forward, backward, rtol=1e-10)


@pytest.mark.parametrize("memory", fast_if(lambda memory: memory == "save", ["save", "recompute"]))
def test_hessian_equals_differences_of_the_gradient(memory, x64):
    cell = jaxrnn.LSTMCell(2)
    params = cell.init(KEY, D, jnp.float64)
    inputs = jnp.asarray(INPUTS[:2, :5], jnp.float64)

    def f(w):
        outputs, _ = jaxrnn.dynamic_rnn(cell, {**params, "recurrent_kernel": w}, inputs, memory=memory, chunk_size=2)
        return jnp.sin(outputs).sum()

    w, move = params["recurrent_kernel"], jax.random.normal(KEY, (2, 8), jnp.float64)
    grad = jax.jit(jax.grad(f))
    want = (grad(w + 1e-5 * move) - grad(w - 1e-5 * move)) / 2e-5
    got = jnp.einsum("abcd,cd->ab", jax.jit(jax.hessian(f))(w), move)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)
    twice = jax.jit(lambda w: jax.grad(lambda w: jnp.vdot(jax.grad(f)(w), move))(w))(w)
    np.testing.assert_allclose(twice, want, rtol=1e-6, atol=1e-8)


def test_one_sequence_and_several_batch_axes():
    """As the docstring says: a batch of one, a vmap."""
    cell = jaxrnn.LSTMCell(4)
    params = cell.init(KEY, D)
    inputs = jax.random.normal(KEY, (2, B, T, D))
    run = lambda x: jaxrnn.dynamic_rnn(cell, params, x)
    both = jax.vmap(run)(inputs)
    for i in range(2):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], both), run(inputs[i]))
        close(jax.tree.map(lambda leaf, i=i: leaf[i, :1], both), run(inputs[i, 0][None]))


def test_vmap_over_params_inputs_lengths_and_keys():
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(4), 0.7, 0.7, 0.7)
    params = jax.vmap(lambda k: cell.init(k, D))(jax.random.split(KEY, 3))
    inputs = jax.random.normal(KEY, (3, B, T, D))
    lengths = jnp.array([[7, 0, 3, 5], [1, 2, 3, 4], [0, 0, 0, 0]])
    keys = jax.random.split(jax.random.key(2), 3)

    def grad(params, inputs, lengths, key):
        run = lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, sequence_length=lengths, key=key, chunk_size=3)
        return jax.value_and_grad(lambda p: jnp.sin(run(p)[0]).sum())(params)

    got = jax.jit(jax.vmap(grad))(params, inputs, lengths, keys)
    one = jax.jit(grad)
    for i in range(3):
        row = lambda tree: jax.tree.map(lambda leaf: leaf[i], tree)
        close(row(got), one(row(params), inputs[i], lengths[i], keys[i]))


def test_gradient_of_some_of_the_arguments():
    """Frozen weights, given as constants, change nothing for the others."""
    params = STACK.init(KEY, D)
    whole = jax.jit(jax.grad(loss))(params)
    part = jax.jit(jax.grad(lambda p: loss({**params, "cell_1": {**params["cell_1"], "kernel": p}})))
    close(part(params["cell_1"]["kernel"]), whole["cell_1"]["kernel"])
    by_inputs = jax.jit(jax.grad(lambda x: loss(params, x)))(INPUTS)
    close(by_inputs, jax.jit(jax.grad(loss, (0, 1)))(params, INPUTS)[1])


def test_checkpoint_around_a_run():
    params = STACK.init(KEY, D)
    close(jax.jit(jax.grad(jax.checkpoint(loss)))(params), jax.jit(jax.grad(loss))(params))


def test_nothing_leaks(small_heap):
    cell = jaxrnn.LSTMCell(2)
    params = cell.init(KEY, D)
    lengths = jnp.asarray(LENGTHS)
    with jax.checking_leaks():
        run = lambda p: jaxrnn.dynamic_rnn(cell, p, INPUTS, sequence_length=lengths)[0].sum()
        jax.eval_shape(jax.jit(jax.grad(run)), params)
        jax.eval_shape(jax.jit(lambda p: jaxrnn.static_rnn(cell, p, [INPUTS[:, 0]])), params)


class Counting(jaxrnn.BasicRNNCell):
    """Counts how often it is traced."""

    traces = 0

    def gates(self, params, z, r, state):
        """The gates, counted."""
        Counting.traces += 1
        return super().gates(params, z, r, state)


@pytest.mark.parametrize("runner", ["static", "dynamic"])
def test_an_equal_cell_outside_jit_is_not_traced_again(runner):
    params = Counting(5).init(KEY, D)
    steps = [INPUTS[:, t] for t in range(3)]

    def run():
        if runner == "static":
            return jaxrnn.static_rnn(Counting(5), params, steps)
        return jaxrnn.dynamic_rnn(Counting(5), params, INPUTS)

    run()
    traces = Counting.traces
    assert traces > 0
    run()
    assert Counting.traces == traces
    Counting(5)(params, INPUTS[:, 0], Counting(5).initial_state(B))


def test_cells_are_values():
    for row in ROWS:
        cell = row.cell
        # JAX's own activations cannot be pickled; a cell is as good as its activation there.
        twin = pickle.loads(pickle.dumps(cell)) if "activation=<" not in repr(cell) else dataclasses.replace(cell)
        assert twin == cell
        assert hash(twin) == hash(cell)
        assert repr(cell).startswith(type(cell).__name__ + "(")
        assert jax.tree.leaves(cell) == []
        traced = jax.jit(lambda c, p, x: jaxrnn.dynamic_rnn(c, p, x)[0].sum())
        if row.name == "gru":
            params = cell.init(KEY, D)
            close(traced(cell, params, INPUTS), traced(twin, params, INPUTS))
            assert traced._cache_size() == 1
    assert jaxrnn.GRUCell(5) != jaxrnn.GRUCell(6)


@pytest.mark.parametrize("dtype", fast_if(lambda dtype: dtype == jnp.bfloat16, [jnp.bfloat16, jnp.float16]))
@pytest.mark.parametrize(
    "name", fast_if(lambda name: name == "lstm_full", ["lstm_full", "gru_reset_before", "output_projection"])
)
def test_half_precision_keeps_its_dtype(dtype, name, request):
    cell = next(row.cell for row in ROWS if row.name == name)
    params = cell.init(KEY, D, dtype)
    inputs = INPUTS.astype(dtype)

    def run(params, inputs):
        return jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=jnp.asarray(LENGTHS))

    outputs, state = run(params, inputs)
    grads = jax.grad(lambda p: run(p, inputs)[0].astype(jnp.float32).sum())(params)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state, grads))} == {jnp.dtype(dtype)}
    wide = run(*jax.tree.map(lambda a: a.astype(jnp.float32), (params, inputs)))
    close(jax.tree.map(lambda a: a.astype(jnp.float32), (outputs, state)), wide, 0.03)


def test_a_wide_state_beside_half_precision_inputs():
    """dtype is the state's; the carry keeps it and the outputs have it."""
    cell = jaxrnn.LSTMCell(5)
    with jax.numpy_dtype_promotion("standard"):
        params = cell.init(KEY, D, jnp.bfloat16)
        for dtype in (jnp.float32, jnp.bfloat16):
            outputs, state = jaxrnn.dynamic_rnn(cell, params, INPUTS.astype(jnp.bfloat16), dtype=dtype)
            assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(dtype)}
            step, new = cell(params, INPUTS[:, 0].astype(jnp.bfloat16), cell.initial_state(B, dtype))
            assert {leaf.dtype for leaf in jax.tree.leaves((step, new))} == {jnp.dtype(dtype)}


def test_nested_inputs_states_and_outputs():
    """Any pytree goes through both runners; a state of rank 0 belongs to no row and is not masked."""

    def cell(params, inputs, state):
        a, b = inputs["a"], inputs["b"]
        h = jnp.tanh(a @ params["a"] + state["h"] @ params["h"] + b.sum((1, 2))[:, None])
        return {"h": h, "pair": (h * 2, b)}, {"h": h, "steps": state["steps"] + 1}

    params = {"a": jnp.ones((3, 5)) / 3, "h": jnp.eye(5) / 2}
    inputs = {"a": INPUTS, "b": jnp.ones((B, T, 2, 2)) / 4}
    state = {"h": jnp.zeros((B, 5)), "steps": jnp.int32(0)}
    options = {"initial_state": state, "sequence_length": jnp.asarray(LENGTHS)}
    outputs, last = jaxrnn.dynamic_rnn(cell, params, inputs, chunk_size=3, **options)
    steps, static_last = jaxrnn.static_rnn(
        cell,
        params,
        [jax.tree.map(lambda leaf: leaf[:, t], inputs) for t in range(T)],
        **options,
    )
    close(outputs, jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *steps))
    close(last["h"], static_last["h"])
    assert last["steps"] == static_last["steps"] == T
    assert not np.any(outputs["pair"][1][1])


def test_a_function_that_cannot_be_hashed():
    class Scale:
        __hash__ = None

        def __call__(self, params, inputs, state):
            return inputs * params, state + inputs

    outputs, state = jaxrnn.dynamic_rnn(Scale(), jnp.float32(2), INPUTS, initial_state=jnp.zeros((B, D)))
    close(outputs, INPUTS * 2)
    close(state, INPUTS.sum(1))


class Scaled:
    """A model with a state of its own, hashed by its identity."""

    def __init__(self):
        self.scale = 1.0

    def step(self, params, inputs, state):
        return inputs * self.scale, state


@pytest.mark.parametrize("form", ["a method", "a closure", "a partial", "a default"])
def test_what_can_change_is_not_remembered(form):
    model = Scaled()
    cell = {
        "a method": model.step,
        "a closure": lambda params, inputs, state: model.step(params, inputs, state),
        "a partial": functools.partial(Scaled.step, model),
        "a default": lambda params, inputs, state, model=model: model.step(params, inputs, state),
    }[form]
    run = lambda: jaxrnn.dynamic_rnn(cell, {}, INPUTS, initial_state=jnp.zeros((B, 1)))[0]
    close(run(), INPUTS)
    model.scale = 3.0
    close(run(), INPUTS * 3)
    close(jaxrnn.static_rnn(cell, {}, [INPUTS[:, 0]], initial_state=jnp.zeros((B, 1)))[0][0], INPUTS[:, 0] * 3)


def test_a_closure_over_traced_values():
    """A function made anew inside a jitted, differentiated step may close over anything in it."""

    @jax.jit
    def grad(w, x):
        def run(w):
            cell = lambda params, inputs, state: (state, jnp.tanh(inputs * w + state))
            return jaxrnn.dynamic_rnn(cell, {}, x, initial_state=jnp.zeros((B, D)), chunk_size=3)[1].sum()

        return jax.grad(run)(w)

    def run(w):
        state = jnp.zeros((B, D))
        for t in range(T):
            state = jnp.tanh(INPUTS[:, t] * w + state)
        return state.sum()

    close(grad(jnp.float32(0.5), INPUTS), jax.grad(run)(jnp.float32(0.5)))


def test_numpy_and_lists_are_arrays():
    cell = jaxrnn.BasicRNNCell(5)
    params = jax.tree.map(np.asarray, cell.init(KEY, D))
    want = jaxrnn.dynamic_rnn(cell, params, INPUTS, sequence_length=jnp.asarray(LENGTHS))
    close(jaxrnn.dynamic_rnn(cell, params, np.asarray(INPUTS), sequence_length=LENGTHS.tolist()), want)


def test_initial_state_defaults_to_zeros():
    params = STACK.init(KEY, D)
    want = jaxrnn.dynamic_rnn(STACK, params, INPUTS, initial_state=STACK.initial_state(B))
    close(jaxrnn.dynamic_rnn(STACK, params, INPUTS), want, 0)
    steps, state = jaxrnn.static_rnn(STACK, params, [INPUTS[:, t] for t in range(T)])
    close((jnp.stack(steps, 1), state), want)
