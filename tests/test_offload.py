"""States, inputs and outputs in the host's memory: shown in programs made for GPU and TPU without one, and by their numbers."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.memory.modes import OFFLOAD, RECOMPUTE, SAVE
from jaxrnn.runners import offload_check
from tests.rows import fast_if

LSTM = jaxrnn.LSTMCell(16)
STACK = jaxrnn.MultiRNNCell([LSTM, jaxrnn.GRUCell(16)])
HOST = jax.sharding.SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")


def function(params, inputs, state):
    """A cell that is a function."""
    return LSTM(params, inputs, state)


def moves(jaxpr, depth=0):
    """For every transfer between memories: how many loops it is in, its target, its shape."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "device_put":
            for var in eqn.outvars:
                yield depth, str(var.aval.memory_space).rpartition(".")[2], var.aval.shape
        for inner in inner_jaxprs(eqn):
            yield from moves(inner, depth + (eqn.primitive.name in ("scan", "while")))


def inner_jaxprs(eqn):
    for value in eqn.params.values():
        for part in value if isinstance(value, (tuple, list)) else [value]:
            if hasattr(part, "jaxpr"):
                yield part.jaxpr
            elif hasattr(part, "eqns"):
                yield part


# ---- states


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("cell", [LSTM, STACK, function], ids=["lstm", "stack", "function"])
def test_swap_memory_places_states_on_the_host(platform, cell):
    """The lowered module for an accelerator, made without one, moves what is kept to the host and back."""
    own = LSTM if cell is function else cell
    args = jax.eval_shape(lambda: (own.init(jax.random.key(0), 8), jnp.zeros((4, 64, 8)), jnp.full(4, 64)))

    def placements(**options):
        def loss(params, x, lengths):
            state = own.initial_state(4)
            options_ = {"sequence_length": lengths, "initial_state": state, "chunk_size": 8, **options}
            return (jaxrnn.dynamic_rnn(cell, params, x, **options_)[0] ** 2).sum()

        exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])(*args)
        return exported.mlir_module().count("annotate_device_placement")

    assert placements(swap_memory=True) >= 2
    assert placements(swap_memory=True) == placements(memory="offload")
    assert placements() == 0


@pytest.mark.parametrize(
    ("cell", "kept"), [(LSTM, {(8, 4, 16)}), (STACK, {(8, 4, 16)}), (function, {(4, 16)})], ids=["lstm", "stack", "function"]
)
def test_whole_chunks_go_to_the_host(cell, kept):
    """Naming the wrong value would be a silent no-op, and step by step many small transfers would wait in the inner loop."""
    own = LSTM if cell is function else cell
    params, inputs, state = own.init(jax.random.key(0), 8), jnp.zeros((4, 64, 8)), own.initial_state(4)

    def grad(**options):
        run = lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, initial_state=state, chunk_size=8, **options)
        return jax.make_jaxpr(jax.grad(lambda p: run(p)[0].sum()))(params).jaxpr

    seen = set(moves(grad(swap_memory=True)))
    assert {depth for depth, _, _ in seen} == {1}
    assert {target for _, target, _ in seen} == {"Host", "Device"}
    assert {shape for _, _, shape in seen} == kept
    assert not set(moves(grad()))


