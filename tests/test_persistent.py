"""The persistent kernel: interpreted, against the oracle and the fused chunk; and lowered for a GPU that is not there."""

import contextlib
import dataclasses
import functools
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxrnn
from jaxrnn.engine.chunk import chunk_body, fused_chunk
from jaxrnn.engine.first import Extent, at_first, first_step
from jaxrnn.engine.masking import Steps, valid_steps
from jaxrnn.engine.tuning import current, using
from jaxrnn.experimental.kernels.straight import straighten, whole
from jaxrnn.experimental.persistent import fits, persistent_chunk, persistent_kernels
from jaxrnn.memory.modes import RECOMPUTE, SAVE
from tests import oracle
from tests.rows import LENGTHS, ROWS, B, D, T, loss, loss_weights, plain, problem

pytestmark = pytest.mark.slow  # nothing chooses it by itself

NAMES = ["basic", "lstm_full", "lstm_softsign", "gru", "gru_reset_before", "stack"]
CHOSEN = [row for row in ROWS if row.name in NAMES]
RESETS = np.random.default_rng(3).random((B, T)) < 0.3
KERNEL = functools.partial(persistent_chunk, rows=3)  # does not divide B


def run(of_four, cell, params, inputs, state, reverse=False):
    """As a runner does, with lengths and resets."""
    lengths = jnp.asarray(LENGTHS)
    within = jnp.asarray(RESETS & (np.arange(T) < LENGTHS[:, None]))
    first = first_step(at_first(inputs, Extent(lengths, lengths - 1 if reverse else None), 1), state, lengths)
    valid = functools.partial(valid_steps, lengths)
    body = chunk_body(cell, params, None, SAVE, valid, jax.tree.map(jnp.sin, state), first, reverse, of_four)
    time_major = lambda a: jnp.swapaxes(jnp.asarray(a), 0, 1)
    state, outputs = body(state, (jnp.arange(T, dtype=jnp.int32), time_major(inputs), time_major(within), None))
    return time_major(outputs), state


def close(got, want, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, want)


@pytest.mark.parametrize("row", CHOSEN, ids=lambda row: row.name)
def test_values_and_gradients(row, x64):
    point, weights = problem(row), loss_weights(row)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_grad(of_four, *point):
        def value(*point):
            out = run(of_four, row.cell, *point)
            return loss(*out, weights), out

        return jax.value_and_grad(value, (0, 1, 2), has_aux=True)(*point)

    (_, (outputs, state)), grads = value_and_grad(KERNEL, *point)
    params, inputs, start = point
    sines = lambda state: jax.tree.map(np.sin, plain(state))
    want = oracle.rnn(row.step, params, inputs, plain(start), LENGTHS, RESETS, reset_state=sines(start))
    close((outputs, plain(state)), want, 1e-12)
    close(grads, value_and_grad(fused_chunk, *point)[1], 1e-12)

    of_oracle = lambda p: loss(*oracle.rnn(row.step, *p, LENGTHS, RESETS, reset_state=sines(p[2])), weights)
    direction = jax.tree.map(lambda a: np.random.default_rng(5).standard_normal(a.shape), point)
    slope = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
    there, along = ((*p[:2], plain(p[2])) for p in (point, direction))
    np.testing.assert_allclose(slope, oracle.directional(of_oracle, there, along), rtol=1e-6)


def test_one_step_in_float32():
    row = next(row for row in ROWS if row.name == "lstm")
    params, inputs, state = problem(row, time=1)
    single = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.float32))
    xs = single(inputs).swapaxes(0, 1)
    outputs, end = persistent_chunk(row.cell, single(params), xs, single(state), Steps())  # a tile larger than the batch
    assert outputs.dtype == end.c.dtype == jnp.float32
    want = oracle.rnn(row.step, params, inputs, plain(state))
    close((outputs.swapaxes(0, 1), plain(end)), want, 1e-5)


@pytest.mark.parametrize(("time", "batch"), [(0, 4), (3, 0)])
def test_nothing_to_do(time, batch):
    cell = jaxrnn.GRUCell(5)
    params, state = cell.init(jax.random.key(0), D), cell.initial_state(batch)
    outputs, end = persistent_chunk(cell, params, jnp.ones((time, batch, D)), state, Steps())
    assert outputs.shape == (time, batch, 5) and end.shape == (batch, 5)


SCALES = np.linspace(0.5, 1.5, 4)


