"""The planner: what it predicts is what other programs then need, a budget is kept or refused, a plan is for its problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import memory_plans, plan_memory
from jaxrnn.runners.planner import _plans
from tests.rows import fast_if

Struct = jax.ShapeDtypeStruct
MB = 1_000_000


def shapes(cell, time, batch, inputs, time_major=False):
    shape = (time, batch, inputs) if time_major else (batch, time, inputs)
    return jax.eval_shape(lambda: (cell.init(jax.random.key(0), inputs), jnp.zeros(shape)))


def temporaries(f, *args):
    return jax.jit(f).lower(*args).compile().memory_analysis().temp_size_in_bytes


def function(params, inputs, state):
    """A cell that is a function."""
    h = jnp.tanh(inputs @ params["w"] + state @ params["u"])
    return h, h


LSTM, FULL = jaxrnn.LSTMCell(128), jaxrnn.LSTMCell(256, use_peepholes=True, num_proj=64)
DROPOUT = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(64), 0.5, 0.5, 0.5)
PROBLEMS = [  # a cell; T, B, D; modes; options
    (LSTM, (2000, 16, 32), ["save", "offload", "recompute", "recursive"], {"time_major": True}),
    (jaxrnn.BasicRNNCell(128), (4000, 8, 16), ["recompute"], {"sequence_length": Struct((8,), jnp.int32)}),
    (FULL, (512, 64, 256), ["save", "recompute"], {}),
    (jaxrnn.GRUCell(256, reset_after=False), (512, 32, 256), ["save", "offload"], {}),
    (jaxrnn.MultiRNNCell([LSTM, DROPOUT]), (6000, 1, 8), ["save"], {"key": jax.random.key(0)}),
]


@pytest.mark.parametrize(("cell", "sizes", "modes", "options"), fast_if(lambda case: case in PROBLEMS[:1], PROBLEMS))
def test_what_it_predicts_is_what_is_needed(cell, sizes, modes, options):
    """By another program, a step of gradient descent with another loss: within 15 % or 4 MB."""
    params, x = shapes(cell, *sizes, options.get("time_major", False))
    rest = {name: option for name, option in options.items() if name != "time_major"}
    for plan in _plans(cell, params, x, "outputs", False, options):

        def step(params, x, rest, plan=plan):
            def loss(params):
                return jnp.cos(jaxrnn.dynamic_rnn(cell, params, x, memory=plan, **(options | rest))[0]).mean()

            value, grads = jax.value_and_grad(loss)(params)
            return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

        if plan.mode in modes:
            needed = temporaries(step, params, x, rest)
            assert abs(plan.device_bytes - needed) <= max(0.15 * needed, 4 * MB), plan
        if plan.mode == modes[-1]:
            break


@pytest.mark.slow
def test_a_function_is_planned_for_too():
    params = {"w": Struct((8, 64), jnp.float32), "u": Struct((64, 64), jnp.float32)}
    x, state = Struct((4, 5000, 8), jnp.float32), Struct((4, 64), jnp.float32)
    plan = plan_memory(function, params, x, 5 * MB, loss="state", initial_state=state)
    assert (plan.mode in ("offload", "recompute"), plan.extra_forwards) == (True, 1)
    assert memory_plans(function, params, x, initial_state=state).plans[0].extra_forwards == 1  # "save" keeps the states only


def test_a_loss_of_ones_own_counts():
    """A softmax over a vocabulary needs more than the network."""
    cell = jaxrnn.GRUCell(32)
    params, x = shapes(cell, 1000, 8, 16)
    vocabulary = jax.random.normal(jax.random.key(0), (32, 1000))
    loss = lambda outputs, state: jax.nn.logsumexp(outputs @ vocabulary, axis=-1).sum()
    plan = plan_memory(cell, params, x, 200 * MB, loss=loss)
    assert plan.device_bytes > 1000 * 8 * 1000 * 4
    step = jax.value_and_grad(lambda p, x: loss(*jaxrnn.dynamic_rnn(cell, p, x, memory=plan)))
    assert abs(plan.device_bytes - temporaries(step, params, x)) <= 0.01 * plan.device_bytes


BUDGETS = [70 * MB, 50 * MB, 30 * MB, 10 * MB]


@pytest.mark.parametrize("budget", fast_if(lambda budget: budget in BUDGETS[1:3], BUDGETS))
def test_a_budget_is_kept(budget):
    """Whatever reads the result and is differentiated, when it is given to the runner."""
    cell = jaxrnn.LSTMCell(64)
    params, x = shapes(cell, 4096, 8, 8)
    run = lambda p, x, memory=budget: jaxrnn.dynamic_rnn(cell, p, x, memory=memory)
    step = jax.value_and_grad(lambda p, x: (run(p, x)[0] ** 2).sum(), (0, 1))
    if budget < 20 * MB:  # the outputs and their cotangents are more
        with pytest.raises(ValueError, match=r"budget: expected at least \d+ bytes"):
            jax.eval_shape(step, params, x)
        return
    assert temporaries(step, params, x) <= budget


def test_the_first_that_fits_is_taken():
    cell = jaxrnn.LSTMCell(64)
    params, x = shapes(cell, 16384, 4, 8)
    plans = memory_plans(cell, params, x, loss="state")
    assert [plan.extra_forwards for plan in plans] == sorted(plan.extra_forwards for plan in plans)
    assert len({plan.mode for plan in plans}) == 4
    for plan in plans:
        chosen = plans.within(plan.device_bytes)
        assert chosen == plan_memory(cell, params, x, plan.device_bytes, loss="state")
        assert chosen.device_bytes <= plan.device_bytes
        assert all(p.device_bytes > plan.device_bytes for p in plans.plans[: plans.plans.index(chosen)])
    least = min(plan.device_bytes for plan in plans)
    mode = min(plans, key=lambda plan: plan.device_bytes).mode
    with pytest.raises(
        ValueError, match=rf"budget: expected at least {least} bytes, the least .*memory='{mode}'.*got {least - 1}"
    ):
        plan_memory(cell, params, x, least - 1, loss="state")


def test_the_table():
    cell = jaxrnn.GRUCell(16)
    plans = memory_plans(cell, *shapes(cell, 4096, 2, 4), loss="state")
    heading, names, *rows = str(plans).splitlines()
    assert heading == f"cell {cell}, inputs float32[2, 4096, 4], loss on state"
    assert names.split() == ["memory", "chunk", "levels", "device", "host", "extra", "forward", "passes"]
    assert len(rows) == len(plans)
    assert len({len(row) for row in [names, *rows]}) == 1
    assert rows[0].split() == ["save", "128", "1", f"{plans.plans[0].device_bytes / MB:.1f}", "MB", "-", "0"]
    assert str(plans.plans[0]).splitlines()[1].split() == rows[0].split()


def test_sharded_shapes_count_for_one_device():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("batch"))
    cell = jaxrnn.LSTMCell(32)
    params, x = shapes(cell, 2000, 32, 8)
    one = plan_memory(cell, params, x, 1000 * MB)
    four = plan_memory(cell, params, Struct(x.shape, x.dtype, sharding=split), 1000 * MB)
    assert four.device_bytes < 0.35 * one.device_bytes


def test_a_plan_runs():
    cell = jaxrnn.LSTMCell(8)
    params, inputs = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (2, 300, 3))
    want = jax.grad(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs)[0].sum())(params)
    for plan in memory_plans(cell, params, inputs).plans[::2]:
        got = jax.grad(lambda p, plan=plan: jaxrnn.dynamic_rnn(cell, p, inputs, memory=plan)[0].sum())(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)
    outputs, _ = jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, memory=plan)
    np.testing.assert_allclose(outputs[0], jaxrnn.dynamic_rnn(cell, params, inputs)[0], rtol=1e-5, atol=1e-5)


class Squares:
    """A loss that cannot be hashed."""

    __hash__ = None

    def __call__(self, outputs, state):
        return (outputs**2).sum()


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_length": [3, 4]},
        {"resets": [[True] * 50] * 2, "dtype": "float32"},
        {"initial_state": jaxrnn.LSTMStateTuple(np.zeros((2, 8)), np.zeros((2, 8)))},  # float64 in numpy
    ],
)
def test_a_plan_is_for_the_very_arguments_it_was_made_of(options):
    cell = jaxrnn.LSTMCell(8)
    params, x = cell.init(jax.random.key(0), 3), np.ones((2, 50, 3))
    plan = plan_memory(cell, params, x, 10 * MB, loss=Squares(), **options)
    outputs, _ = jaxrnn.dynamic_rnn(cell, params, x, memory=plan, **options)
    np.testing.assert_array_equal(outputs, jaxrnn.dynamic_rnn(cell, params, x, memory=10 * MB, **options)[0])


def test_outputs_without_a_gradient_and_params_that_are_numbers():
    cell = lambda params, inputs, state: (None, state + params["w"] * inputs.sum(-1, keepdims=True))
    state = jnp.zeros((2, 1))
    assert plan_memory(cell, {"w": 0.5}, Struct((2, 50, 3), jnp.float32), MB, initial_state=state).mode == "save"
    assert jaxrnn.dynamic_rnn(cell, {"w": 0.5}, jnp.ones((2, 50, 3)), memory=MB, initial_state=state)[1].shape == (2, 1)


def test_a_plan_is_for_its_problem():
    cell = jaxrnn.LSTMCell(8)
    params, x = cell.init(jax.random.key(0), 3), jnp.ones((2, 50, 3))
    plan = plan_memory(cell, params, x, 10 * MB)
    run = lambda cell=cell, params=params, x=x, **options: jaxrnn.dynamic_rnn(cell, params, x, memory=plan, **options)
    run(reverse=True)  # costs the same
    for call, text in [
        (lambda: run(x=jnp.ones((2, 51, 3))), r"inputs = float32\[2, 50, 3\], got inputs = float32\[2, 51, 3\]. Make a plan"),
        (lambda: run(x=x.astype(jnp.bfloat16)), r"inputs = float32\[2, 50, 3\], got inputs = bfloat16"),
        (lambda: run(cell=jaxrnn.LSTMCell(8, num_proj=8)), r"cell = LSTMCell\(num_units=8.*got cell = LSTMCell"),
        (lambda: run(time_major=True), r"time_major = False, got time_major = True"),
        (lambda: run(sequence_length=jnp.array([3, 4])), r"sequence_length = None, got sequence_length = int32\[2\]"),
        (lambda: run(chunk_size=5), r"chunk_size: expected None beside a plan, which has chunks of \d+ steps, got 5"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"budget": 0}, ValueError, r"budget: expected at least 1 byte of device memory, got 0"),
        ({"budget": -5}, ValueError, r"at least 1 byte of device memory, got -5"),
        ({"budget": 1e6}, TypeError, r"budget: expected bytes of device memory as an int, got a float: 1000000.0"),
        ({"budget": True}, TypeError, r"as an int, got a bool: True"),
        ({"budget": "1 GB"}, TypeError, r"as an int, got a str: '1 GB'"),
        (
            {"loss": "all"},
            ValueError,
            r"loss: expected 'outputs', 'state' or a function \(outputs, state\) -> scalar, got 'all'",
        ),
        ({"loss": np.ones(3)}, ValueError, r"loss: expected 'outputs', .*, got array"),
        ({"swap": 1}, TypeError, r"swap: expected options among sequence_length, .*, reverse"),
        ({"inputs": jnp.ones((2, 3))}, ValueError, r"expected inputs of a step to be \[B, D\]"),
        ({"sequence_length": Struct((3,), jnp.int32)}, ValueError, r"sequence_length must be a vector \[B\].*int32\[3\]"),
    ],
)
def test_bad_input_is_named(options, error, text):
    cell = jaxrnn.LSTMCell(8)
    params, x = shapes(cell, 50, 2, 3)
    with pytest.raises(error, match=text):
        plan_memory(cell, params, **({"inputs": x, "budget": MB} | options))
