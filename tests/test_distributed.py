"""Hidden units and layers over devices give what one device gives, with as few collectives as can be."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn.distributed import HiddenUnits, pipelined_rnn, split_evenly, stack_layers, unstack_layers
from tests.collectives import collectives, operations_of_steps
from tests.rows import fast_if, problem

B, T, D = 4, 7, 3
INPUTS = jax.random.normal(jax.random.key(1), (B, T, D))
LENGTHS = jnp.array([7, 0, 3, 5])
RESETS = jax.random.bernoulli(jax.random.key(2), 0.2, (B, T))
MASK = jax.random.bernoulli(jax.random.key(3), 0.7, (B, T))
FLAGS = {"sequence_length": LENGTHS, "resets": RESETS, "mask": MASK}
KEY = jax.random.key(4)


def mesh(kind=AxisType.Auto, **sizes):
    count = int(np.prod(list(sizes.values())))
    kinds = (kind,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=kinds, devices=jax.devices()[:count])


def random(tree):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    return structure.unflatten([0.4 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])


def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)


def weighed(outputs, weights):
    return jnp.vdot(jnp.sin(outputs), jnp.broadcast_to(weights, outputs.shape))


# ---- hidden units

LSTM, PROJECTED = jaxrnn.LSTMCell(6), jaxrnn.LSTMCell(6, use_peepholes=True, num_proj=5, proj_clip=0.5, cell_clip=1.0)
STACK = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(6), jaxrnn.ResidualWrapper(jaxrnn.GRUCell(6))])
CELLS = {
    "lstm": LSTM,
    "basic": jaxrnn.BasicRNNCell(6),
    "gru": jaxrnn.GRUCell(6),
    "gru_before": jaxrnn.GRUCell(6, reset_after=False),
    "projected": PROJECTED,
    "plainly_projected": jaxrnn.LSTMCell(6, num_proj=5),
    "stack": STACK,
    "wrapped": jaxrnn.OutputProjectionWrapper(jaxrnn.InputProjectionWrapper(jaxrnn.LSTMCell(4), 7), 5),
    "coupled": jaxrnn.contrib.CoupledInputForgetGateLSTMCell(6),
    "nas": jaxrnn.contrib.NASCell(6),
    "sru": jaxrnn.contrib.SRUCell(6),
}


def over_units(cell, options, kind=AxisType.Auto):
    """`(loss, its gradients)` with rows over two devices and units over two."""
    units = HiddenUnits(cell, D, devices=2, axis="units")

    def total(value, spec):
        return jax.lax.psum(value, "units") if "units" in spec else jax.lax.pmean(value, "units")

    def loss(params, inputs, flags, weights):
        options_here = {**options, **flags}
        outputs, state = jaxrnn.dynamic_rnn(units.local_cell, units.local(params), inputs, **options_here)
        value = total(weighed(outputs, weights), units.output_specs)
        specs = jax.tree.leaves(units.state_specs)
        value += sum(total((leaf**2).sum(), spec) for leaf, spec in zip(jax.tree.leaves(state), specs, strict=True))
        return jax.lax.psum(value, "data")

    weights = P(*units.output_specs[2:])
    in_specs = units.specs, P("data"), P("data"), weights
    gradient = jax.value_and_grad(loss, (0, 1))
    return units, jax.shard_map(
        gradient, mesh=mesh(kind, units=2, data=2), in_specs=in_specs, out_specs=(P(), (units.specs, P("data")))
    )


def on_one(cell, options):
    def loss(params, inputs, flags, weights):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **options, **flags)
        return weighed(outputs, weights) + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    return jax.value_and_grad(loss, (0, 1))


CASES = [
    (name, memory, flags)
    for name in CELLS
    for memory in ("save", "recompute", "recursive", "offload")
    for flags in (("sequence_length", "resets"), ("mask",), ())
    if name == "lstm" or (memory == "save" and len(flags) == 2) or (name in ("projected", "stack") and flags == ())
]


@pytest.mark.parametrize(
    ("name", "memory", "flags"), fast_if(lambda case: case == ("lstm", "save", ("sequence_length", "resets")), CASES)
)
def test_units_give_what_one_device_gives(name, memory, flags):
    cell, given = CELLS[name], {flag: FLAGS[flag] for flag in flags}
    params = random(cell.init(jax.random.key(0), D))
    weights = jax.random.normal(jax.random.key(6), (cell.output_size,))
    options = {"memory": memory, "chunk_size": 3}
    units, spread = over_units(cell, options)
    value, (ct_params, ct_inputs) = jax.jit(spread)(units.split(params), INPUTS, given, weights)
    want = jax.jit(on_one(cell, options))(params, INPUTS, given, weights)
    close((value, (units.join(ct_params), ct_inputs)), want)


@pytest.mark.slow
def test_units_on_a_mesh_of_explicit_axes():
    params, weights = random(LSTM.init(jax.random.key(0), D)), jnp.linspace(-1.0, 1.0, 6)
    units, spread = over_units(LSTM, {}, AxisType.Explicit)
    explicit = mesh(AxisType.Explicit, units=2, data=2)
    put = lambda tree, specs: jax.tree.map(
        lambda leaf, spec: jax.device_put(leaf, jax.NamedSharding(explicit, spec)), tree, specs
    )
    placed = put(units.split(params), units.specs), put(INPUTS, P("data")), {}, put(weights, P("units"))
    value, (ct_params, ct_inputs) = jax.device_get(jax.jit(spread)(*placed))
    close((value, (units.join(ct_params), ct_inputs)), jax.jit(on_one(LSTM, {}))(params, INPUTS, {}, weights))


@pytest.mark.parametrize("name", CELLS)
def test_split_and_join(name):
    cell = CELLS[name]
    units = HiddenUnits(cell, D, devices=2, axis="units")
    params = random(cell.init(jax.random.key(0), D))
    jax.tree.map(np.testing.assert_array_equal, units.join(units.split(params)), params)
    assert jax.tree.structure(units.specs) == jax.tree.structure(params)


def test_the_layout_of_an_lstm():
    """Each device has its own units of all four gates; of three devices, the second has units 2 and 3."""
    units = HiddenUnits(LSTM, D, devices=3, axis="units")
    params = random(LSTM.init(jax.random.key(0), D))
    split = units.split(params)
    second = [gate * 6 + unit for gate in range(4) for unit in (2, 3)]
    for name in params:
        np.testing.assert_array_equal(split[name][..., 8:16], params[name][..., second])
    assert units.specs == {"kernel": P(None, "units"), "recurrent_kernel": P(None, "units"), "bias": P("units")}
    assert (units.state_specs, units.output_specs) == (jaxrnn.LSTMStateTuple(*[P(None, "units")] * 2), P(None, None, "units"))


@pytest.mark.parametrize(
    ("name", "each_step"),
    fast_if(
        lambda case: case[0] == "lstm",
        [
            ("lstm", [{"all-gather": 1}, {"reduce-scatter": 1}]),
            ("gru", [{"all-gather": 1}, {"reduce-scatter": 1}]),
            ("basic", [{"all-gather": 1}, {"reduce-scatter": 1}]),
            ("projected", [{"all-reduce": 1}, {"all-reduce": 2}]),  # its clip reads the sum again
            ("plainly_projected", [{"all-reduce": 1}, {"all-reduce": 1}]),
        ],
    ),
)
def test_collectives_of_units(name, each_step):
    """Forward one, backward one, in every step."""
    cell = CELLS[name]
    units, spread = over_units(cell, {"chunk_size": T})
    params = units.split(random(cell.init(jax.random.key(0), D)))
    compiled = jax.jit(spread).lower(params, INPUTS, {}, jnp.ones(cell.output_size)).compile()
    assert [dict(count) for count in collectives(compiled)[0]] == each_step


class Own(jaxrnn.RNNCell):
    pass


def units_of(cell, input_size=D, devices=2, axis="units"):
    return lambda: HiddenUnits(cell, input_size, devices, axis)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (units_of(jaxrnn.LSTMCell(5)), ValueError, "multiple of the 2 devices, got 5"),
        (units_of(Own()), TypeError, "frozen dataclass with a field num_units"),
        (units_of(jaxrnn.LSTMCell(4), devices=0), ValueError, "devices"),
        (units_of(jaxrnn.LSTMCell(4), axis=1), TypeError, "name of a mesh axis"),
        (units_of(jaxrnn.contrib.LayerNormBasicLSTMCell(4)), ValueError, "gives other numbers .* normalisation"),
        (units_of(jaxrnn.ResidualWrapper(jaxrnn.GRUCell(4)), 4), ValueError, "a small step of such a part fails"),
        (lambda: units_of(LSTM)().local({}), ValueError, "inside a jax.shard_map over a mesh axis 'units'"),
    ],
)
def test_errors_of_units(call, error, text):
    with pytest.raises(error, match=text):
        call()


def mapped(run, check_vma=True, **sizes):
    spread = jax.shard_map(run, mesh=mesh(**sizes), in_specs=P(), out_specs=P(), check_vma=check_vma)
    return lambda: spread(jnp.zeros(()))


def test_errors_of_the_mesh():
    units = HiddenUnits(LSTM, D, devices=2, axis="units")
    params = units.split(LSTM.init(jax.random.key(0), D))
    call = lambda x: (units.local(params), x)[1]
    with pytest.raises(ValueError, match="expected devices=2 along 'units', got 3"):
        mapped(call, units=3)()
    with pytest.raises(ValueError, match="check_vma=True"):
        mapped(call, check_vma=False, units=2)()


# ---- layers

SQUARE = jax.random.normal(jax.random.key(1), (B, 11, 5))
LONG = {
    "sequence_length": jnp.array([11, 0, 3, 5]),
    "resets": jax.random.bernoulli(jax.random.key(2), 0.2, (B, 11)),
    "mask": jax.random.bernoulli(jax.random.key(3), 0.7, (B, 11)),
}
DROPPED = jaxrnn.DropoutWrapper(jaxrnn.LSTMCell(5), output_keep_prob=0.5, state_keep_prob=0.7, variational_recurrent=True)
STACKS = {
    "gru": ([jaxrnn.GRUCell(5)] * 4, ("sequence_length", "resets"), {}),
    "lstm": ([jaxrnn.LSTMCell(5)] * 4, (), {}),
    "reverse": ([jaxrnn.LSTMCell(5)] * 2, ("sequence_length", "resets", "mask"), {"reverse": True}),
    "whole_chunks": ([jaxrnn.BasicRNNCell(5)] * 2, ("resets",), {"chunk_size": 11}),
    "dropped": ([DROPPED] * 4, ("mask",), {"key": KEY}),
}
PIPELINES = [(name, memory) for name in STACKS for memory in ("save", "recompute", "recursive", "offload")]


def pipeline(name, memory):
    """`(stack, its run's gradient, that over two devices)`; where nothing is drawn rows are split as well."""
    cells, flags, options = STACKS[name]
    options = {"memory": memory, "chunk_size": 3, **options}
    cell, rows = jaxrnn.MultiRNNCell(cells), 1 if "key" in options else 2
    along = {} if "resets" not in flags else {"reset_state": jax.tree.map(lambda leaf: leaf - 0.2, cell.initial_state(B))}
    along["initial_state"] = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_state(B))
    weights = jax.random.normal(jax.random.key(6), (5,))

    def one(params, inputs, states, flags):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **states, **flags, **options)
        return weighed(outputs, weights) + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    def loss(params, inputs, states, flags):
        outputs, state = pipelined_rnn(cell, params, inputs, axis="layers", **states, **flags, **options)
        squares = jax.lax.psum(sum((leaf**2).sum() for leaf in jax.tree.leaves(state)), "layers")
        return jax.lax.psum(weighed(outputs, weights) + squares, "data")

    states = P("layers", "data")
    spread = jax.shard_map(
        jax.value_and_grad(loss, (0, 1, 2)),
        mesh=mesh(layers=2, data=rows),
        in_specs=(P("layers"), P("data"), states, P("data")),
        out_specs=(P(), (P("layers"), P("data"), states)),
    )
    return cell, along, {flag: LONG[flag] for flag in flags}, jax.value_and_grad(one, (0, 1, 2)), spread


@pytest.mark.parametrize(("name", "memory"), fast_if(lambda case: case == ("gru", "recompute"), PIPELINES))
def test_layers_give_what_one_device_gives(name, memory):
    cell, along, flags, one, spread = pipeline(name, memory)
    params = random(cell.init(jax.random.key(0), 5))
    stacked = {key: stack_layers(states) for key, states in along.items()}
    value, (ct_params, ct_inputs, ct_states) = jax.jit(spread)(stack_layers(params), SQUARE, stacked, flags)
    tuples = {key: tuple(unstack_layers(states).values()) for key, states in ct_states.items()}
    close((value, (unstack_layers(ct_params), ct_inputs, tuples)), jax.jit(one)(params, SQUARE, along, flags))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(B, 0, 5), (0, 11, 5), (0, 0, 5)])
def test_layers_with_nothing_to_run(shape):
    params, cell = stack_layers(PAIR.init(jax.random.key(0), 5)), PAIR
    outputs, state = piped(cell, params, jnp.ones(shape))()
    want, want_state = jaxrnn.dynamic_rnn(cell, unstack_layers(params), jnp.ones(shape))
    assert outputs.shape == want.shape
    close(state, stack_layers(want_state))


@pytest.mark.slow
def test_collectives_of_layers():
    """One permute a tick, forward and backward; nothing in the loops over steps."""
    cell, along, flags, _, spread = pipeline("gru", "save")
    stacked = {key: stack_layers(states) for key, states in along.items()}
    params = stack_layers(cell.init(jax.random.key(0), 5))
    steps, chunks, _ = collectives(jax.jit(spread).lower(params, SQUARE, stacked, flags).compile())
    assert steps == []
    assert [dict(count) for count in chunks] == [{"collective-permute": 1}] * 2


def test_stack_layers():
    cell = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 3)
    params = cell.init(jax.random.key(0), 5)
    stacked = stack_layers(params)
    np.testing.assert_array_equal(stacked["kernel"][2], params["cell_2"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(stacked), params)


def piped(cell, params, inputs=SQUARE, **options):
    run = functools.partial(pipelined_rnn, cell, axis="layers", **options)
    return lambda: jax.shard_map(run, mesh=mesh(layers=2), in_specs=(P("layers"), P()), out_specs=(P(), P("layers")))(
        params, inputs
    )


PAIR = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 2)
PAIRED = stack_layers(PAIR.init(jax.random.key(0), 5))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: stack_layers(PAIR.init(jax.random.key(0), 4)), ValueError, r"equal shapes .* got \(4, 15\) of layer 0"),
        (lambda: stack_layers([{"a": jnp.ones(1)}, {}]), ValueError, "equal structure in all layers, got another of layer 1"),
        (lambda: pipelined_rnn(PAIR, PAIRED, SQUARE, axis="layers"), ValueError, "inside a jax.shard_map over a mesh axis"),
        (piped(jaxrnn.GRUCell(5), PAIRED), TypeError, "a MultiRNNCell of equal cells, got GRUCell"),
        (piped(jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5), jaxrnn.LSTMCell(5)]), PAIRED), TypeError, "MultiRNNCell of equal"),
        (piped(jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 3), PAIRED), ValueError, "multiple of the 2 devices, got 3 layers"),
        (
            piped(jaxrnn.MultiRNNCell([jaxrnn.GRUCell(5)] * 4), PAIRED),
            ValueError,
            r"params\['bias'\]: expected 2 of the 4 layers",
        ),
        (piped(PAIR, PAIRED, memory=1000), ValueError, "memory: expected one of"),
        (piped(PAIR, PAIRED, memory="svae"), ValueError, "memory: expected one of"),
        (
            piped(
                jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(5, num_proj=2)] * 2),
                stack_layers([jaxrnn.LSTMCell(5, num_proj=2).init(jax.random.key(0), 5)] * 2),
            ),
            ValueError,
            r"inputs of the size that a layer puts out, \(4, 2\) a step, got \(4, 5\)",
        ),
    ],
)
def test_errors_of_layers(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ---- rows


def over_rows(cell, devices, options):
    """Its run's gradient, with rows over the devices."""
    gradient = lambda *args: jax.value_and_grad(lambda *args: jax.lax.psum(of_rows(cell, options)(*args), "data"), (0, 1))(
        *args
    )
    data = P("data")
    return jax.shard_map(gradient, mesh=mesh(data=devices), in_specs=(P(), data, data), out_specs=(P(), (P(), data)))


