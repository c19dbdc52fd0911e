"""The linear recurrence: every engine, both directions, against a numpy loop, and JAX's derivatives of a plain scan."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxrnn
from jaxrnn import linear
from jaxrnn.engine import recurrence
from jaxrnn.engine.recurrence import Complex, linear_recurrence
from jaxrnn.engine.tuning import current
from jaxrnn.memory.modes import SAVE
from tests.rows import fast_if

K, B, H = 11, 3, 2
RNG = np.random.default_rng(0)
ENGINES = ("sequential", "chunked", "associative")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Of four steps, so that eleven are two full ones and a rest."""
    monkeypatch.setattr(recurrence, "BLOCK", 4)


def draw(*shape):
    """Complex numbers of a size below 1."""
    return (RNG.uniform(-1, 1, shape) + 1j * RNG.uniform(-1, 1, shape)) / 2**0.5


def pair(z):
    return Complex(jnp.asarray(z.real), jnp.asarray(z.imag))


def loop(a, b, start, reverse):
    states, h = np.zeros_like(b), start
    for t in range(len(b))[:: -1 if reverse else 1]:
        h = states[t] = a[min(t, len(a) - 1)] * h + b[t]
    return states


@pytest.mark.parametrize(("engine", "reverse"), list(itertools.product(ENGINES, (False, True))))
def test_values(engine, reverse, x64):
    """Of reals and of pairs together; with a that is the same at all steps; and of one step."""
    start = draw(B, H)
    for a, b in ((draw(K, B, H), draw(K, B, H)), (draw(1, 1, H), draw(K, B, H)), (draw(1, B, H), draw(1, B, H))):
        of_both = lambda z: {"pair": pair(z), "real": jnp.asarray(z.real)}
        got = jax.tree.map(np.asarray, linear_recurrence(*map(of_both, (a, b, start)), reverse=reverse, how=engine))
        np.testing.assert_allclose(got["pair"].re + 1j * got["pair"].im, loop(a, b, start, reverse), rtol=1e-12)
        np.testing.assert_allclose(got["real"], loop(a.real, b.real, start.real, reverse), rtol=1e-12)


def plain(a, b, start, reverse):
    """For JAX to differentiate."""
    a = jax.tree.map(lambda leaf, like: jnp.broadcast_to(leaf, like.shape), a, b)

    def step(h, item):
        (re, im), b = item
        h = Complex(re * h.re - im * h.im + b.re, re * h.im + im * h.re + b.im)
        return h, h

    return lax.scan(step, start, (a, b), reverse=reverse)[1]


@pytest.mark.parametrize(
    ("engine", "reverse"), fast_if(lambda case: case[0] == "chunked" or case[1], itertools.product(ENGINES, (False, True)))
)
def test_derivatives(engine, reverse, x64):
    """Backward, forward, of the second order, and of some arguments alone, under `jax.vmap` too."""
    point = tuple(map(pair, (draw(1 if reverse else K, 1, H), draw(K, B, H), draw(B, H))))
    along = jax.tree.map(jnp.cos, point)

    def derivatives(run):
        value = lambda *args: sum(jnp.sum(jnp.sin(leaf) * leaf) for leaf in jax.tree.leaves(run(*args, reverse)))
        gradient = jax.grad(value, (0, 1, 2))
        of_start = jax.vmap(lambda scale: jax.grad(value, 2)(*point[:2], jax.tree.map(lambda s: scale * s, point[2])))
        return gradient(*point), jax.jvp(gradient, point, along), of_start(jnp.array([0.5, 2.0]))

    got = jax.jit(lambda: derivatives(lambda a, b, s, reverse: linear_recurrence(a, b, s, reverse=reverse, how=engine)))()
    want = jax.jit(lambda: derivatives(plain))()
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), got, want)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_goes_past_a_zero(engine, x64):
    """Not NaN either, forward or backward."""
    a, b, start = RNG.uniform(0.1, 1, (K, B, H)), RNG.standard_normal((K, B, H)), np.full((B, H), np.nan)
    a[5] = 0
    run = lambda a, b: linear_recurrence(a, b, jnp.asarray(start), how=engine)[5:].sum()
    value, (ct_a, ct_b) = jax.jit(jax.value_and_grad(run, (0, 1)))(a, b)
    assert np.isfinite([value, ct_b.sum(), ct_a[5:].sum()]).all()
    assert not ct_b[:5].any()


