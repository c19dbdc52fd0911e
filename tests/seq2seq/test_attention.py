"""Cells with attention against a float64 numpy loop: values, and gradients by finite differences; and what they are run in."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.seq2seq import (
    AttentionWrapper,
    BahdanauAttention,
    BahdanauMonotonicAttention,
    Dense,
    LuongAttention,
    LuongMonotonicAttention,
)
from tests import oracle
from tests.contrib.test_contract import MASK, RESETS, along
from tests.rows import LENGTHS, B, D, T, fast_if, loss, plain
from tests.seq2seq.attention import attention, bahdanau_score, luong_score, reader, softmax

pytestmark = pytest.mark.usefixtures("one_device")

MEMORY_LENGTHS = np.array([4, 6, 0, 2], np.int32)
OTHER_LENGTHS = np.array([1, 3, 3, 0], np.int32)
GRU, LSTM = jaxrnn.GRUCell(5), jaxrnn.LSTMCell(5)


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell, its step in numpy, the shapes [M, Dm] of its memories and their lengths."""

    name: str
    cell: Any
    step: Callable
    memories: tuple = ((6, 4),)
    lengths: tuple = (MEMORY_LENGTHS,)
    hard: bool = False

    def init(self, dtype=jnp.float32):
        return self.cell.init(jax.random.key(0), D, dtype)

    def with_memory(self, params):
        params = dict(params)
        memories = params.pop("memories")
        return self.cell.with_memory(params, self.cell.as_given(memories), self.cell.as_given(self.lengths))


def row(name, cell, inner, mechanisms, memories=((6, 4),), lengths=(MEMORY_LENGTHS,), hard=False):
    step = attention(inner, mechanisms, lengths, cell.output_attention)
    return Row(name, cell, step, memories, lengths, hard)


gru, lstm = oracle.gru(5, True), oracle.lstm(5)
normed = lambda scores, previous: softmax(scores)
hard = lambda scores, previous: reader(scores, previous, hard=True)
ROWS = [
    row("luong", AttentionWrapper(LSTM, LuongAttention(5, 4, scale=True), 2), lstm, [(luong_score, normed)]),
    row(
        "bahdanau",
        AttentionWrapper(GRU, BahdanauAttention(7, 4, normalize=True), output_attention=False),
        gru,
        [(bahdanau_score, normed)],
    ),
    row("luong_monotonic", AttentionWrapper(GRU, LuongMonotonicAttention(5, 4), 2), gru, [(luong_score, reader)]),
    row(
        "bahdanau_monotonic",
        AttentionWrapper(GRU, BahdanauMonotonicAttention(7, 4, mode="recursive")),
        gru,
        [(bahdanau_score, reader)],
    ),
    row(
        "luong_monotonic_hard",
        AttentionWrapper(GRU, LuongMonotonicAttention(5, 4, mode="hard"), 2),
        gru,
        [(luong_score, hard)],
        hard=True,
    ),
    row(
        "several",
        AttentionWrapper(
            GRU, [LuongAttention(5, 4), BahdanauAttention(7, 3)], attention_layer=[Dense(2, jnp.tanh), Dense(1, jnp.tanh)]
        ),
        gru,
        [(luong_score, normed), (bahdanau_score, normed)],
        memories=((6, 4), (3, 3)),
        lengths=(MEMORY_LENGTHS, OTHER_LENGTHS),
    ),
]