def of_rows(cell, options):
    """A sum over the rows."""

    def loss(params, inputs, flags):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **flags, **options)
        return jnp.sin(outputs).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    return loss


def many_rows():
    """Params, inputs and flags of 64 rows."""
    flags = {"sequence_length": jnp.arange(64) % 8, "resets": jnp.tile(RESETS, (16, 1))}
    return LSTM.init(jax.random.key(0), D), jnp.tile(INPUTS, (16, 1, 1)), flags


def operations_on_one(cell):
    """Those of a device that has 16 of the rows."""
    params, *batch = many_rows()
    with jaxrnn.tuned_for(jax.default_backend()):
        run = jax.jit(jax.value_and_grad(of_rows(cell, {}), (0, 1)))
        return operations_of_steps(run.lower(params, *jax.tree.map(lambda leaf: leaf[:16], batch)).compile())


def test_rows_run_as_on_one_device():
    """The same operations in every step. Nothing is exchanged in a loop; the weights' gradient is summed once, behind them."""
    four = jax.jit(over_rows(LSTM, 4, {})).lower(*many_rows()).compile()
    steps, chunks, outside = collectives(four)
    assert (steps, chunks, set(outside)) == ([], [], {"all-reduce"})
    assert operations_of_steps(four) == operations_on_one(LSTM) != []


