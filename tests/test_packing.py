"""Ragged batches packed: the same numbers as a row each, and how sequences are laid out."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

LENGTHS, T = np.array([5, 0, 2, 7, 3, 1, 7]), 8
INPUTS = jax.random.normal(jax.random.key(0), (len(LENGTHS), T, 3))


def test_every_step_has_its_place():
    packing = jaxrnn.pack_sequences(LENGTHS, T, steps=9)
    numbers = np.arange(1, len(LENGTHS) * T + 1).reshape(-1, T)
    packed = np.asarray(packing.pack(numbers))
    assert packed.shape == (3, 9)
    assert sorted(packed[packed > 0]) == sorted(numbers[np.arange(T) < LENGTHS[:, None]])
    np.testing.assert_array_equal(packed > 0, np.arange(9) < packing.sequence_length[:, None])
    np.testing.assert_array_equal(packing.resets, np.isin(packed, numbers[LENGTHS > 0, 0]))
    np.testing.assert_array_equal(packing.unpack(packed), np.where(np.arange(T) < LENGTHS[:, None], numbers, 0))
    last = [row[n - 1] if n else 0 for row, n in zip(numbers, LENGTHS, strict=True)]
    np.testing.assert_array_equal(packing.last(packed), last)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(jaxrnn.LSTMCell(5), marks=pytest.mark.slow),
        jaxrnn.MultiRNNCell([jaxrnn.GRUCell(4), jaxrnn.BasicRNNCell(5)]),
    ],
)
def test_packed_equals_padded(cell, x64):
    params, inputs = cell.init(jax.random.key(1), 3, jnp.float64), INPUTS.astype(jnp.float64)

    @jax.jit
    def packed(params, inputs, packing):
        length = packing.sequence_length
        outputs, _ = jaxrnn.dynamic_rnn(
            cell, params, packing.pack(inputs), sequence_length=length, resets=packing.resets, chunk_size=3
        )
        return packing.unpack(outputs)

    padded = lambda params, inputs: jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=jnp.asarray(LENGTHS))[0]
    packing = jaxrnn.pack_sequences(LENGTHS, T, rows=5)
    with_nan = jnp.where(np.arange(T)[:, None] < LENGTHS[:, None, None], inputs, jnp.nan)
    np.testing.assert_allclose(packed(params, with_nan, packing), padded(params, inputs), atol=1e-13)
    loss = lambda run: lambda *args: jnp.sum(jnp.sin(run(*args)) @ jnp.arange(5.0))
    got = jax.grad(loss(lambda p, x: packed(p, x, packing)), (0, 1))(params, inputs)
    want = jax.grad(loss(padded), (0, 1))(params, inputs)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12), got, want)


def test_the_gradient_of_packing_is_unpacking():
    packing = jaxrnn.pack_sequences(LENGTHS, T)
    one = jax.random.normal(jax.random.key(2), INPUTS.shape)
    two = jax.random.normal(jax.random.key(3), (*packing.resets.shape, 3))
    np.testing.assert_allclose(jnp.vdot(packing.pack(one), two), jnp.vdot(one, packing.unpack(two)), rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.vdot(packing.pack(x), two))(one)
    np.testing.assert_array_equal(gradient, packing.unpack(two))
    assert "scatter" not in jax.jit(jax.grad(lambda x: packing.pack(x).sum())).lower(one).compile().as_text()
    tangent = jax.jvp(packing.pack, (INPUTS,), (one,))[1]
    np.testing.assert_array_equal(tangent, packing.pack(one))
    np.testing.assert_array_equal(jax.vmap(packing.pack)(jnp.stack([INPUTS, one]))[1], packing.pack(one))


def test_few_rows_are_enough():
    lengths = np.random.default_rng(0).geometric(1 / 50, 64).clip(1, 400)
    packing = jaxrnn.pack_sequences(lengths, 400)
    assert packing.resets.shape[1] == lengths.max()
    assert packing.resets.size < 1.1 * lengths.sum() + lengths.max()


def test_nothing_to_pack():
    packing = jaxrnn.pack_sequences([], 4)
    assert packing.pack(jnp.ones((0, 4, 3))).shape == (1, 1, 3)
    assert packing.unpack(jnp.ones((1, 1, 3))).shape == (0, 4, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: jax.jit(lambda n: jaxrnn.pack_sequences(n, T).resets)(LENGTHS), TypeError, "expected lengths that are known"),
        (lambda: jaxrnn.pack_sequences(LENGTHS + 0.5, T), TypeError, "expected integers"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, 6), ValueError, r"expected lengths in \[0, T\] = \[0, 6\]"),
        (lambda: jaxrnn.pack_sequences(5, T), ValueError, r"must be a vector \[B\]"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, 8.0), TypeError, "time: expected an int T"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, -1), ValueError, "time: expected 0 steps or more, got -1"),
        (lambda: jaxrnn.pack_sequences({"a": 1}, T), TypeError, "sequence_length: expected an array of integers"),
        (lambda: jaxrnn.pack_sequences([[1], [2, 3]], T), TypeError, "sequence_length: expected an array of integers"),
        (lambda: jaxrnn.pack_sequences([1, None], T), TypeError, "sequence_length: expected an array of integers"),
        (lambda: jaxrnn.pack_sequences([1, 2], T).pack("text"), TypeError, "Packing: expected an array, got a str"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, T, steps=6), ValueError, "steps: expected at least 7, the longest"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, T, rows=3), ValueError, "rows: expected at least 4, which these lengths need"),
        (lambda: jaxrnn.pack_sequences(LENGTHS, T, rows=0), ValueError, "rows: expected at least 1 row"),
        (
            lambda: jaxrnn.pack_sequences(LENGTHS, T).pack(INPUTS[:, :7]),
            ValueError,
            re.escape("expected [B, T, ...] = [7, 8, ...]"),
        ),
        (lambda: jaxrnn.pack_sequences(LENGTHS, T).unpack(INPUTS), ValueError, re.escape("expected [R, S, ...] = [4, 7, ...]")),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