@dataclasses.dataclass(frozen=True)
class OddCell(jaxrnn.RNNCell):
    """Ids as inputs, trees everywhere, params of every rank and in every function, a constant, calls and a cut block."""

    state_size = property(lambda self: {"a": 4, "b": 4})
    output_size = 4

    def init(self, key, input_size, dtype=jnp.float64):
        shapes = {"table": (7, 4), "u": (4, 8), "scale": (), "cube": (2, 4, 4), "v": (4, 4), "unused": (3,)}
        return {name: jax.random.normal(key, shape, dtype) for name, shape in shapes.items()}

    def check_inputs(self, inputs):
        return 7

    def project(self, params, inputs):
        return {"z": params["table"][inputs]}

    def recur(self, params, state):
        return {"r": state["a"] @ params["u"], "cube": state["b"] @ params["cube"][1]}

    def gates(self, params, z, r, state):
        left, right = jnp.split(jnp.concatenate([r["r"][:, 6:], z["z"], r["r"][:, :2]], 1), [3], 1)
        wide = jnp.concatenate([left, right], 1) * params["scale"]
        return jax.nn.softplus(wide[:, :4]) * jnp.broadcast_to(jnp.asarray(SCALES), (left.shape[0], 4)), wide[:, 4:] + r["cube"]

    def combine(self, params, g, state):
        a = jnp.tanh((g[0] + state["a"]) @ params["v"])
        return a * state["b"], {"a": a, "b": jnp.sin(g[1])}


def odd_problem():
    rng, cell = np.random.default_rng(0), OddCell()
    params = cell.init(jax.random.key(0), 7)
    state = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), cell.initial_state(B, jnp.float64))
    return cell, params, jnp.asarray(rng.integers(0, 7, (T, B))), state


def test_any_cell_in_four_functions(x64):
    cell, params, xs, state = odd_problem()
    drop = jax.tree.map(lambda leaf: jnp.stack([jnp.cos(leaf)] * T), state)
    steps = Steps(drop={**drop, "b": None}).starting(jnp.asarray(RESETS.T), jax.tree.map(jnp.sin, state), None)

    def value(params, state, start, chunk):
        outputs, end = chunk(cell, params, xs, state, dataclasses.replace(steps, start=start))
        return (outputs**2).sum() + sum(leaf.sum() for leaf in jax.tree.leaves(end))

    grad = jax.jit(jax.value_and_grad(value, (0, 1, 2)), static_argnums=3)
    args = params, state, steps.start
    close(grad(*args, KERNEL), grad(*args, fused_chunk), 1e-12)


def test_a_batch_of_runs(x64):
    """`jax.vmap` adds an axis to the grid."""
    cell, params, xs, state = odd_problem()
    value = lambda params, chunk: chunk(cell, params, xs, state, Steps())[0].sum()
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    grads = [jax.vmap(jax.grad(functools.partial(value, chunk=chunk)))(several) for chunk in (KERNEL, fused_chunk)]
    close(*grads, 1e-12)


def test_memory_modes_choose_what_is_kept():
    cell = jaxrnn.GRUCell(4)
    params, xs, state = cell.init(jax.random.key(0), D), jnp.ones((T, B, D)), cell.initial_state(B)

    def keeps_states(mode):
        chunk = jax.checkpoint(lambda params: KERNEL(cell, params, xs, state, Steps()), policy=mode.policy)
        return (T, B, 4) in [leaf.shape for leaf in jax.tree.leaves(jax.vjp(chunk, params)[1])]

    assert keeps_states(SAVE) and not keeps_states(RECOMPUTE)


@pytest.mark.parametrize("memory", ["save", "recompute", "recursive"])
def test_runs_of_a_stack(memory, x64):
    """Through a runner, with a rest of a chunk."""
    cell = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(3), jaxrnn.ResidualWrapper(jaxrnn.GRUCell(3))])
    params, inputs = cell.init(jax.random.key(0), D, jnp.float64), jax.random.normal(jax.random.key(1), (B, T, D))
    options = {"sequence_length": jnp.asarray(LENGTHS), "resets": jnp.asarray(RESETS), "chunk_size": 2, "memory": memory}

    def value(params, inputs):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **options)
        return (outputs**2).sum() + sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(state))

    want = jax.grad(value, (0, 1))(params, inputs)
    with using(dataclasses.replace(current(), of_four=KERNEL)):
        assert "pallas_call" in str(jax.make_jaxpr(jax.grad(value))(params, inputs))
        close(jax.grad(value, (0, 1))(params, inputs), want, 1e-12)


def test_a_step_is_straight():
    """Blocks are neither cut nor glued, and what the weights alone decide is left outside."""

    def step(x):
        ru, n = lax.split(x @ u, (4, 2), axis=1)
        glued = lax.optimization_barrier(jnp.concatenate([jnp.tanh(ru), n], 1))
        return jax.jit(lambda a: a + glued)(glued @ jnp.exp(v)), glued

    u, v, x = jnp.ones((3, 6)), jnp.full((6, 6), 0.1), jnp.arange(6.0).reshape(2, 3)
    line = straighten(step, x)
    assert sorted(w.shape for w in line.weights) == [(2, 6), (3, 2), (3, 4), (4, 6)]
    names = {eqn.primitive.name for eqn in jax.make_jaxpr(line.run)(line.weights, [x]).jaxpr.eqns}
    assert names <= {"dot_general", "add", "tanh", "split"}
    got = [whole(result) for result in line.run(line.weights, [x])]
    close(got, list(step(x)), 1e-6)


# ---- for a GPU, without one


@contextlib.contextmanager
def hopper():
    """An H100 to compile for; jax 0.10 takes one for granted."""
    if jax.__version_info__ < (0, 11):
        yield
        return
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        yield


