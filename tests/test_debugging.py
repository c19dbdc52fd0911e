"""JAX's own debugging modes go through every runner and memory mode: NaNs, no jit, leaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests.rows import fast_if

B, T, D = 3, 4, 2
LENGTHS = np.array([4, 0, 2], np.int32)
KEY = jax.random.key(0)
VALID = np.arange(T)[:, None] < LENGTHS[:, None, None]
CLEAN = np.random.default_rng(0).uniform(1, 2, (B, T, D)).astype(np.float32)
INPUTS = jnp.where(VALID, CLEAN, jnp.nan)
STEPS = list(jnp.moveaxis(INPUTS, 1, 0))
RESETS = np.random.default_rng(1).random((B, T)) < 0.3


class OneOver(jaxrnn.GRUCell):
    """A cell that is not finite where an input is zero."""

    def project(self, params, inputs):
        """Of 1 / x."""
        return super().project(params, 1 / inputs)


CELL = jaxrnn.MultiRNNCell(
    [
        jaxrnn.DropoutWrapper(OneOver(4), input_keep_prob=0.9, state_keep_prob=0.8),
        jaxrnn.OutputProjectionWrapper(jaxrnn.LSTMCell(3), 2, activation=jnp.reciprocal),
    ]
)
PARAMS = CELL.init(KEY, D)


def plain(params, inputs, state):
    """A function that is not finite where an input is zero."""
    h = jnp.tanh((1 / inputs) @ params["w"] + state)
    return h, h


PLAIN = {"w": np.ones((D, 2), np.float32)}
START = {"initial_state": np.zeros((B, 2), np.float32)}


def dynamic(memory, **options):
    options = {"sequence_length": LENGTHS, "memory": memory, "chunk_size": 2, "key": KEY, **options}
    return PARAMS, lambda params: jaxrnn.dynamic_rnn(CELL, params, INPUTS, **options)


def function(memory):
    options = {"sequence_length": LENGTHS, "memory": memory, "chunk_size": 2, **START}
    return PLAIN, lambda params: jaxrnn.dynamic_rnn(plain, params, INPUTS, **options)


def loop_fn(time, output, state, loop_state):
    """Reads the inputs, zeros in the padding; each row ends at its length."""
    step = jnp.take(jnp.moveaxis(jnp.where(VALID, CLEAN, 0), 1, 0), time, 0, mode="clip")
    if output is None:
        return time >= LENGTHS, step, jnp.zeros((B, 2)), None, None
    return time >= LENGTHS, step, state, output, None


STACKED = [PARAMS] * 2, [PARAMS, CELL.init(KEY, 4)]
RUNNERS = {
    **{f"dynamic, {memory}": dynamic(memory) for memory in ("save", "recompute", "recursive", "offload")},
    "dynamic, a policy": dynamic(jax.checkpoint_policies.everything_saveable),
    "dynamic, in reverse, with resets": dynamic("save", reverse=True, resets=RESETS, initial_state=CELL.initial_state(B)),
    **{f"a function, {memory}": function(memory) for memory in ("save", "recursive")},
    "static": (PARAMS, lambda p: jaxrnn.static_rnn(CELL, p, STEPS, sequence_length=LENGTHS, key=KEY)),
    "bidirectional": ([PARAMS] * 2, lambda p: jaxrnn.bidirectional_dynamic_rnn(CELL, CELL, p, INPUTS, sequence_length=LENGTHS)),
    "static_bidirectional": (
        [PARAMS] * 2,
        lambda p: jaxrnn.static_bidirectional_rnn(CELL, CELL, p, STEPS, sequence_length=LENGTHS),
    ),
    "stacked": (
        [STACKED[0], [CELL.init(KEY, 4)] * 2],
        lambda p: jaxrnn.stack_bidirectional_dynamic_rnn([CELL] * 2, [CELL] * 2, p, INPUTS, sequence_length=LENGTHS),
    ),
    "truncated": (PLAIN, lambda p: jaxrnn.truncated_rnn(plain, p, CLEAN, k1=2, k2=3, **START)[0]),
    "raw": (PLAIN, lambda p: jaxrnn.raw_rnn(plain, p, loop_fn, max_steps=T)[:2]),
}


def gradient(name):
    """The gradient of a weighted sum of all that a runner gives."""
    params, run = RUNNERS[name]
    weighted = lambda leaf: jnp.vdot(leaf, jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape))
    return jax.grad(lambda params: sum(map(weighted, jax.tree.leaves(run(params)))))(params)


# One runner of each kind; the other modes and the bidirectional ones are made of these.
KINDS = ("dynamic, save", "a function, save", "static", "truncated", "raw")
NAMES = fast_if(lambda name: name in KINDS, RUNNERS)


@pytest.mark.parametrize("name", NAMES)
def test_no_nan_comes_out_of_padding(name):
    """What a program gives is looked at: where no jit is, a function is, operation by operation."""
    with jax.debug_nans(True):
        grads = jax.jit(lambda: gradient(name))() if "function" in name or name == "raw" else gradient(name)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(np.isfinite(leaf), True), grads)


@pytest.mark.parametrize("name", fast_if(lambda name: name in [*KINDS][:2], RUNNERS))
def test_without_jit_the_same(name):
    with jax.disable_jit():
        got = gradient(name)
    want = jax.jit(lambda: gradient(name))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), got, want)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaks(name, small_heap):
    with jax.checking_leaks():
        jax.eval_shape(lambda: gradient(name))