def test_no_steps():
    assert linear_recurrence(jnp.ones((0, B, H)), jnp.ones((0, B, H)), jnp.ones((B, H))).shape == (0, B, H)


# ---- which engine where


def test_the_engine_of_a_platform():
    for platform, engine in {"cpu": "sequential", "cuda": "chunked", "tpu": "chunked"}.items():
        with jaxrnn.tuned_for(platform):
            assert current().recurrence == engine
            assert current().chunk_size(4096, 16, SAVE, at_once=True) == 256
            with linear.engine("associative"):
                assert current().recurrence == "associative"
                assert current().chunk_size(4096, 16, SAVE, at_once=True) == 4096


@pytest.mark.parametrize("cell", [linear.LRUCell(4), jaxrnn.MultiRNNCell([linear.MinGRUCell(4), linear.SRUCell(4)])])
def test_a_loop_or_none(cell):
    """Steps that are joined are in no loop."""
    params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((2, 512, 3))

    def loops(engine):
        with linear.engine(engine):
            text = str(jax.make_jaxpr(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs)[0])(params))
        return [word for word in ("scan[", "while[") if word in text]

    assert loops("sequential")
    assert loops("chunked") == ["scan["]
    assert loops("associative") == []


@pytest.mark.parametrize("cell", [linear.LRUCell(4), linear.CausalWindow(linear.RGLRUCell(6, 2), 2, 3)])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowered_for_other_platforms(cell, platform):
    params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((2, 512, 3))
    train = jax.jit(jax.grad(lambda p, x, n: jaxrnn.dynamic_rnn(cell, p, x, sequence_length=n)[0].sum()))
    with jaxrnn.tuned_for(platform):
        exported = jax.export.export(train, platforms=[platform])(params, inputs, jnp.array([512, 3]))
    assert exported.platforms == (platform,)


def test_exported_for_any_sizes(x64):
    cell = linear.MinGRUCell(4)
    params = cell.init(jax.random.key(0), 3, jnp.float64)
    train = jax.jit(jax.value_and_grad(lambda p, x: jaxrnn.dynamic_rnn(cell, p, x)[0].sum()))
    batch, time = jax.export.symbolic_shape("b, t")
    for platform in ("cpu", "cuda"):
        with jaxrnn.tuned_for(platform):
            struct = jax.ShapeDtypeStruct((batch, time, 3), jnp.float64)
            exported = jax.export.export(train, platforms=[platform])(params, struct)
        if platform == jax.default_backend():
            inputs = RNG.standard_normal((2, 9, 3))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b), exported.call(params, inputs), train(params, inputs))


# ---- memory


@pytest.mark.parametrize(
    ("memory", "engine", "most"), [("save", None, 2.4), ("recompute", None, 2.1), ("save", "chunked", 3.4)]
)
def test_memory_of_a_gradient(memory, engine, most, one_device, compiled_for_a_cpu):
    """In arrays of T B H: the outputs, which the states are, and their cotangents, but not the coefficients of the loop."""
    time, batch, units = 4096, 4, 64
    cell = linear.MinGRUCell(units)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))
    inputs = jax.ShapeDtypeStruct((batch, time, 8), jnp.float32)

    def loss(params, inputs):
        with linear.engine(engine or "sequential"):
            return jnp.sin(jaxrnn.dynamic_rnn(cell, params, inputs, memory=memory)[0][:, -1]).sum()

    analysis = jax.jit(jax.grad(loss)).lower(params, inputs).compile().memory_analysis()
    assert analysis.temp_size_in_bytes <= most * time * batch * units * 4