def test_moments_split_over_devices():
    """The recipe of docs/guides/distributed.md: each device has its part of the moments, and the update is the same."""
    optax = pytest.importorskip("optax")
    data, optimizer, cell = mesh(data=4), optax.sgd(1e-2, momentum=0.9), jaxrnn.LSTMCell(8)
    params = cell.init(jax.random.key(0), D)
    rows, flags = over_rows(cell, 4, {}), {"sequence_length": LENGTHS}

    def update(gradient, params, moments):
        _, (gradient, _) = gradient(params, INPUTS, flags)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    whole, places = jax.NamedSharding(data, P()), split_evenly(jax.eval_shape(optimizer.init, params), data, "data")
    moments = jax.jit(optimizer.init, out_shardings=places)(params)
    split = jax.jit(functools.partial(update, rows), out_shardings=(whole, places))
    one = jax.jit(functools.partial(update, jax.value_and_grad(of_rows(cell, {}), (0, 1))))
    want = params, optimizer.init(params)
    for _ in range(2):
        params, moments = split(params, moments)
        want = one(*want)
    close((params, moments), want)
    on_one = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(moments))
    assert on_one <= 0.26 * sum(leaf.nbytes for leaf in jax.tree.leaves(moments))


# ---- any cell, under `jax.jit` alone

