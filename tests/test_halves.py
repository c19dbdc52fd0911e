"""When a batch goes through its loop in two halves, and what then is the same; the values are in test_contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

T, D = 4, 3
pytestmark = pytest.mark.usefixtures("one_device")


def shapes(cell, batch, time=T):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return params, jax.ShapeDtypeStruct((batch, time, D), jnp.float32)


@pytest.mark.parametrize(
    ("cell", "batch", "count"),
    [
        (jaxrnn.LSTMCell(150), 150, 2),
        (jaxrnn.GRUCell(256), 16, 2),
        (jaxrnn.LSTMCell(150), 15, 1),  # few rows
        (jaxrnn.LSTMCell(100), 50, 1),  # few weights
        (jaxrnn.LSTMCell(1024), 16, 1),  # more weights than a cache has
        (jaxrnn.LSTMCell(256), 128, 1),  # many gates
        (jaxrnn.BasicRNNCell(512), 64, 1),  # hardly any work but the product
    ],
    ids=repr,
)
def test_where_it_is_faster(cell, batch, count, parts):
    jax.eval_shape(lambda params, inputs: jaxrnn.dynamic_rnn(cell, params, inputs), *shapes(cell, batch))
    assert parts == [count]


def test_not_where_the_backward_pass_runs_chunks_again(parts):
    cell = jaxrnn.LSTMCell(150)
    jax.eval_shape(lambda p, x: jaxrnn.dynamic_rnn(cell, p, x, memory="recompute"), *shapes(cell, 150))
    assert parts == [1]


def test_not_on_a_gpu_and_not_on_several_devices(parts, monkeypatch):
    cell = jaxrnn.LSTMCell(150)
    for name, value in (("default_backend", "gpu"), ("device_count", 8)):
        with monkeypatch.context() as patch:
            patch.setattr(jax, name, lambda value=value: value)
            jax.eval_shape(lambda p, x: jaxrnn.dynamic_rnn(cell, p, x), *shapes(cell, 150))
        jax.clear_caches()
    assert parts == [1, 1]


@pytest.mark.parametrize(("batch", "time_major"), [(2, True), (5, False)])
def test_layouts_and_odd_batches(batch, time_major, as_if_large, parts):
    """Against the scan over chunks that a policy of one's own takes."""
    cell = jaxrnn.LSTMCell(4, num_proj=2)
    params = cell.init(jax.random.key(0), D)
    inputs = jax.random.normal(jax.random.key(1), (7, batch, D) if time_major else (batch, 7, D))
    lengths = jnp.arange(batch) + 3

    def loss(params, inputs, memory):
        options = {"sequence_length": lengths, "time_major": time_major, "chunk_size": 3, "memory": memory}
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **options)
        weights = jnp.cos(jnp.arange(outputs.size, dtype=jnp.float32)).reshape(outputs.shape)
        return jnp.vdot(outputs, weights) + jnp.sum(jnp.sin(state.c) + jnp.cos(state.c[:, :1])) + jnp.sum(jnp.sin(state.h))

    grad = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    got = grad(params, inputs, "save")
    want = grad(params, inputs, jax.checkpoint_policies.everything_saveable)
    assert set(parts) == {2}
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6), got, want)


def test_under_vmap_and_forward_mode(as_if_large, parts):
    cell = jaxrnn.GRUCell(4)
    params = cell.init(jax.random.key(0), D)
    inputs = jax.random.normal(jax.random.key(1), (3, 4, T, D))
    total = lambda params, inputs: jnp.sum(jnp.sin(jaxrnn.dynamic_rnn(cell, params, inputs)[0]))
    each = jax.vmap(jax.grad(total), (None, 0))(params, inputs)
    for i in range(3):
        want = jax.grad(total)(params, inputs[i])
        jax.tree.map(lambda e, w, i=i: np.testing.assert_allclose(e[i], w, rtol=1e-5, atol=1e-6), each, want)
    direction = jax.tree.map(jnp.cos, params)
    along = jax.jvp(lambda params: total(params, inputs[0]), (params,), (direction,))[1]
    grads = jax.tree.leaves(jax.grad(total)(params, inputs[0]))
    have = sum(jnp.vdot(g, d) for g, d in zip(grads, jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(have, along, rtol=1e-5)
    assert set(parts) == {2}
