"""Zoneout: the paper's equations, and the same masks in every runner, in every memory mode and when stepping by hand."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import LSTMStateTuple, ZoneoutWrapper
from jaxrnn.testing import check_cell
from tests import oracle
from tests.rows import LENGTHS, B, D, T, fast_if, plain

H = 5
KEY = jax.random.key(7)
STACK = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(H), jaxrnn.LSTMCell(4)])
# (cell, the inner step in numpy, probabilities as the state, the output of the inner one's and the new state)
CELLS = {
    "lstm": (ZoneoutWrapper(jaxrnn.LSTMCell(H), (0.5, 0.2)), oracle.lstm(H), (0.5, 0.2), lambda output, state: state[1]),
    "c alone": (
        ZoneoutWrapper(jaxrnn.LSTMCell(H), LSTMStateTuple(c=0.4, h=0)), oracle.lstm(H), (0.4, 0), lambda output, state: output,
    ),
    "gru": (ZoneoutWrapper(jaxrnn.GRUCell(H), 0.3), oracle.gru(H, True), 0.3, lambda output, state: state),
    "stack": (
        ZoneoutWrapper(STACK, (0.3, 0.6)), oracle.stack(oracle.gru(H, True), oracle.lstm(4)), (0.3, (0.6, 0.6)),
        lambda output, state: output,
    ),
}  # fmt: skip


def zoneout(inner, probabilities, output_is, masks):
    """The paper's step around another. `masks[t]` are like the state, rows first; None is the expectation."""

    def step(p, x, state, t, row):
        output, new = inner(p, x, state, t, row)
        share = probabilities if masks is None else oracle.tree_map(lambda mask: 1.0 * mask[row], masks[t])
        new = oracle.tree_map(lambda s, old, one: s * old + (1 - s) * one, share, state, new)
        return output_is(output, new), new

    return step


def problem(cell, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: (cell.init(KEY, D), cell.initial_state(B)))
    params, state = jax.tree.map(lambda s: rng.uniform(-0.8, 0.8, s.shape), shapes)
    return params, rng.standard_normal((B, T, D)), state


def in_numpy(name, problem, key, **options):
    cell, inner, probabilities, output_is = CELLS[name]
    params, inputs, state = problem
    drawn = lambda t: jax.tree.map(np.asarray, masks(cell, state, jaxrnn.step_key(key, t)))
    return oracle.rnn(
        zoneout(inner, probabilities, output_is, None if key is None else [plain(drawn(t)) for t in range(T)]),
        params, inputs, plain(state), **options,
    )  # fmt: skip


def masks(cell, state, key):
    """Read off the wrapper, False where none is drawn."""
    none = lambda mask, leaf: np.zeros(leaf.shape, bool) if mask is None else mask
    return jax.tree.map(none, cell.masks(state, key), state, is_leaf=lambda mask: mask is None)


def static(cell, params, inputs, **options):
    outputs, state = jaxrnn.static_rnn(cell, params, list(np.swapaxes(inputs, 0, 1)), **options)
    return jnp.stack(outputs, 1), state


def dynamic(memory):
    return lambda *args, **options: jaxrnn.dynamic_rnn(*args, memory=memory, chunk_size=3, **options)


RUNNERS = {"static": static, **{mode: dynamic(mode) for mode in ("save", "recompute", "offload")}}


