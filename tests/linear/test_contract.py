"""Every linear cell, by every engine, against a float64 numpy loop: values, and gradients by finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import linear
from tests import oracle
from tests.contrib.test_contract import MASK, RESETS, RUNNERS, WITH, again, along, spoilt
from tests.linear.cells import ROWS
from tests.rows import LENGTHS, D, T, fast_if, loss, loss_weights, plain, problem

pytestmark = pytest.mark.usefixtures("one_device")

ENGINES = ("sequential", "chunked", "associative")
WITH = {**WITH, "resets": {"resets": RESETS}}
# Runner, memory, what is given, reverse. Chunks have three steps, which do not divide T.
WAYS = [("save", "all", False), ("recompute", "lengths", True), ("save", "resets", True), ("save", "nothing", False)]
CASES = [*itertools.product(ROWS, ENGINES, WAYS), *((row, "sequential", ("static", "all", False)) for row in ROWS)]
WHOLE = ("lru", "window", "stack")


def is_fast(row, engine, way):
    """Those whose states or coefficients are of a kind of their own; test_goldens.py has all classes."""
    if way == WAYS[0]:
        return engine == "chunked" and row.name in ("min_lstm", "rg_lru", *WHOLE[:2])
    return (row.name, engine, way) == ("lru", "associative", WAYS[2])


@pytest.mark.parametrize(
    ("row", "engine", "way"),
    fast_if(lambda case: is_fast(*case), CASES),
    ids=[f"{row.name}-{engine}-{'-'.join(map(str, way))}" for row, engine, way in CASES],
)
def test_engine_equals_numpy(row, engine, way, x64):
    runner, given, reverse = way
    point, weights = problem(row), loss_weights(row)
    options = WITH[given]
    flat = oracle.tree_map(np.asarray, (point[0], point[1], plain(point[2])))

    def by_hand(point):
        kwargs = {"lengths": options.get("sequence_length"), "resets": options.get("resets"), "mask": options.get("mask")}
        params, inputs, state = point
        return oracle.rnn(row.step, params, inputs, state, reverse=reverse, reset_state=again(state), **kwargs)

    def run(params, inputs, state):
        given = {name: jnp.asarray(value) for name, value in options.items()}
        if "resets" in given:
            given["reset_state"] = again(state)
        with linear.engine(engine):
            result = RUNNERS[runner](row.cell, params, inputs, initial_state=state, reverse=reverse, **given)
        return loss(*result, weights), result

    if "mask" in options:
        point = point[0], spoilt(point[1]), point[2]
    (_, got), grads = jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))(*point)
    for leaf, want in zip(jax.tree.leaves(got), oracle.leaves(by_hand(flat)), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)
    for k, tree in enumerate(grads):
        for i, grad in enumerate(jax.tree.leaves(tree)):
            direction = along(flat, k, i)
            want = oracle.directional(lambda p: loss(*by_hand(p), weights), flat, direction)
            have = np.vdot(grad, oracle.leaves(direction[k])[i])
            np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8, err_msg=f"argument {k}, leaf {i}")


@pytest.mark.parametrize("row", fast_if(lambda row: row.name in WHOLE[:2], ROWS), ids=lambda row: row.name)
def test_stepping_by_hand_equals_numpy(row, x64):
    params, inputs, state = problem(row)
    outputs, last = oracle.rnn(row.step, params, inputs, plain(state))
    step = jax.jit(row.cell)
    for t in range(T):
        output, state = step(params, inputs[:, t], state)
        np.testing.assert_allclose(output, outputs[:, t], rtol=1e-10, atol=1e-10)
    for leaf, want in zip(jax.tree.leaves(state), oracle.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", fast_if(lambda row: row.name in ("lru", "window"), ROWS[:-1]), ids=lambda row: row.name)
def test_nan_before_a_reset_goes_no_further(row, engine, x64):
    """At step 4 every row starts again; before it, the inputs and the state that is carried are not finite."""
    params, inputs, state = problem(row)
    resets = np.arange(T) == 4
    broken = np.where(resets.cumsum().astype(bool)[None, :, None], inputs, [np.nan, np.inf, *[0.0] * (inputs.shape[2] - 2)])
    lost = jax.tree.map(lambda leaf: leaf + np.inf, state)

    @jax.jit
    def run(inputs, state):
        options = {"initial_state": state, "resets": jnp.broadcast_to(jnp.asarray(resets), inputs.shape[:2]), "chunk_size": 3}
        with linear.engine(engine):
            outputs, last = jaxrnn.dynamic_rnn(row.cell, params, inputs, **options)
        return outputs[:, 4:], last

    jax.tree.map(np.testing.assert_array_equal, run(broken, lost), run(inputs, state))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(broken, lost)))


DROPPED = [
    jaxrnn.DropoutWrapper(linear.MinGRUCell(5), 0.7, 0.7, 0.7),
    jaxrnn.DropoutWrapper(linear.LRUCell(4), 0.7, 0.7, 0.7),  # whose two parts are dropped apart
    jaxrnn.ZoneoutWrapper(linear.MinGRUCell(5), 0.3),
]


@pytest.mark.parametrize("cell", fast_if(lambda cell: cell is DROPPED[0], DROPPED), ids=lambda cell: type(cell.cell).__name__)
def test_what_is_dropped_is_the_same_for_every_engine(cell, x64):
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs = np.random.default_rng(0).standard_normal((4, T, D))
    options = {"sequence_length": LENGTHS, "key": jax.random.key(1), "resets": RESETS, "mask": MASK}

    def run(engine):
        def value(params):
            with linear.engine(engine):
                outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, chunk_size=3, **options)
            return jnp.sin(outputs).sum() + sum(jnp.cos(leaf).sum() for leaf in jax.tree.leaves(state))

        return jax.jit(jax.value_and_grad(value))(params)

    want = run("sequential")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), run("chunked"), want)


LONG = {
    "min_gru": linear.MinGRUCell(4),
    "min_lstm": linear.MinLSTMCell(4),
    "lru": linear.LRUCell(4, r_min=0.9, r_max=0.999),
    "rg_lru": linear.RGLRUCell(4),
    "qrnn": linear.CausalWindow(linear.QRNNCell(4), 2, 4),
}


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("name", fast_if(lambda name: name == "lru", LONG))
def test_float32_over_100_000_steps(name, engine, x64):
    cell = LONG[name]
    params = cell.init(jax.random.key(0), 4, jnp.float64)
    inputs = np.random.default_rng(0).standard_normal((1, 100_000, 4))

    @jax.jit
    def run(params, inputs):
        with linear.engine(engine):
            return jaxrnn.dynamic_rnn(cell, params, inputs)[0]

    single = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    want, got = run(params, inputs), run(single(params), single(inputs))
    assert got.dtype == jnp.float32
    want = np.asarray(want)
    assert np.abs(np.asarray(got) - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("row", fast_if(lambda row: row.name in ("lru", "window"), ROWS), ids=lambda row: row.name)
def test_nothing_to_run_and_bfloat16(row):
    params = row.cell.init(jax.random.key(0), row.input_size)
    half = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), tree)
    inputs = row.inputs(np.random.default_rng(0)).astype(np.float32)
    with linear.engine("chunked"):
        for batch, time in ((2, 0), (0, 3)):
            flags = {"sequence_length": jnp.zeros(batch, jnp.int32), "resets": jnp.zeros((batch, time), bool)}
            outputs, _ = jaxrnn.dynamic_rnn(row.cell, params, inputs[:batch, :time], **flags)
            assert outputs.shape[:2] == (batch, time)
        outputs, state = jaxrnn.dynamic_rnn(row.cell, half(params), half(inputs), sequence_length=LENGTHS)
        want, _ = jaxrnn.dynamic_rnn(row.cell, params, inputs, sequence_length=LENGTHS)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(outputs.astype(jnp.float32), want, rtol=0.1, atol=0.1)


WALKS = [(row, engine) for row in ROWS[:-1] for engine in ENGINES[:2] if engine == "sequential" or row.name in ("lru", "sru")]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "engine"), WALKS, ids=lambda part: getattr(part, "name", part))
def test_check_cell(row, engine):
    params, inputs, state = problem(row)
    with linear.engine(engine):
        jaxrnn.testing.check_cell(row.cell, params=params, inputs=inputs, initial_state=state)