# ---- offload proves itself


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if the default backend were a GPU."""
    monkeypatch.setattr(offload_check, "_platform", lambda: "gpu")
    offload_check._failure.cache_clear()
    yield monkeypatch
    offload_check._failure.cache_clear()


def right(mode):
    return {"w": np.array([1.0, 2.0])}, 1000 * (mode is OFFLOAD)


def test_a_cpu_needs_no_check():
    assert offload_check.offload_fails() is None
    assert offload_check.proven(OFFLOAD) is OFFLOAD


def test_a_gpu_that_offloads_is_trusted_after_one_trial(on_a_gpu):
    trials = []
    on_a_gpu.setattr(offload_check, "_gradients", lambda mode: trials.append(mode) or right(mode))
    for _ in range(3):
        assert offload_check.proven(OFFLOAD) is OFFLOAD
    assert trials == [SAVE, OFFLOAD]
    assert offload_check.proven(RECOMPUTE) is RECOMPUTE


@pytest.mark.parametrize("wrong", [0.1, np.nan])
def test_wrong_gradients_fall_back(on_a_gpu, wrong):
    on_a_gpu.setattr(offload_check, "_gradients", lambda mode: ({"w": np.array([1.0, 2.0 + wrong * (mode is OFFLOAD)])}, 1000))
    with pytest.warns(
        UserWarning, match=r"memory='offload' is run as memory='recompute': with jax .* on this gpu the gradient"
    ):
        assert offload_check.proven(OFFLOAD) is RECOMPUTE


def test_a_trial_that_fails_falls_back_and_the_warning_names_the_callers_line(on_a_gpu):
    def fails(mode):
        if mode is OFFLOAD:
            raise NotImplementedError("no such memory")
        return right(mode)

    on_a_gpu.setattr(offload_check, "_gradients", fails)
    cell = jaxrnn.GRUCell(3)
    params, inputs = cell.init(jax.random.key(0), 2), jnp.ones((2, 8, 2))
    for run in (
        lambda: jaxrnn.dynamic_rnn(cell, params, inputs, swap_memory=True),
        lambda: jaxrnn.truncated_rnn(cell, params, inputs, k1=4, memory="offload"),
        lambda: jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, swap_memory=True),
    ):
        with pytest.warns(UserWarning, match="a small problem fails with NotImplementedError: no such memory") as warned:
            run()
        assert {warning.filename for warning in warned} == {__file__}


def test_no_host_memory_falls_back(on_a_gpu):
    """The trial as it is: on a CPU its gradients agree and nothing is moved."""
    cell = jaxrnn.GRUCell(3)
    params, inputs = cell.init(jax.random.key(0), 2), jnp.ones((2, 100, 2))
    run = jax.jit(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, swap_memory=True, chunk_size=4)[0].sum())
    with pytest.warns(UserWarning, match="on this gpu the compiled program of a small problem uses no host memory"):
        offloaded = jax.make_jaxpr(jax.grad(run))(params)  # the trial runs in the middle of this trace
    assert not set(moves(offloaded.jaxpr))
    with warnings.catch_warnings():  # a mode that was not asked for is left out without a word
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
        assert {plan.mode for plan in jaxrnn.memory_plans(cell, params, inputs)} == {"save", "recompute", "recursive"}


# ---- inputs and outputs on the host


def streaming_loss(cell, run_options):
    """The loss of outputs that live on the host, read a block at a time."""

    def loss(params, inputs, targets):
        outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, time_major=True, **run_options)

        def add(total, block):
            outputs, targets = jaxrnn.memory.to_device(block)
            return total + ((outputs - targets) ** 2).sum(), None

        blocks = jax.tree.map(lambda a: a.reshape(8, -1, *a.shape[1:]), (outputs, targets))
        return jax.lax.scan(add, (state.h**2).sum(), blocks)[0]

    return loss


def streamed_problem(time=64):
    keys = jax.random.split(jax.random.key(0), 3)
    params = LSTM.init(keys[0], 8)
    return params, jax.random.normal(keys[1], (time, 4, 8)), jax.random.normal(keys[2], (time, 4, 16))


STEPS = jnp.arange(64 * 4).reshape(64, 4)
OPTIONS = [
    {"memory": "save", "chunk_size": 16},
    {"memory": "recompute", "chunk_size": 4},
    {"memory": "recursive", "chunk_size": 2},
    {"memory": "offload", "chunk_size": 8},
    {"memory": "recompute", "chunk_size": 8, "reverse": True, "sequence_length": jnp.array([64, 0, 31, 7])},
    {"memory": "recompute", "chunk_size": 8, "mask": STEPS % 5 != 0, "resets": STEPS % 7 == 0},
]


@pytest.mark.parametrize("options", fast_if(lambda options: options is OPTIONS[0], OPTIONS), ids=lambda o: o["memory"])
def test_streamed_values_and_gradients(options):
    params, inputs, targets = streamed_problem()
    step = jax.jit(jax.value_and_grad(streaming_loss(LSTM, options), (0, 1)))
    got = step(params, *jax.device_put((inputs, targets), HOST))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, step(params, inputs, targets))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: o["memory"])
def test_only_blocks_are_on_the_device(options):
    """Between host and device go blocks of one loop; nothing else is done with what lies on the host."""
    params, inputs, targets = streamed_problem()
    host = jax.device_put((inputs, targets), HOST)
    step = jax.grad(streaming_loss(LSTM, options), (0, 1))
    jaxpr = jax.make_jaxpr(step)(params, *host).jaxpr
    assert {depth for depth, _, _ in moves(jaxpr)} == {1}
    assert max(np.prod(shape) for _, _, shape in moves(jaxpr)) <= max(inputs.size, targets.size) / 2
    assert touched(jaxpr) <= {
        "scan",
        "reshape",
        "device_put",
        "broadcast_in_dim",
        "remat2",
        "checkpoint",
        "jit",
        "pjit",
        "cond",
    }
    lowered = jax.jit(step).trace(params, *host).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("annotate_device_placement") >= 4


def touched(jaxpr):
    """The primitives that read or make arrays on the host."""
    names = set()
    for eqn in jaxpr.eqns:
        variables = [v for v in (*eqn.invars, *eqn.outvars) if hasattr(v, "aval")]
        if any("Host" in str(getattr(v.aval, "memory_space", "")) for v in variables):
            names.add(eqn.primitive.name)
        for inner in inner_jaxprs(eqn):
            names |= touched(inner)
    return names


def test_outputs_live_where_the_inputs_live():
    params, inputs, _ = streamed_problem()
    run = jax.jit(lambda p, x: jaxrnn.dynamic_rnn(LSTM, p, x, time_major=True))
    outputs, state = run(params, jax.device_put(inputs, HOST))
    assert jaxrnn.memory.on_host(outputs)
    assert not jaxrnn.memory.on_host(state)
    assert not jaxrnn.memory.on_host(run(params, inputs))


def test_inputs_on_the_host_have_a_layout():
    params, inputs, _ = streamed_problem()
    run = lambda x, **options: jaxrnn.dynamic_rnn(LSTM, params, jax.device_put(x, HOST), **options)
    with pytest.raises(ValueError, match=r"expected time_major=True for inputs in the host's memory, got time_major=False"):
        run(inputs)
    with pytest.raises(
        ValueError, match=r"T in the host's memory to be a multiple of the block of 5 steps .*, got T = 64. Give a chunk_size"
    ):
        run(inputs, time_major=True, chunk_size=5)
    with pytest.raises(ValueError, match=r"a multiple of the block of 10 steps .* \(5 \* 2, .*, got T = 62"):
        run(inputs[:62], time_major=True, memory=jaxrnn.memory.recursive(2), chunk_size=2)


@pytest.mark.slow
def test_streams_are_planned_for():
    params, inputs, _ = streamed_problem(4096)
    placed = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype, sharding=HOST)
    plans = [jaxrnn.memory_plans(LSTM, params, x, time_major=True) for x in (placed, jax.device_put(inputs, HOST))]
    assert plans[0] == plans[1]
    run = jax.jit(lambda p, x: jaxrnn.dynamic_rnn(LSTM, p, x, time_major=True, memory=plans[0].plans[-1])[0])
    assert jaxrnn.memory.on_host(run(params, jax.device_put(inputs, HOST)))