def close(got, want):
    for a, b in zip(jax.tree.leaves(got), oracle.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


KEYS = {"none": None, "key": KEY, "raw key": jax.random.PRNGKey(3)}
CASES = list(itertools.product(CELLS, KEYS, (False, True)))
FAST = [("lstm", "key", True), ("stack", "none", False)]


@pytest.mark.parametrize(
    ("name", "key", "reverse"),
    fast_if(lambda case: case in FAST, CASES),
    ids=[f"{name}-{key}-{'reverse' if back else 'forward'}" for name, key, back in CASES],
)
def test_every_runner_equals_numpy(name, key, reverse, x64):
    cell, key, (params, inputs, state) = CELLS[name][0], KEYS[key], problem(CELLS[name][0])
    rng = np.random.default_rng(1)
    flags = {"mask": rng.random((B, T)) < 0.7, "resets": rng.random((B, T)) < 0.3}
    want = in_numpy(name, (params, inputs, state), key, lengths=LENGTHS, reverse=reverse, **flags)
    options = {"initial_state": state, "key": key, "sequence_length": LENGTHS, "reverse": reverse, **flags}
    for run in RUNNERS.values():
        close(run(cell, params, inputs, **options), want)


@pytest.mark.parametrize("name", ["lstm", "stack"])
def test_stepping_by_hand_equals_numpy(name, x64):
    cell, (params, inputs, state) = CELLS[name][0], problem(CELLS[name][0])
    for key in (KEY, None):
        outputs, last = in_numpy(name, (params, inputs, state), key)
        at, step = state, jax.jit(cell)
        for t in range(T):
            output, at = step(params, inputs[:, t], at, key=None if key is None else jaxrnn.step_key(key, t))
            np.testing.assert_allclose(output, outputs[:, t], rtol=1e-10)
        close(at, last)


def test_both_directions(x64):
    lstm, gru = CELLS["lstm"][0], CELLS["gru"][0]
    params_fw, inputs, state_fw = problem(lstm)
    params_bw, _, state_bw = problem(gru, seed=5)
    fold = jax.random.fold_in
    fw, last_fw = in_numpy("lstm", (params_fw, inputs, state_fw), fold(KEY, 0), lengths=LENGTHS)
    bw, last_bw = in_numpy("gru", (params_bw, inputs, state_bw), fold(KEY, 1), lengths=LENGTHS, reverse=True)
    options = {"initial_state_fw": state_fw, "initial_state_bw": state_bw, "sequence_length": LENGTHS, "key": KEY}
    got = jaxrnn.bidirectional_dynamic_rnn(lstm, gru, (params_fw, params_bw), inputs, **options)
    close(got, ((fw, bw), (last_fw, last_bw)))


PLACES = list(itertools.product(("save", "recompute", "offload"), ("one_device", "on_a_gpu", "as_if_large")))


@pytest.mark.parametrize(
    ("memory", "place"), fast_if(lambda case: case[0] == "save" and case[1] != "as_if_large", PLACES), ids=map("-".join, PLACES)
)
def test_gradients_equal_those_of_numpy(memory, place, request, x64):
    """Where gates are kept, and where states are."""
    request.getfixturevalue(place)
    cell, point = CELLS["lstm"][0], problem(CELLS["lstm"][0])
    rng = np.random.default_rng(3)
    wy, direction = rng.standard_normal((B, T, H)), jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), point)
    run = lambda *at: dynamic(memory)(cell, *at[:2], initial_state=at[2], key=KEY, sequence_length=LENGTHS)[0]
    grads = jax.jit(jax.grad(lambda *at: jnp.sum(run(*at) * wy), (0, 1, 2)))(*point)
    by_hand = lambda at: (in_numpy("lstm", (at[0], at[1], LSTMStateTuple(*at[2])), KEY, lengths=LENGTHS)[0] * wy).sum()
    flat = lambda at: (*at[:2], plain(at[2]))
    want = oracle.directional(by_hand, flat(point), flat(direction))
    have = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(have, want, rtol=1e-7)


CHECKED = {"lstm": KEY, "gru": None, "stack": KEY}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKED)
def test_check_cell(name):
    check_cell(CELLS[name][0], input_size=D, key=CHECKED[name])


def test_every_element_is_drawn_anew():
    cell = ZoneoutWrapper(jaxrnn.LSTMCell(64), LSTMStateTuple(c=0.5, h=0.2))
    state = cell.initial_state(32)
    drawn = [cell.masks(state, jaxrnn.step_key(KEY, t)) for t in range(8)]
    for part, probability in (("c", 0.5), ("h", 0.2)):
        kept = np.stack([getattr(each, part) for each in drawn])
        assert abs(kept.mean() - probability) < 0.02
        assert len({row.tobytes() for row in kept.reshape(-1, 64)}) == 8 * 32
    assert abs(np.mean([each.c & each.h for each in drawn]) - 0.5 * 0.2) < 0.02  # not from one draw


@pytest.mark.parametrize("key", [None, KEY], ids=["none", "key"])
def test_the_ends_of_the_range(key):
    params, inputs, state = jax.tree.map(jnp.float32, problem(jaxrnn.GRUCell(H)))
    run = lambda cell: jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, key=key)
    outputs, last = run(ZoneoutWrapper(jaxrnn.GRUCell(H), 1))
    assert (outputs == state[:, None]).all()
    assert (last == state).all()
    outputs, _ = run(ZoneoutWrapper(jaxrnn.GRUCell(H), 0))
    np.testing.assert_allclose(outputs, run(jaxrnn.GRUCell(H))[0], rtol=1e-6)