def arguments(cell, dtype=jnp.float32, batch=100):
    params, state = jax.eval_shape(lambda: (cell.init(jax.random.key(0), D, dtype), cell.initial_state(batch, dtype)))
    return params, jax.ShapeDtypeStruct((T, batch, D), dtype), state


def value(cell, params, xs, state, mask):
    sines = jax.tree.map(jnp.sin, state)
    steps = Steps(mask).starting(~mask, sines, sines)
    outputs, end = persistent_chunk(cell, params, xs, state, steps, interpret=False)
    return outputs.astype(jnp.float32).sum() + sum((leaf.astype(jnp.float32) ** 2).sum() for leaf in jax.tree.leaves(end))


PEEPHOLES = jaxrnn.LSTMCell(64, use_peepholes=True, cell_clip=3.0, num_proj=32, proj_clip=3.0)
GRU_BEFORE = jaxrnn.GRUCell(64, reset_after=False)


@dataclasses.dataclass(frozen=True)
class OwnCell(jaxrnn.RNNCell):
    """What a user could write: it has a kernel without a line for it."""

    state_size = output_size = 32

    def init(self, key, input_size, dtype=jnp.float32):
        shapes = {"w": (input_size, 64), "u": (32, 64), "scale": (), "v": (2, 32, 32)}
        return {name: jax.random.normal(key, shape, dtype) for name, shape in shapes.items()}

    def project(self, params, inputs):
        return inputs @ params["w"]

    def recur(self, params, state):
        return (state @ params["u"]) * params["scale"]

    def gates(self, params, z, r, state):
        return jaxrnn.activate(z + r, jax.nn.sigmoid, jax.nn.silu)

    def combine(self, params, g, state):
        h = g[0] * state + (1 - g[0]) * jnp.sin(g[1] @ params["v"][1])
        return h, h


LOWERED = [
    (OwnCell(), jnp.float32),
    (jaxrnn.BasicRNNCell(64), jnp.float32),
    (jaxrnn.LSTMCell(64), jnp.float32),
    (PEEPHOLES, jnp.bfloat16),
    (jaxrnn.GRUCell(64), jnp.bfloat16),
    (GRU_BEFORE, jnp.float32),
]


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("cell", "dtype"), LOWERED, ids=[f"{type(cell).__name__}-{np.dtype(dtype)}" for cell, dtype in LOWERED]
)
def test_it_lowers_for_a_gpu(cell, dtype):
    params, xs, state = arguments(cell, dtype)
    assert fits(cell, params, xs, state)
    grad = jax.grad(functools.partial(value, cell), (0, 1, 2))
    with hopper():
        traced = jax.jit(grad).trace(params, xs, state, jax.ShapeDtypeStruct(xs.shape[:2], bool))
        lowered = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert len(re.findall(r"custom_call @\S*triton\w*\(", lowered)) == 2


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
def test_where_it_is_chosen():
    """On a GPU, not on a CPU, nor for a cell that does not fit or rows that are split over devices."""

    def kernels(size, platform, **options):
        cell = jaxrnn.GRUCell(size)
        params, xs, _ = arguments(cell)
        value = lambda params, xs: jaxrnn.dynamic_rnn(cell, params, xs, time_major=True)[0].sum()
        with jaxrnn.tuned_for(platform, **options), persistent_kernels(), hopper():
            lowered = jax.jit(jax.grad(value)).trace(params, xs).lower(lowering_platforms=("cuda",))
        return len(re.findall(r"custom_call @\S*triton\w*\(", lowered.as_text()))

    assert kernels(64, "cuda") == 2
    assert kernels(64, "cpu") == kernels(100, "cuda") == kernels(64, "cuda", sharded=True) == 0


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (jaxrnn.LSTMCell(256), "1 MiB of weights"),
        (jaxrnn.GRUCell(100), "no power of two"),
        (jaxrnn.GRUCell(8), "a product that is too small"),
        (jaxrnn.ResidualWrapper(jaxrnn.GRUCell(64)), "not in four functions"),
    ],
    ids=str,
)
def test_what_does_not_fit(cell, why):
    assert not fits(cell, *arguments(cell))


def test_bad_input():
    cell = jaxrnn.GRUCell(5)
    params, xs, state = cell.init(jax.random.key(0), D), jnp.ones((T, B, D)), cell.initial_state(B)
    with pytest.raises(TypeError, match=r"expected a cell in four functions.* got ResidualWrapper"):
        persistent_chunk(jaxrnn.ResidualWrapper(cell), params, xs, state, Steps())
    with pytest.raises(TypeError, match="expected a cell in four functions"):
        persistent_chunk(lambda params, x, state: (x, state), params, xs, state, Steps())
    with pytest.raises(ValueError, match="expected state to have 4 rows"):
        persistent_chunk(cell, params, xs, jnp.float32(0), Steps())


def test_no_experimental_module_is_loaded_by_others():
    for module in ("jaxrnn", "jaxrnn.experimental.persistent"):
        code = f"import sys, {module}; assert not any(m.startswith('jax.experimental.pallas') for m in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)
