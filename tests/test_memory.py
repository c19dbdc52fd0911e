"""What each memory mode keeps, in exact bytes from the compiler; that no mode changes a number; very long sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.engine.tuning import current
from jaxrnn.memory import GATES
from jaxrnn.memory.blocks import split
from jaxrnn.memory.modes import SAVE
from tests.rows import fast_if

pytestmark = pytest.mark.usefixtures("one_device")

POLICIES = jax.checkpoint_policies


def floats_of_temporaries(time, batch, inputs, units, loss, **options):
    """Temporary memory of a training step of an LSTM, in multiples of T * B * H floats."""
    cell = jaxrnn.LSTMCell(units)
    shape = (time, batch, inputs) if options.get("time_major") else (batch, time, inputs)
    args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), inputs), jnp.zeros(shape)))
    step = jax.jit(jax.value_and_grad(lambda p, x: loss(*jaxrnn.dynamic_rnn(cell, p, x, **options))))
    compiled = step.lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes / (time * batch * units * 4)


# Older XLA does not fuse the loss itself, outputs**2 and its sum, and takes T * B * H floats for it.
UNFUSED_LOSS = 1.0 if jax.__version_info__ < (0, 10, 2) else 0.0


def on_all_outputs(outputs, state):
    return (outputs**2).sum()


def on_the_last_state(outputs, state):
    return (state.h**2).sum()


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"memory": "save"}, 6.5),
        ({"memory": "save", "time_major": True}, 6.5),
        ({"memory": "recompute"}, 2.5),
        ({"memory": "recompute", "time_major": True}, 2.5),
        ({"memory": "recursive", "time_major": True}, 3.0),
        ({"memory": "offload"}, 8.5),
        ({"memory": POLICIES.save_only_these_names(GATES)}, 8.5),
        ({"memory": POLICIES.nothing_saveable}, 4.5),
    ],
)
def test_bytes_with_a_loss_on_all_outputs(options, most):
    assert floats_of_temporaries(4096, 8, 32, 64, on_all_outputs, **options) <= most + UNFUSED_LOSS


@pytest.mark.parametrize(
    ("memory", "least", "most"),
    [
        ("save", 2.8, 4.0),  # the cell states, beside the outputs, which are the other half of the states
        (POLICIES.save_only_these_names(GATES), 5.5, 8.5),  # what it asks for
    ],
)
def test_bytes_of_what_a_gpu_keeps(memory, least, most, on_a_gpu, compiled_for_a_cpu):
    floats = floats_of_temporaries(4096, 8, 32, 64, on_all_outputs, memory=memory)
    assert least <= floats <= most + UNFUSED_LOSS


@pytest.mark.parametrize(("memory", "most"), [("recompute", 0.4), ("recursive", 0.2)])
def test_bytes_with_a_loss_on_the_last_state(memory, most):
    assert floats_of_temporaries(65536, 4, 8, 64, on_the_last_state, memory=memory) <= most


def test_lengths_and_resets_cost_no_states():
    """Masks are made chunk by chunk; nothing of size T * B * H is added."""
    cell = jaxrnn.LSTMCell(64)
    batch, time, inputs = 8, 4096, 32
    args = jax.eval_shape(
        lambda: (cell.init(jax.random.key(0), inputs), jnp.zeros((batch, time, inputs)), jnp.zeros(batch, jnp.int32),
                 jnp.zeros((batch, time), bool))
    )  # fmt: skip

    def loss(params, x, lengths, resets):
        outputs, _ = jaxrnn.dynamic_rnn(
            cell, params, x, sequence_length=lengths, resets=resets, memory="recompute", chunk_size=64
        )
        return (outputs**2).sum()

    temporaries = jax.jit(jax.grad(loss)).lower(*args).compile().memory_analysis().temp_size_in_bytes
    assert temporaries / (time * batch * 64 * 4) <= 4.5


def test_a_plain_function_gains_the_modes():
    """Its states are kept, not the dozen arrays a step that plain autodiff keeps."""
    cell = jaxrnn.LSTMCell(64)
    args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), 32), jnp.zeros((4096, 8, 32)), cell.initial_state(8)))

    def temporaries(run):
        step = jax.jit(jax.grad(lambda *args: (run(*args)[0] ** 2).sum()))
        return step.lower(*args).compile().memory_analysis().temp_size_in_bytes / (4096 * 8 * 64 * 4)

    def plain_scan(p, x, s):
        state, outputs = jax.lax.scan(lambda s, x: cell(p, x, s)[::-1], s, x)
        return outputs, state

    def with_mode(memory):
        return lambda p, x, s: jaxrnn.dynamic_rnn(
            lambda p, x, s: cell(p, x, s), p, x, initial_state=s, time_major=True, memory=memory
        )

    assert temporaries(plain_scan) > 8
    assert temporaries(with_mode("save")) < 5
    assert temporaries(with_mode("recompute")) < 3


def everything(memory):
    """A stack with dropout forward and a cell backward, with lengths and resets: loss, and gradients of params and inputs."""
    dropped = jaxrnn.DropoutWrapper(jaxrnn.LSTMCell(8), input_keep_prob=0.8, state_keep_prob=0.8, variational_recurrent=True)
    backward = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(4), output_keep_prob=0.6)
    forward = jaxrnn.MultiRNNCell([dropped, backward])
    params = forward.init(jax.random.key(0), 4), backward.init(jax.random.key(1), 4)
    inputs = jax.random.normal(jax.random.key(2), (3, 301, 4))
    lengths, resets = jnp.array([301, 0, 153]), jax.random.bernoulli(jax.random.key(3), 0.02, (3, 301))

    def loss(params, inputs):
        outputs, states = jaxrnn.bidirectional_dynamic_rnn(
            forward, backward, params, inputs, sequence_length=lengths, resets=resets, key=jax.random.key(4), memory=memory,
            chunk_size=2,
        )  # fmt: skip
        return sum((leaf**2).sum() for leaf in jax.tree.leaves((outputs, states)))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, inputs)


@pytest.fixture(scope="module")
def saved():
    return everything("save")


@pytest.mark.parametrize(
    "memory",
    fast_if(lambda memory: memory == "recompute", ["recompute", jaxrnn.memory.recursive(3), "offload"]),
    ids=["recompute", "recursive", "offload"],
)
def test_no_mode_changes_a_value_a_gradient_or_a_mask(memory, saved):
    """At 150 chunks and a rest of one step."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), everything(memory), saved)


