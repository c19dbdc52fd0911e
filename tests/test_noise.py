"""What a cell in four functions draws, the same in every runner, in every memory mode and when stepping by hand; and states
with counters, flags and keys."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.testing import check_cell
from tests.rows import LENGTHS, B, D, T

H = 5
KEY = jax.random.key(7)


@dataclasses.dataclass(frozen=True)
class Zoneout(jaxrnn.RNNCell):
    """A simple network that keeps some units as they are (Krueger et al., 2017), with noise that grows from step to step."""

    num_units: int = H
    keep: float = 0.3
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key, input_size, dtype=jnp.float32):
        draw = lambda i, *shape: jax.random.uniform(jax.random.fold_in(key, i), shape, dtype, -0.8, 0.8)
        return {"w": draw(0, input_size, self.num_units), "u": draw(1, self.num_units, self.num_units)}

    def project(self, params, inputs, *, key=None):
        z = inputs @ params["w"]
        if key is None:
            return z, jnp.full_like(z, self.keep)
        noise_key, mask_key = jax.random.split(key.step)
        growth = 0.1 * (key.t + 1).astype(z.dtype)
        return z + growth * jax.random.normal(noise_key, z.shape, z.dtype), jax.random.bernoulli(mask_key, self.keep, z.shape)

    def recur(self, params, state):
        return state @ params["u"]

    def gates(self, params, z, r, state):
        return jnp.tanh(z[0] + r), z[1].astype(r.dtype)

    def combine(self, params, g, state):
        new, kept = g
        h = kept * state + (1 - kept) * new
        return h, h


def drawn(key, time, dtype):
    """The noise and the mask of a step, of a whole batch."""
    noise_key, mask_key = jax.random.split(jaxrnn.step_key(key, time).step)
    noise = np.asarray(jax.random.normal(noise_key, (B, H), dtype), np.float64) * 0.1 * (time + 1)
    return noise, np.asarray(jax.random.bernoulli(mask_key, 0.3, (B, H)))


def in_numpy(params, inputs, h, key, lengths=None, reverse=False):
    outputs = np.zeros((B, T, H))
    for t in range(T)[:: -1 if reverse else 1]:
        noise, kept = (0, 0.3) if key is None else drawn(key, t, inputs.dtype)
        new = kept * h + (1 - kept) * np.tanh(inputs[:, t] @ params["w"] + noise + h @ params["u"])
        runs = np.full(B, True) if lengths is None else t < lengths
        outputs[runs, t] = new[runs]
        h = np.where(runs[:, None], new, h)
    return outputs, h


@pytest.fixture
def problem(x64):
    rng = np.random.default_rng(0)
    params = {"w": rng.uniform(-0.8, 0.8, (D, H)), "u": rng.uniform(-0.8, 0.8, (H, H))}
    return params, rng.standard_normal((B, T, D)), rng.standard_normal((B, H))


def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), tuple(got), tuple(want))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("key", [None, KEY, jax.random.PRNGKey(3)], ids=["none", "key", "raw key"])
def test_every_runner_draws_the_same(problem, key, reverse, lengths):
    params, inputs, state = problem
    want = in_numpy(*problem, key, lengths, reverse)
    options = {"initial_state": state, "key": key, "sequence_length": lengths, "reverse": reverse}
    outputs, last = jaxrnn.static_rnn(Zoneout(), params, list(inputs.swapaxes(0, 1)), **options)
    close((jnp.stack(outputs, 1), last), want)
    for memory in ("save", "recompute", "recursive"):
        for unrolled in (False, True):
            inputs_ = inputs.swapaxes(0, 1) if unrolled else inputs
            outputs, last = jaxrnn.dynamic_rnn(
                Zoneout(), params, inputs_, memory=memory, chunk_size=3, time_major=unrolled, **options
            )
            close((outputs.swapaxes(0, 1) if unrolled else outputs, last), want)


def test_stepping_by_hand_draws_the_same(problem):
    params, inputs, state = problem
    want, outputs = in_numpy(*problem, KEY), []
    for t in range(T):
        output, state = Zoneout()(params, inputs[:, t], state, key=jaxrnn.step_key(KEY, t))
        outputs.append(output)
    close((jnp.stack(outputs, 1), state), want)


def test_a_plain_key_has_no_position(problem):
    params, inputs, state = problem
    seen = []

    class Looks(Zoneout):
        def project(self, params, inputs, *, key=None):
            seen.append(key.t)
            return super().project(params, inputs)

    Looks()(params, inputs[:, 0], state, key=KEY)
    assert set(seen) == {None}


def test_no_key_draws_nothing(problem):
    params, inputs, state = problem
    close(jaxrnn.dynamic_rnn(Zoneout(), params, inputs, initial_state=state), in_numpy(*problem, None))
    plain = jaxrnn.BasicRNNCell(H), {"kernel": params["w"], "recurrent_kernel": params["u"], "bias": jnp.zeros(H)}
    wants = jaxrnn.dynamic_rnn(*plain, inputs, initial_state=state)
    close(jaxrnn.dynamic_rnn(*plain, inputs, initial_state=state, key=KEY), wants)  # a cell that takes none is not given one


def test_resets_and_masks_leave_the_draws(problem):
    params, inputs, state = problem
    rng = np.random.default_rng(1)
    flags = {"mask": rng.random((B, T)) < 0.7, "resets": rng.random((B, T)) < 0.3, "reset_state": 2 * state}
    options = {"initial_state": state, "key": KEY, **flags}
    outputs, last = jaxrnn.static_rnn(Zoneout(), params, list(inputs.swapaxes(0, 1)), **options)
    for memory in ("save", "recompute", "recursive"):
        close(
            jaxrnn.dynamic_rnn(Zoneout(), params, inputs, memory=memory, chunk_size=3, **options), (jnp.stack(outputs, 1), last)
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "key"),
    [
        (Zoneout(), KEY),
        (Zoneout(), None),
        (jaxrnn.StateOutputWrapper(Zoneout()), KEY),
        (jaxrnn.MultiRNNCell([jaxrnn.GRUCell(4), jaxrnn.DropoutWrapper(Zoneout(), input_keep_prob=0.5)]), KEY),
    ],
    ids=["drawn", "none", "states", "stack"],
)
def test_gradients_of_what_is_drawn(cell, key):
    """Against finite differences, in every runner and mode, both ways, with lengths, under vmap."""
    check_cell(cell, input_size=D, key=key)


def test_errors_name_the_cell(problem):
    class Single(Zoneout):
        def combine(self, params, g, state):
            return g[0]

    params, inputs, state = problem
    with pytest.raises(TypeError, match=r"Single\(num_units=5.*pair \(output, new_state\)"):
        jaxrnn.dynamic_rnn(Single(), params, inputs, initial_state=state, key=KEY)


def test_a_call_of_its_own_gives_keys_to_whom_it_likes(problem):
    class Called(Zoneout):
        def gates(self, params, z, r, state, key=None):
            return super().gates(params, (z, self.keep + jnp.zeros_like(z)), r + jax.random.normal(key, r.shape), state)

        def __call__(self, params, inputs, state, *, key):
            g = self.gates(params, inputs @ params["w"], self.recur(params, state), state, key=key.step)
            return self.combine(params, g, state)

    params, inputs, state = problem
    outputs, _ = jaxrnn.dynamic_rnn(Called(), params, inputs, initial_state=state, key=KEY)
    noise = jax.random.normal(jaxrnn.step_key(KEY, 0).step, (B, H))
    want = 0.3 * state + 0.7 * np.tanh(inputs[:, 0] @ params["w"] + state @ params["u"] + noise)
    np.testing.assert_allclose(outputs[:, 0], want, rtol=1e-10)


def test_a_cell_that_draws_keeps_no_more(one_device, compiled_for_a_cpu):
    """Noise is drawn again in the backward pass: "recompute" keeps a state a chunk, as for any cell."""
    cell, inputs = Zoneout(64), jax.ShapeDtypeStruct((16, 512, 64), jnp.float32)
    params = jax.eval_shape(lambda: cell.init(KEY, 64))

    def memory(mode, key):
        loss = lambda params, inputs: jnp.sum(jaxrnn.dynamic_rnn(cell, params, inputs, memory=mode, key=key)[0] ** 2)
        compiled = jax.jit(jax.grad(loss)).lower(params, inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory("recompute", KEY) < 0.55 * memory("save", KEY)
    assert memory("recompute", KEY) < 1.05 * memory("recursive", None)


def test_derivatives(problem):
    """Of every mode and kind, beside JAX's own of T steps."""
    params, inputs, state = problem
    options = {"initial_state": state, "key": KEY, "sequence_length": LENGTHS}
    loss = lambda outputs: jnp.sum(jnp.sin(outputs) * jnp.arange(T, dtype=outputs.dtype)[None, :, None])
    dynamic = lambda w, memory: loss(jaxrnn.dynamic_rnn(Zoneout(), params | {"w": w}, inputs, memory=memory, **options)[0])
    static = lambda w: loss(
        jnp.stack(jaxrnn.static_rnn(Zoneout(), params | {"w": w}, list(inputs.swapaxes(0, 1)), **options)[0], 1)
    )
    w = jnp.asarray(params["w"])
    want = jax.jit(jax.jacfwd(static))(w)
    for memory in ("save", "recompute", "recursive"):
        close([jax.jit(jax.grad(dynamic), static_argnums=1)(w, memory)], [want])
    close([jax.jacfwd(dynamic)(w, "save")], [want])
    close([jax.hessian(dynamic)(w, "save")], [jax.jit(jax.hessian(static))(w)])


