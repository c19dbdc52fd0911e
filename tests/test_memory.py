"""What each memory mode keeps: exact bytes from the compiler, and placements in modules lowered for GPU and TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.memory import GATES, default_chunk_size

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
        ({"memory": "save"}, 8.5),
        ({"memory": "save", "time_major": True}, 8.5),
        ({"memory": "recompute"}, 4.5),
        ({"memory": "recompute", "time_major": True}, 3.0),
        ({"memory": "recursive", "time_major": True}, 3.0),
        ({"memory": "offload"}, 8.5),
        ({"memory": POLICIES.save_only_these_names(GATES)}, 8.5),
        ({"memory": POLICIES.nothing_saveable}, 4.5),
    ],
)
def test_bytes_with_a_loss_on_all_outputs(options, most):
    assert floats_of_temporaries(4096, 8, 32, 64, on_all_outputs, **options) <= most + UNFUSED_LOSS


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


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("kind", ["lstm", "stack", "plain function"])
def test_swap_memory_places_states_on_the_host(platform, kind):
    """The lowered module for an accelerator, made without one, moves what is kept to the host and back."""
    cell = jaxrnn.LSTMCell(16)
    if kind == "stack":
        cell = jaxrnn.MultiRNNCell([cell, jaxrnn.GRUCell(16)])
    run_cell = (lambda p, x, s: cell(p, x, s)) if kind == "plain function" else cell
    args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), 8), jnp.zeros((4, 64, 8)), jnp.full(4, 64)))

    def placements(**options):
        def loss(params, x, lengths):
            outputs, _ = jaxrnn.dynamic_rnn(
                run_cell,
                params,
                x,
                sequence_length=lengths,
                initial_state=cell.initial_state(4),
                chunk_size=8,
                **options,
            )
            return (outputs**2).sum()

        exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])(*args)
        return exported.mlir_module().count("annotate_device_placement")

    assert placements(swap_memory=True) >= 2
    assert placements(swap_memory=True) == placements(memory="offload")
    assert placements() == 0


def test_offloaded_states_are_whole_chunks_on_the_host():
    """Naming the wrong value is a silent no-op; the residuals' memory space in the jaxpr shows which was taken."""
    cell = jaxrnn.LSTMCell(16)
    params, inputs = cell.init(jax.random.key(0), 8), jnp.zeros((4, 64, 8))
    grad = jax.grad(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs, swap_memory=True, chunk_size=8)[0].sum())
    jaxpr = str(jax.make_jaxpr(grad)(params))
    assert "f32<host>[8,4,16]" in jaxpr
    assert "f32<host>[8,8,4,16]" in jaxpr
    assert "<host>" not in str(jax.make_jaxpr(jax.grad(lambda p: jaxrnn.dynamic_rnn(cell, p, inputs)[0].sum()))(params))


@pytest.mark.parametrize("reverse", [False, True])
def test_no_mode_changes_a_value_or_a_gradient(reverse):
    """At 150 chunks, of which "recursive" nests three levels, none of them full."""
    cell = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(16), jaxrnn.GRUCell(8)])
    params, inputs = cell.init(jax.random.key(0), 4), jax.random.normal(jax.random.key(1), (3, 601, 4))
    lengths, resets = jnp.array([601, 0, 333]), jax.random.bernoulli(jax.random.key(2), 0.01, (3, 601))

    def run(memory):
        options = {"sequence_length": lengths, "resets": resets, "reverse": reverse, "memory": memory, "chunk_size": 4}
        loss = lambda p, x: (jaxrnn.dynamic_rnn(cell, p, x, **options)[0] ** 2).sum()
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, inputs)

    want = run("save")
    others = ("recursive",) if reverse else ("recompute", "recursive", "offload", POLICIES.dots_saveable)
    for memory in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), run(memory), want)


@pytest.mark.parametrize(("time", "batch", "size"), [(128, 32, 16), (28, 150, 4), (4096, 8, 64), (7, 1, 7), (1009, 8, 64)])
def test_default_chunk_sizes(time, batch, size):
    assert default_chunk_size(time, batch) == size


@pytest.mark.parametrize("time", [1, 2, 97, 1000, 1024])
def test_default_chunk_sizes_stay_in_range(time):
    for batch in (0, 1, 3, 64, 10_000):
        assert 1 <= default_chunk_size(time, batch) <= min(time, 256)