@pytest.mark.parametrize("memory", ["recursive", POLICIES.dots_saveable, 600_000], ids=["recursive", "policy", "budget"])
def test_nor_do_other_ways_to_say_it(memory):
    """At 1000 steps, which the default of "recursive" cuts in chunks of 25."""
    cell = jaxrnn.GRUCell(8)
    params, inputs = cell.init(jax.random.key(0), 4), jax.random.normal(jax.random.key(1), (2, 1000, 4))
    grad = lambda **options: jax.jit(jax.grad(lambda p: (jaxrnn.dynamic_rnn(cell, p, inputs, **options)[0] ** 2).sum()))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), grad(memory=memory), grad())


# ---- very long sequences


def million_steps(loss, **options):
    """Temporary bytes of an LSTM(128) trained through 1,048,576 steps of one row, and T itself."""
    time, cell = 2**20, jaxrnn.LSTMCell(128)
    args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), 8), jnp.zeros((1, time, 8))))
    step = jax.jit(jax.value_and_grad(lambda p, x: loss(*jaxrnn.dynamic_rnn(cell, p, x, **options))))
    return step.lower(*args).compile().memory_analysis().temp_size_in_bytes, time


@pytest.mark.parametrize("memory", ["recompute", "recursive"])
def test_a_million_steps_with_a_loss_on_the_last_state(memory):
    """The plain scan would need about 8 GB."""
    needed, time = million_steps(on_the_last_state, memory=memory)
    assert needed <= 1.2 * time * 8 * 4 + 64e6


def test_a_million_steps_with_a_loss_on_all_outputs():
    needed, time = million_steps(on_all_outputs, memory="recompute")
    assert needed <= (2 + UNFUSED_LOSS) * time * 128 * 4 + 64e6


