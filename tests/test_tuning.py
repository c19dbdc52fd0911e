"""What is fastest where: the rules, the context that chooses for another platform, and the cells made of other cells."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.facts import StepFacts
from jaxrnn.engine.rewrites import Halves, Rewritten, RowByRow, recur_tangent
from jaxrnn.engine.step import update
from jaxrnn.engine.tuning import Tuning, current, using

NEW_CPU = Tuning("cpu", sharded=False, old_loops=False)


def facts(cell, batch, tuning=NEW_CPU):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    state = jax.eval_shape(lambda: cell.initial_state(batch))
    return StepFacts.of(cell, params, jax.ShapeDtypeStruct((batch, 3), jnp.float32), state, tuning)


@pytest.mark.parametrize(
    ("cell", "batch", "one_by_one"),
    [
        (jaxrnn.BasicRNNCell(64), 4, True),
        (jaxrnn.BasicRNNCell(16), 5, False),  # many rows
        (jaxrnn.GRUCell(64), 4, True),
        (jaxrnn.LSTMCell(64), 4, False),  # much work
        (jaxrnn.LSTMCell(16), 1, False),  # a vector as it is
    ],
    ids=repr,
)
def test_a_few_rows_are_vectors(cell, batch, one_by_one):
    assert isinstance(facts(cell, batch).rewritten(cell), RowByRow) == one_by_one


def test_less_is_done_row_by_row_without_a_derivative():
    for cell, rows in ((jaxrnn.GRUCell(16), 2), (jaxrnn.GRUCell(32), 2)):
        of_batch = facts(cell, rows)
        rewritten = of_batch.rewritten(cell)
        assert isinstance(rewritten, RowByRow)
        assert isinstance(of_batch.of_values(rewritten), RowByRow) == (cell.num_units == 16)


@pytest.mark.parametrize("other", [{"old_loops": True}, {"platform": "gpu"}, {"sharded": True}], ids=str)
def test_not_where_it_gains_nothing(other):
    cell = jaxrnn.GRUCell(16)
    assert type(facts(cell, 4, dataclasses.replace(NEW_CPU, **other)).rewritten(cell)) is Rewritten


def test_one_row_is_one_scan_without_a_derivative():
    """Where its weights are few, and there are no lengths at which a run could end."""
    small = {"gru": jaxrnn.GRUCell(64), "basic": jaxrnn.BasicRNNCell(16)}
    assert all(facts(cell, 1).in_one_scan for cell in small.values())
    assert not facts(jaxrnn.GRUCell(128), 1).in_one_scan and not facts(small["basic"], 2).in_one_scan
    for other in ({"platform": "gpu"}, {"sharded": True}, {"old_loops": True}):
        assert not facts(small["basic"], 1, dataclasses.replace(NEW_CPU, **other)).in_one_scan


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [jaxrnn.LSTMCell(5, num_proj=2), jaxrnn.GRUCell(4)], ids=["lstm", "gru"])
def test_a_row_alone_is_that_of_a_batch(cell, reverse):
    """One scan of whole steps has one product of the inputs a step; a batch has one a chunk."""
    params, inputs = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (9, 20, 3))
    resets = jax.random.bernoulli(jax.random.key(2), 0.2, (9, 20))
    run = jax.jit(lambda x, resets: jaxrnn.dynamic_rnn(cell, params, x, resets=resets, reverse=reverse, chunk_size=4))
    with using(NEW_CPU):
        whole, alone = run(inputs, resets), run(inputs[3:4], resets[3:4])
    row = jax.tree.map(lambda leaf: leaf[3:4], whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), alone, row)


@pytest.mark.parametrize(
    ("cell", "batch", "halves"),
    [
        (jaxrnn.LSTMCell(150), 150, True),
        (jaxrnn.GRUCell(256), 16, True),
        (jaxrnn.LSTMCell(150), 15, False),  # few rows
        (jaxrnn.LSTMCell(150), 151, False),  # an odd number
        (jaxrnn.LSTMCell(100), 50, False),  # few weights
        (jaxrnn.LSTMCell(1024), 16, False),  # more weights than a cache has
        (jaxrnn.LSTMCell(256), 128, False),  # many gates
        (jaxrnn.BasicRNNCell(512), 64, False),  # hardly any work but the product
        (jaxrnn.LSTMCell(150, num_proj=150), 150, False),  # its combination has weights
    ],
    ids=repr,
)
def test_two_halves_of_a_batch(cell, batch, halves):
    assert isinstance(facts(cell, batch).rewritten(cell, halves=True), Halves) == halves
    for other in ({"platform": "gpu"}, {"sharded": True}):
        assert not isinstance(facts(cell, batch, dataclasses.replace(NEW_CPU, **other)).rewritten(cell, halves=True), Halves)
    assert not isinstance(facts(cell, batch).rewritten(cell), Halves)


def test_halves_are_a_cell():
    """With the same numbers: its four functions step by step."""
    cell = jaxrnn.LSTMCell(5)
    params, x = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (4, 3))
    state = jax.tree.map(
        lambda leaf: leaf + jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape) / 10, cell.initial_state(4)
    )
    halves = Halves(cell, 4)
    z, r = halves.project(params, halves.begin(x)), halves.recur(params, halves.begin(state))
    output, new = update(halves, params, z, r, halves.begin(state))
    want = cell(params, x, state)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6), (output, halves.end(new)), want)


def test_the_same_product_and_tangent():
    cell = jaxrnn.LSTMCell(5, num_proj=3)
    params, state = cell.init(jax.random.key(0), 2), cell.initial_state(4)
    state = jax.tree.map(lambda leaf: leaf + jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape) / 10, state)
    kernel = np.asarray(params["recurrent_kernel"], np.float64)
    product = jax.make_jaxpr(RowByRow(cell, 4).recur)(params, state)
    assert [eqn.invars[0].aval.shape[0] for eqn in product.eqns if eqn.primitive.name == "dot_general"] == [1] * 4
    np.testing.assert_allclose(RowByRow(cell, 4).recur(params, state), np.asarray(state.h) @ kernel, rtol=1e-5)
    move = jax.tree.map(jnp.cos, state)
    for transposed in (False, True):
        tangent = recur_tangent(RowByRow(cell, 4), params, transposed)(state, move)
        np.testing.assert_allclose(tangent, np.asarray(move.h) @ kernel, rtol=1e-5, atol=1e-6)


# ---- another platform


def program(platform=None, **options):
    """A training step as it is lowered for a GPU."""
    cell, inputs = jaxrnn.GRUCell(5), jnp.ones((32, 7, 3))
    params = cell.init(jax.random.key(0), 3)
    step = jax.jit(jax.grad(lambda p: jnp.sum(jaxrnn.dynamic_rnn(cell, p, inputs)[0])))
    if platform is None:
        return step.trace(params).lower(lowering_platforms=("cuda",)).as_text()
    with jaxrnn.tuned_for(platform, **options):
        return step.trace(params).lower(lowering_platforms=("cuda",)).as_text()


def test_the_program_of_another_platform():
    """On a machine without a GPU: what one with a GPU lowers."""
    with using(Tuning("gpu", sharded=False, old_loops=current().old_loops)):
        want = program()
    assert program("cuda") == program("gpu") == want
    with using(dataclasses.replace(current(), sharded=False)):
        assert program() != want
    assert program("cuda", sharded=True) != want


def test_outside_and_inside_one_another():
    before = current()
    with jaxrnn.tuned_for("cuda"):
        with jaxrnn.tuned_for("tpu"):
            assert current().platform == "tpu"
        assert current().platform == "gpu"
    assert current() == before


def test_a_compiled_run_is_not_used_for_another_platform():
    cell, inputs = jaxrnn.LSTMCell(5), jnp.ones((2, 7, 3))
    params, ran = cell.init(jax.random.key(0), 3), []

    @dataclasses.dataclass(frozen=True)
    class Counted(jaxrnn.LSTMCell):
        def gates(self, params, z, r, state):
            ran.append(current().platform)
            return super().gates(params, z, r, state)

    run = lambda: jaxrnn.dynamic_rnn(Counted(5), params, inputs)
    run()
    with jaxrnn.tuned_for("cuda"):
        run()
    assert {"cpu", "gpu"} <= set(ran)


def test_bad_input():
    with pytest.raises(ValueError, match=r"platform: expected one of 'cpu', 'tpu', 'gpu', 'cuda', 'rocm', got 'metal'"):
        program("metal")
    with pytest.raises(TypeError, match="sharded"):
        program("cuda", sharded=1)