def problem(row, seed=0):
    """(params with plain memories, inputs, initial state) in float64, every weight random, as numpy trees."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(row.init)
    params = {**jax.tree.map(lambda s: rng.uniform(-0.8, 0.8, s.shape), shapes)}
    params["memories"] = tuple(rng.standard_normal((B, *shape)) for shape in row.memories)
    start = jax.eval_shape(lambda: row.cell.zero_state(row.with_memory(jax.tree.map(jnp.asarray, params))))
    start = jax.tree.map(lambda s: rng.uniform(-0.8, 0.8, s.shape), start)
    carried = jax.tree.map(
        lambda a: np.eye(a.shape[1])[rng.integers(0, 3, B)] if row.hard else abs(a) / 2, start.attention_state
    )
    return params, rng.standard_normal((B, T, D)), start._replace(alignments=carried, attention_state=carried)


def static(cell, params, inputs, **options):
    outputs, state = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(T)], **options)
    return jnp.stack(outputs, 1), state


def dynamic(memory):
    return lambda *args, **options: jaxrnn.dynamic_rnn(*args, memory=memory, chunk_size=3, **options)


RUNNERS = {"static": static, "save": dynamic("save"), "recompute": dynamic("recompute")}
OPTIONS = {
    "lengths": {"sequence_length": LENGTHS},
    "all": {"sequence_length": LENGTHS, "resets": RESETS, "mask": MASK},
}
WAYS = [("save", "all", False), ("recompute", "lengths", True), ("static", "all", False)]
CASES = [(row, way) for row in ROWS for way in WAYS]
# One of each score, one of each way; the others are the engine's.
FAST = {(name, way) for name, way in zip(("luong", "bahdanau", "luong_monotonic"), WAYS, strict=True)}
named = lambda *names: fast_if(lambda row: row.name in names, ROWS)


@pytest.mark.parametrize(
    ("row", "way"),
    fast_if(lambda case: (case[0].name, case[1]) in FAST, CASES),
    ids=[f"{row.name}-{runner}-{given}-{'reverse' if back else 'forward'}" for row, (runner, given, back) in CASES],
)
def test_runner_equals_numpy(row, way, x64):
    runner, given, reverse = way
    point, options = problem(row), OPTIONS[given]
    flat = (point[0], point[1], plain(point[2]))
    rng = np.random.default_rng(1)
    again = jax.tree.map(np.asarray, row.cell.zero_state(row.with_memory(point[0])))

    def by_hand(point):
        params, inputs, state = point
        kwargs = {"lengths": LENGTHS, "resets": options.get("resets"), "mask": options.get("mask")}
        return oracle.rnn(row.step, params, inputs, state, reverse=reverse, reset_state=plain(again), **kwargs)

    outputs, state = by_hand(flat)
    weights = rng.standard_normal(outputs.shape), jax.tree.map(lambda s: rng.standard_normal(s.shape), state)

    def run(params, inputs, state):
        given = {name: jnp.asarray(value) for name, value in options.items()}
        given |= {"reset_state": again} if "resets" in given else {}
        params = row.with_memory(params)
        result = RUNNERS[runner](row.cell, params, inputs, initial_state=state, reverse=reverse, **given)
        return loss(*result, weights), result

    (_, got), grads = jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))(*point)
    np.testing.assert_allclose(got[0], outputs, rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(got[1]), oracle.leaves(state), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)
    for k in range(3):
        for i, grad in enumerate(jax.tree.leaves(grads[k])):
            if row.hard and k == 2 and grad.shape[1] == 6:
                continue  # of alignments of 0 and 1 there are no small differences
            direction = along(flat, k, i)
            want = oracle.directional(lambda p: loss(*by_hand(p), weights), flat, direction)
            have = np.vdot(grad, oracle.leaves(direction[k])[i])
            np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8, err_msg=f"argument {k}, leaf {i}")


def test_an_encoder_gets_its_gradient(x64):
    row = ROWS[1]
    params, inputs, start = problem(row)
    rng = np.random.default_rng(5)
    encoder = jaxrnn.GRUCell(4)
    weights = jax.tree.map(
        lambda s: rng.uniform(-0.8, 0.8, s.shape), jax.eval_shape(lambda: encoder.init(jax.random.key(0), 2))
    )
    source, wy = rng.standard_normal((B, 6, 2)), rng.standard_normal((B, T, 5))
    del params["memories"]

    def value(point):
        encoder_params, params, source = point
        memory, _ = jaxrnn.dynamic_rnn(encoder, encoder_params, source, sequence_length=MEMORY_LENGTHS)
        params = row.cell.with_memory(params, memory, MEMORY_LENGTHS)
        outputs, _ = jaxrnn.dynamic_rnn(row.cell, params, inputs, initial_state=start, memory="recompute", chunk_size=3)
        return jnp.sum(outputs * wy)

    def by_hand(point):
        encoder_params, params, source = point
        memory, _ = oracle.rnn(oracle.gru(4, True), encoder_params, source, np.zeros((B, 4)), MEMORY_LENGTHS)
        return (oracle.rnn(row.step, {**params, "memories": (memory,)}, inputs, plain(start))[0] * wy).sum()

    point = weights, params, source
    got, grads = jax.jit(jax.value_and_grad(value))(point)
    np.testing.assert_allclose(got, by_hand(point), rtol=1e-10)
    for k in range(3):
        for i, grad in enumerate(jax.tree.leaves(grads[k])):
            direction = along(point, k, i)
            want = oracle.directional(by_hand, point, direction)
            np.testing.assert_allclose(np.vdot(grad, oracle.leaves(direction[k])[i]), want, rtol=1e-6, atol=1e-8)


def small(row, dtype=jnp.float32):
    """(params with memory, inputs, state) as JAX arrays."""
    params, inputs, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), problem(row))
    return row.with_memory(params), inputs, state


def gradients(row, params, inputs, state):
    def value(params, inputs, state):
        outputs, last = jaxrnn.dynamic_rnn(row.cell, row.with_memory(params), inputs, initial_state=state)
        return jnp.sum(outputs**2) + jnp.sum(last.attention), (outputs, last)

    return jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))(params, inputs, state)


@pytest.mark.parametrize("row", named("luong", "bahdanau_monotonic"), ids=lambda row: row.name)
def test_nan_past_the_memory_changes_nothing(row):
    params, inputs, state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem(row))
    spoil = lambda memory, lengths: jnp.where(
        np.arange(memory.shape[1])[None, :, None] < lengths[:, None, None], memory, jnp.nan
    )
    spoilt = {**params, "memories": tuple(map(spoil, params["memories"], row.lengths))}
    assert all(jnp.isnan(memory).any() for memory in spoilt["memories"])
    want, got = (gradients(row, p, inputs, state) for p in (params, spoilt))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert jnp.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("row", named("bahdanau", "luong_monotonic"), ids=lambda row: row.name)
def test_a_row_without_memory(row):
    params, inputs, state = small(row)
    empty = int(np.argmin(row.lengths[0]))
    assert row.lengths[0][empty] == 0
    with jax.debug_nans(True):
        _, new = row.cell(params, inputs[:, 0], state)
    alignments = new.alignments[0] if isinstance(new.alignments, tuple) else new.alignments
    assert not alignments[empty].any()
    assert alignments[1].any()
    grads, _ = gradients(row, *jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem(row)))
    assert not grads[0]["memories"][0][empty].any()


@pytest.mark.parametrize("row", named("luong"), ids=lambda row: row.name)
def test_bfloat16(row):
    """All stays in it, and is what float32 gives but for its rounding."""
    outputs, state = jaxrnn.dynamic_rnn(row.cell, *small(row, jnp.bfloat16)[:2], initial_state=small(row, jnp.bfloat16)[2])
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(jnp.bfloat16)}
    if not row.hard:
        want, _ = jaxrnn.dynamic_rnn(row.cell, *small(row)[:2], initial_state=small(row)[2])
        np.testing.assert_allclose(outputs.astype(jnp.float32), want, rtol=0.1, atol=0.15)


def test_vmap_is_one_run_after_the_other():
    row = ROWS[5]
    points = [jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem(row, seed)) for seed in (0, 1)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    want = [gradients(row, *point) for point in points]
    got = jax.vmap(lambda *point: gradients(row, *point))(*both)
    for a, b, c in zip(jax.tree.leaves(got), *map(jax.tree.leaves, want), strict=True):
        np.testing.assert_allclose(a, jnp.stack([b, c]), rtol=1e-4, atol=1e-5)


def test_forward_mode_equals_reverse_mode(x64):
    row = ROWS[3]
    params, inputs, state = problem(row)

    def run(params):
        return jaxrnn.dynamic_rnn(row.cell, row.with_memory(params), inputs, initial_state=state)[0].sum()

    direction = jax.tree.map(np.cos, params)
    grads = jax.tree.leaves(jax.grad(run)(params))
    slope = sum(np.vdot(g, d) for g, d in zip(grads, jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(jax.jvp(run, (params,), (direction,))[1], slope, rtol=1e-9)


@pytest.mark.parametrize("row", fast_if(lambda row: row is ROWS[0], [ROWS[0], ROWS[3]]), ids=lambda row: row.name)
def test_one_exported_program_for_every_batch(row):
    def grads(params, memory, lengths, inputs):
        def value(params, memory, inputs):
            params = row.cell.with_memory(params, memory, lengths)
            outputs, _ = jaxrnn.dynamic_rnn(row.cell, params, inputs, initial_state=row.cell.zero_state(params))
            return jnp.sum(outputs**2)

        return jax.grad(value, (0, 1, 2))(params, memory, inputs)

    params = row.init()
    (b,) = jax.export.symbolic_shape("b")
    struct = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct(shape, dtype)
    args = struct(b, 6, 4), struct(b, dtype=jnp.int32), struct(b, T, D)
    exported = jax.export.export(jax.jit(grads))(jax.eval_shape(row.init), *args)
    rng = np.random.default_rng(0)
    for batch in (2, 3):
        memory, inputs = rng.standard_normal((batch, 6, 4), np.float32), rng.standard_normal((batch, T, D), np.float32)
        point = params, memory, np.array([6, 2, 0], np.int32)[:batch], inputs
        for a, b in zip(jax.tree.leaves(exported.call(*point)), jax.tree.leaves(jax.jit(grads)(*point)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_noise_is_drawn_with_a_key_alone():
    mechanism = LuongMonotonicAttention(5, 4, sigmoid_noise=2.0)
    row = dataclasses.replace(ROWS[2], cell=AttentionWrapper(GRU, mechanism, 2))
    params, inputs, start = small(row)
    quiet, _ = jaxrnn.dynamic_rnn(ROWS[2].cell, params, inputs, initial_state=start)
    run = lambda runner, **options: RUNNERS[runner](row.cell, params, inputs, initial_state=start, **options)[0]
    np.testing.assert_array_equal(run("save"), quiet)
    key, state, outputs = jax.random.key(1), start, []
    for t in range(T):
        output, state = row.cell(params, inputs[:, t], state, key=jaxrnn.step_key(key, t))
        outputs.append(output)
    by_hand = jnp.stack(outputs, 1)
    assert abs(by_hand - quiet).max() > 0.01
    for runner in RUNNERS:
        np.testing.assert_allclose(run(runner, key=key), by_hand, rtol=1e-5, atol=1e-6, err_msg=runner)


def test_inside_other_cells():
    """A stack with attention at its bottom (Wu et al., 2016), or higher up, and dropout around it."""
    wrapper = AttentionWrapper(GRU, LuongAttention(5, 4), 2)
    memory, inputs = jnp.sin(jnp.arange(B * 6 * 4.0)).reshape(B, 6, 4), jnp.cos(jnp.arange(B * T * 3.0)).reshape(B, T, 3)
    params = wrapper.with_memory(wrapper.init(jax.random.key(0), 3), memory, MEMORY_LENGTHS)
    want, _ = jaxrnn.dynamic_rnn(wrapper, params, inputs, initial_state=wrapper.zero_state(params))
    dropped = jaxrnn.DropoutWrapper(wrapper, 0.5)
    np.testing.assert_array_equal(
        jaxrnn.dynamic_rnn(dropped, params, inputs, initial_state=wrapper.zero_state(params))[0], want
    )
    for at in (0, 1):
        cells = [GRU, GRU]
        cells[at] = wrapper
        stack = jaxrnn.MultiRNNCell(cells)
        params = stack.init(jax.random.key(0), 3)
        name = f"cell_{at}"
        params[name] = wrapper.with_memory(params[name], memory, MEMORY_LENGTHS)
        state = [cell.initial_state(B) if cell is GRU else cell.zero_state(params[name]) for cell in cells]
        outputs, _ = jaxrnn.dynamic_rnn(stack, params, inputs, initial_state=tuple(state))
        steps, state = [], tuple(state)
        for t in range(T):
            output, state = stack(params, inputs[:, t], state)
            steps.append(output)
        np.testing.assert_allclose(outputs, jnp.stack(steps, 1), rtol=1e-5, atol=1e-6)


def temporary_bytes(cell, time, chunk_size):
    def value(params, memory, inputs):
        params = cell.with_memory(params, memory)
        start = cell.zero_state(params)
        outputs, _ = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=start, memory="recompute", chunk_size=chunk_size)
        return jnp.sum(outputs**2)

    struct = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    args = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3)), struct(B, 50, 32), struct(B, time, 3)
    return jax.jit(jax.grad(value, (0, 1, 2))).lower(*args).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("chunk_size", [8, None])
@pytest.mark.parametrize("mechanism", [LuongAttention(32, 32), BahdanauAttention(32, 32), BahdanauMonotonicAttention(32, 32)])
def test_no_step_keeps_the_memory_or_its_cotangent(mechanism, chunk_size):
    """32 steps more take less than a quarter of the keys each, some rows of alignments; of whole chunks, a twentieth."""
    cell = AttentionWrapper(jaxrnn.BasicRNNCell(32), mechanism, attention_layer_size=3)
    keys = B * 50 * 32 * 4
    more = (temporary_bytes(cell, 64, chunk_size) - temporary_bytes(cell, 32, chunk_size)) / 32
    assert more < keys / (20 if chunk_size else 4)