@pytest.mark.parametrize(("time_major", "copies"), [(True, 0), (False, 1)])
def test_three_levels_of_65536_steps(time_major, copies):
    """A state for each of 3 * 16 blocks, and a chunk of 16 steps; batch-major inputs are copied into the other layout."""
    time, batch, inputs, units = 65536, 4, 8, 64
    options = {"memory": jaxrnn.memory.recursive(levels=3), "time_major": time_major}
    assert floats_of_temporaries(time, batch, inputs, units, on_the_last_state, **options) <= 0.03 + copies * inputs / units


def test_the_gradient_is_exact():
    """The very cell and layout of the million steps, against plain autodiff through a shorter sequence."""
    cell = jaxrnn.LSTMCell(128)
    params, x = cell.init(jax.random.key(0), 8), jax.random.normal(jax.random.key(1), (1, 3000, 8))

    def plain(params, x):
        h, c = jnp.zeros((1, 128)), jnp.zeros((1, 128))

        def step(state, x):
            c, h = state
            i, f, g, o = jnp.split(x @ params["kernel"] + h @ params["recurrent_kernel"] + params["bias"][None], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (c, jax.nn.sigmoid(o) * jnp.tanh(c)), None

        return (jax.lax.scan(step, (c, h), jnp.swapaxes(x, 0, 1))[0][1] ** 2).sum()

    want = jax.jit(jax.grad(plain))(params, x)
    for memory in ("recompute", "recursive"):
        run = lambda p, x, memory=memory: on_the_last_state(*jaxrnn.dynamic_rnn(cell, p, x, memory=memory))
        got = jax.jit(jax.grad(run))(params, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


@pytest.mark.parametrize("memory", jaxrnn.memory.MODES)
def test_the_program_does_not_grow_with_the_sequence(memory):
    cell = jaxrnn.LSTMCell(8)

    def size(time):
        args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), 4), jnp.zeros((2, time, 4))))
        step = jax.grad(lambda p, x: on_all_outputs(*jaxrnn.dynamic_rnn(cell, p, x, memory=memory)))
        return len(jax.jit(step).lower(*args).as_text())

    # "recursive" has two levels at 1024 steps, three at 2**20, and half a program a level.
    assert size(2**20) <= (2.0 if memory == "recursive" else 1.05) * size(2**10)


@pytest.mark.parametrize(("time", "levels", "chunk_size"), [(256, 1, 16), (216, 2, 6), (16, 3, 2), (1009, 2, 10), (97, 3, 3)])
def test_every_level_runs_the_steps_once_more(time, levels, chunk_size):
    ran = []

    def cell(params, inputs, state):
        jax.debug.callback(lambda _: ran.append(1), state)
        state = jnp.tanh(params * state + inputs)
        return state, state

    inputs, memory = jnp.ones((1, time, 1)), jaxrnn.memory.recursive(levels)
    run = lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, initial_state=jnp.zeros((1, 1)), memory=memory, chunk_size=chunk_size)
    jax.block_until_ready(jax.grad(lambda p: run(p)[1].sum())(0.5))
    jax.effects_barrier()
    assert 2 * time <= len(ran) <= (1 + levels) * time


# ---- how a sequence is cut


@pytest.mark.parametrize(("time", "batch", "size"), [(128, 32, 16), (28, 150, 4), (4096, 8, 64), (7, 1, 7), (1009, 8, 64)])
def test_default_chunk_sizes(time, batch, size, on_a_cpu):
    assert current().chunk_size(time, batch, SAVE) == size


@pytest.mark.parametrize("time", [0, 1, 2, 97, 1000, 1024])
def test_default_chunk_sizes_stay_in_range(time):
    for batch in (0, 1, 3, 64, 10_000):
        for mode in (SAVE, jaxrnn.memory.recursive(), jaxrnn.memory.recursive(5)):
            assert 1 <= current().chunk_size(time, batch, mode) <= max(1, min(time, 256))


def test_blocks_are_about_equal_and_little_is_left_over():
    for count in [*range(300), 1009, 8192, 10_007, 65_536, 99_991]:
        for levels in (1, 2, 3, 4):
            sizes = split(count, levels)
            left_over = count - np.prod(sizes)
            assert len(sizes) == levels
            assert 0 <= left_over <= count / (100 if count > 300 else 4)
            # Equal blocks would be levels * count ** (1 / levels) states.
            assert sum(sizes) + left_over <= (1.3 if count > 300 else 2.1) * levels * count ** (1 / levels) + levels