# ---- states that are not only floating


@dataclasses.dataclass(frozen=True)
class Spiking(jaxrnn.RNNCell):
    """Units that leak, spike and rest; the state counts their spikes, and has a key for each row."""

    num_units: int = H
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key, input_size, dtype=jnp.float32):
        return Zoneout(self.num_units).init(key, input_size, dtype)

    def initial_state(self, batch_size, dtype=jnp.float32):
        shape = batch_size, self.num_units
        keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(batch_size))
        return {"v": jnp.zeros(shape, dtype), "on": jnp.zeros(shape, bool), "n": jnp.zeros(shape, jnp.int32), "key": keys}

    def project(self, params, inputs):
        return inputs @ params["w"]

    def recur(self, params, state):
        return state["on"].astype(state["v"].dtype) @ params["u"]

    def gates(self, params, z, r, state):
        keys = jax.vmap(jax.random.split)(state["key"])
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.num_units,), z.dtype))(keys[:, 0])
        return jnp.where(state["on"], 0, 0.9 * state["v"]) + z + r + 0.1 * noise, keys[:, 1]

    def combine(self, params, g, state):
        v, keys = g
        on = v > 0.5
        return v, {"v": v, "on": on, "n": state["n"] + on.astype(jnp.int32), "key": keys}