OTHERS = "layer_norm_lstm weight_norm_lstm conv_2d_lstm grid_blocks grid_rnn glstm ntm phased_lstm highway attention_cell"


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS.split())
def test_cells_that_units_do_not_fit(name):
    """Their params are split over two devices, or three, wherever these divide an axis; the compiler sees to the rest."""
    row = next(row for row in contrib_rows() if row.name == name)
    single = lambda leaf: np.asarray(leaf, np.float32) if leaf.dtype == np.float64 else leaf
    params, inputs, state = jax.tree.map(single, problem(row))
    places = split_evenly(params, mesh(units=3 if name == "highway" else 2), "units")
    assert not all(place.is_fully_replicated for place in jax.tree.leaves(places))

    def loss(params, inputs, state):
        outputs, state = jaxrnn.dynamic_rnn(row.cell, params, inputs, initial_state=state, chunk_size=3)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves((outputs, state)))

    gradient = jax.jit(jax.value_and_grad(loss))
    close(gradient(jax.device_put(params, places), inputs, state), gradient(params, inputs, state))


def contrib_rows():
    return importlib.import_module("tests.contrib.families").ROWS


def test_errors_of_placement():
    with pytest.raises(ValueError, match=r"one of the mesh's axes \('units',\), got 'data'"):
        split_evenly({}, mesh(units=2), "data")
    with pytest.raises(TypeError, match="name of a mesh axis"):
        split_evenly({}, mesh(units=2), 0)
