"""A run spread over several devices gives what one device gives: by the compiler, by `jax.shard_map`, on explicit axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn.engine.tuning import current
from tests.rows import D, fast_if

CELL = jaxrnn.LSTMCell(5, use_peepholes=True, num_proj=2)
PARAMS = CELL.init(jax.random.key(0), D)
BATCH, T = 16, 8
INPUTS = jax.random.normal(jax.random.key(1), (BATCH, T, D))
LENGTHS = jnp.repeat(jnp.arange(8), 2)  # each device's rows end elsewhere, so that each skips other chunks
RESETS = jax.random.bernoulli(jax.random.key(2), 0.2, (BATCH, T))
BATCHES = (INPUTS, LENGTHS, RESETS)


def mesh(kind):
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)


def dynamic(params, inputs, lengths, resets, key=None):
    options = {"sequence_length": lengths, "resets": resets, "key": key, "chunk_size": 2, "memory": "recompute"}
    options |= {
        "mask": ~jnp.roll(resets, 2, 1),
        "reset_state": jax.tree.map(jnp.ones_like, CELL.initial_state(inputs.shape[0])),
    }
    outputs, state = jaxrnn.dynamic_rnn(CELL, params, inputs, **options)
    return jnp.sin(outputs).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))


def truncated(params, inputs, lengths, resets):
    stream, total = None, 0.0
    for piece in (slice(0, 4), slice(4, 8)):
        options = {"k1": 2, "k2": 3, "stream": stream, "resets": resets[:, piece]}
        options |= {"mask": ~jnp.roll(resets, 2, 1)[:, piece], "sequence_length": jnp.minimum(lengths, 4)}
        outputs, stream = jaxrnn.truncated_rnn(CELL, params, inputs[:, piece], **options)
        total += jnp.sin(outputs).sum()
    return total


def put(mesh, params, batches):
    return jax.device_put(params, NamedSharding(mesh, P())), *jax.device_put(batches, NamedSharding(mesh, P("data")))


@pytest.mark.parametrize("loss", fast_if(lambda loss: loss is dynamic, [dynamic, truncated]))
def test_one_answer_however_it_is_spread(loss):
    assert jax.device_count() == 8
    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    want = step(PARAMS, *BATCHES)

    auto = mesh(AxisType.Auto)
    close(step(*put(auto, PARAMS, BATCHES)), want)

    summed = lambda *args: jax.lax.psum(loss(*args), "data")
    specs = {"in_specs": (P(), P("data"), P("data"), P("data")), "out_specs": (P(), (P(), P("data")))}
    mapped = jax.jit(jax.shard_map(jax.value_and_grad(summed, (0, 1)), mesh=auto, **specs))
    close(mapped(PARAMS, *BATCHES), want)

    explicit = mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        got = step(*put(explicit, PARAMS, BATCHES))
        assert jax.typeof(got[1][1]).sharding.spec == P("data", None, None)
        close(got, want)


def test_a_loop_that_makes_its_inputs():
    """On automatic axes: the compiler spreads what loop_fn closes over as well."""

    def decode(params, inputs, lengths, resets):
        def loop_fn(time, output, state, loop_state):
            if output is None:
                return time >= lengths, inputs[:, 0], CELL.initial_state(BATCH), None, None
            return time >= lengths, inputs[:, 1] + jnp.sin(output[:, :1]), state, output, None

        emits, state, _ = jaxrnn.raw_rnn(CELL, params, loop_fn, max_steps=T, chunk_size=3)
        return jnp.sin(emits).sum() + (state.c**2).sum()

    step = jax.jit(jax.value_and_grad(decode, (0, 1)))
    close(step(*put(mesh(AxisType.Auto), PARAMS, BATCHES)), step(PARAMS, *BATCHES))


def test_explicit_axes_of_one_device(one_device):
    want = jax.jit(jax.value_and_grad(dynamic, (0, 1)))(PARAMS, *BATCHES)
    explicit = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:1])
    with jax.set_mesh(explicit):
        close(jax.jit(jax.value_and_grad(dynamic, (0, 1)))(*put(explicit, PARAMS, BATCHES)), want)


def test_one_model_a_device():
    """Params differ from device to device while the inputs do not: their cotangent is summed behind the loop."""
    keys = jax.random.split(jax.random.key(0), 8)
    params = jax.vmap(lambda key: CELL.init(key, D))(keys)
    lengths = jnp.arange(8)
    of_one = lambda params, inputs, length: dynamic(params, inputs, jnp.full(BATCH, length), RESETS)

    def on_one(params, inputs, lengths):
        return jax.grad(lambda x: of_one(jax.tree.map(lambda leaf: leaf[0], params), x, lengths[0]))(inputs)

    mapped = jax.shard_map(on_one, mesh=mesh(AxisType.Auto), in_specs=(P("data"), P(), P("data")), out_specs=P())
    every = jax.vmap(jax.grad(of_one, 1), (0, None, 0))
    close(jax.jit(mapped)(params, INPUTS, lengths), jax.jit(every)(params, INPUTS, lengths).sum(0))


def test_a_shard_map_has_whole_arrays():
    """Over all axes; of a part of the axes the others may still split them."""
    seen, spec = [], {"in_specs": P("a"), "out_specs": P("a")}
    note = lambda x: (seen.append(current().sharded), x)[1]
    both = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    for names in ({"a", "b"}, {"a"}):
        jax.jit(jax.shard_map(note, mesh=both, axis_names=names, **spec))(jnp.arange(8.0))
    assert (seen, current().sharded) == ([False, True], True)


@pytest.mark.slow
def test_second_derivatives_in_a_shard_map():
    """Each device's own loss: its gradient's derivative, in both orders."""
    along = jax.tree.map(jnp.cos, INPUTS)

    def twice(params, inputs, lengths, resets, along):
        gradient = lambda x: jax.grad(dynamic, 1)(params, x, lengths, resets)
        forward = jax.jvp(gradient, (inputs,), (along,))[1]
        return forward, jax.grad(lambda x: jnp.vdot(gradient(x), along))(inputs)

    data = P("data")
    mapped = jax.shard_map(twice, mesh=mesh(AxisType.Auto), in_specs=(P(), data, data, data, data), out_specs=data)
    want = jax.jit(twice)(PARAMS, *BATCHES, along)
    close(want[0], want[1])  # the second derivative is symmetric
    close(jax.jit(mapped)(PARAMS, *BATCHES, along), want)