def spiking_in_numpy(params, inputs, lengths, resets):
    v, on, n = np.zeros((B, H)), np.zeros((B, H), bool), np.zeros((B, H), np.int64)
    own = [jax.random.fold_in(KEY, b) for b in range(B)]
    keys, outputs = list(own), np.zeros((B, T, H))
    for t in range(T):
        for b in np.flatnonzero(t < lengths):
            if resets[b, t]:
                v[b], on[b], n[b], keys[b] = 0, False, 0, own[b]
            key, keys[b] = jax.random.split(keys[b])
            noise = np.asarray(jax.random.normal(key, (H,), jnp.float64))
            r = on[b].astype(float) @ params["u"]
            v[b] = np.where(on[b], 0, 0.9 * v[b]) + inputs[b, t] @ params["w"] + r + 0.1 * noise
            on[b] = v[b] > 0.5
            n[b] += on[b]
            outputs[b, t] = v[b]
    return outputs, {"v": v, "on": on, "n": n}


def test_counters_spikes_and_keys_in_a_state(problem):
    params, inputs, _ = problem
    resets = np.random.default_rng(2).random((B, T)) < 0.3
    options = {"sequence_length": LENGTHS, "resets": resets}
    want = spiking_in_numpy(params, inputs, LENGTHS, resets)
    steps, state = jaxrnn.static_rnn(Spiking(), params, list(inputs.swapaxes(0, 1)), **options)
    runs = [(jnp.stack(steps, 1), state)]
    runs += [jaxrnn.dynamic_rnn(Spiking(), params, inputs, memory=memory, **options) for memory in ("save", "recursive")]
    stack = jaxrnn.MultiRNNCell([Spiking(), jaxrnn.StateOutputWrapper(jaxrnn.BasicRNNCell(H))])
    top = {"kernel": jnp.eye(H), "recurrent_kernel": jnp.zeros((H, H)), "bias": jnp.zeros(H)}
    _, (state, _) = jaxrnn.dynamic_rnn(stack, {"cell_0": params, "cell_1": top}, inputs, **options)
    runs.append((want[0], state))
    for outputs, state in runs:
        assert state["key"].shape == (B,)
        close((outputs, *[state[name] for name in ("v", "on", "n")]), (want[0], *[want[1][name] for name in ("v", "on", "n")]))
    assert np.any(want[1]["n"] > 0)


def test_gradients_beside_counters(problem):
    """The voltages have a gradient; no spike has one."""
    params, inputs, _ = problem
    loss = lambda run: lambda params: jnp.sum(jnp.sin(run(params)))
    static = lambda p: jnp.stack(jaxrnn.static_rnn(Spiking(), p, list(inputs.swapaxes(0, 1)), sequence_length=LENGTHS)[0], 1)
    want = jax.grad(loss(static))(params)
    for memory in ("save", "recompute", "recursive"):
        run = lambda p: jaxrnn.dynamic_rnn(Spiking(), p, inputs, sequence_length=LENGTHS, memory=memory)[0]
        close([jax.grad(loss(run))(params)], [want])
    assert np.any(want["w"] != 0)