def test_outputs_that_have_the_state():
    cell = jaxrnn.StateOutputWrapper(CELLS["lstm"][0])
    params, inputs, _ = jax.tree.map(jnp.float32, problem(cell))
    (outputs, states), last = jaxrnn.dynamic_rnn(cell, params, inputs, key=KEY)
    assert (outputs == states.h).all()
    assert (states.c[:, -1] == last.c).all()


@dataclasses.dataclass(frozen=True)
class Counts(jaxrnn.GRUCell):
    """A unit that counts its steps, row by row and in all."""

    def initial_state(self, batch_size, dtype=jnp.float32):
        """(h, the row's count, the run's)."""
        return super().initial_state(batch_size, dtype), jnp.zeros(batch_size, int), jnp.zeros((), dtype)

    def recur(self, params, state):
        """That of h."""
        return super().recur(params, state[0])

    def gates(self, params, z, r, state):
        """Those of h."""
        return super().gates(params, z, r, state[0])

    def combine(self, params, g, state):
        """Counts."""
        h, _ = super().combine(params, g, state[0])
        return h, (h, state[1] + 1, state[2] + 1)


@pytest.mark.parametrize("key", [None, KEY], ids=["none", "key"])
def test_counters_are_left_alone(key):
    cell = ZoneoutWrapper(Counts(H), 0.9)
    params, inputs, _ = jax.tree.map(jnp.float32, problem(jaxrnn.GRUCell(H)))
    _, (_, rows, run) = jaxrnn.dynamic_rnn(cell, params, inputs, key=key)
    assert (rows == T).all()
    assert run == T


def test_masks_are_bytes_and_are_drawn_again(one_device):
    cell = ZoneoutWrapper(jaxrnn.LSTMCell(64), 0.1)
    params, inputs = jax.eval_shape(lambda: cell.init(KEY, 64)), jax.ShapeDtypeStruct((16, 512, 64), jnp.float32)

    def memory(mode, key):
        loss = lambda params, inputs: jnp.sum(jaxrnn.dynamic_rnn(cell, params, inputs, memory=mode, key=key)[0] ** 2)
        return jax.jit(jax.grad(loss)).lower(params, inputs).compile().memory_analysis().temp_size_in_bytes

    masks = 2 * 16 * 512 * 64  # a byte an element of c and of h
    assert memory("save", KEY) - memory("save", None) < 1.1 * masks
    assert memory("recompute", KEY) - memory("recompute", None) < 0.5 * masks


def test_errors():
    lstm = jaxrnn.LSTMCell(H)
    for given, error, text in (
        (
            1.5,
            ValueError,
            r"ZoneoutWrapper: expected state_zoneout_prob to be in \[0, 1\], got 1.5. It is the probability that",
        ),
        ((0.5, -0.1), ValueError, r"expected state_zoneout_prob to be in \[0, 1\], got -0.1"),
        (np.nan, ValueError, r"expected state_zoneout_prob to be in \[0, 1\], got nan"),
        (None, TypeError, r"expected state_zoneout_prob to be a number, or numbers in the state's structure, got a NoneType"),
        ((0.5, None), TypeError, r"expected state_zoneout_prob to be a number, or numbers .*, got a NoneType"),
        ("0.5", TypeError, r"expected state_zoneout_prob to be a number, or numbers .*, got a str"),
        (jnp.float32(0.5), TypeError, r"A cell holds no arrays: build it anew .*replace\(cell, state_zoneout_prob=...\)"),
        (
            (0.5,),
            ValueError,
            r"ZoneoutWrapper: expected state_zoneout_prob to be a number, or to have the structure of the state",
        ),
        ((0.1, 0.2, 0.3), ValueError, r"or to have the structure of the state, PyTreeDef.*LSTMStateTuple"),
    ):
        with pytest.raises(error, match=text):
            ZoneoutWrapper(lstm, given)
    with pytest.raises(TypeError, match=r"ZoneoutWrapper: expected a cell, got a int: 3"):
        ZoneoutWrapper(3, 0.1)


def test_weights_are_the_inner_cells():
    cell = ZoneoutWrapper(jaxrnn.LSTMCell(H), 0.1)
    params = cell.init(KEY, D)
    back = jaxrnn.interop.from_tf1(cell, jaxrnn.interop.to_tf1(cell, params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back, params)
