"""Cells as users write them: any four functions, classes that override a step, functions of what changes, singular points.

Each case gave another number, or an error of JAX's, before it was a test.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.testing import check_cell
from tests.rows import fast_if

B, T, D, H = 3, 5, 2, 4
LENGTHS = np.array([5, 0, 3], np.int32)
RNG = np.random.default_rng(0)
INPUTS = RNG.uniform(1, 2, (B, T, D))
PARAMS = {"w": RNG.standard_normal((D, H)), "u": RNG.standard_normal((H, H)) / 2}
STATE = RNG.standard_normal((B, H)) / 2
MODES = ("save", "recompute", "recursive", "offload", jax.checkpoint_policies.everything_saveable)


@dataclasses.dataclass(frozen=True)
class Elman(jaxrnn.RNNCell):
    """h' = tanh(x W + h U), to be varied."""

    state_size = output_size = H

    def init(self, key, input_size, dtype=jnp.float32):
        """Random weights."""
        return {"w": jax.random.normal(key, (input_size, H), dtype), "u": jnp.eye(H, dtype=dtype) / 2}

    def project(self, params, inputs):
        """z = x W."""
        return inputs @ params["w"]

    def recur(self, params, state):
        """r = h U."""
        return state @ params["u"]

    def gates(self, params, z, r, state):
        """tanh(z + r)."""
        return jnp.tanh(z + r)

    def combine(self, params, g, state):
        """The gate is the state."""
        return g, g


def varied(**functions):
    """`Elman` with other functions, which take no self."""
    methods = {name: (lambda f: lambda self, *args: f(*args))(function) for name, function in functions.items()}
    return dataclasses.dataclass(frozen=True)(type("Varied", (Elman,), methods))()


@jax.custom_jvp
def rectified(a):
    """relu, whose derivative selects by the result."""
    return jnp.maximum(a, 0)


rectified.defjvp(lambda a, da: ((y := rectified(*a)), jnp.where(y > 0, *da, jnp.zeros_like(y))))

FOUR = {
    "z is read as a sum and is a result": varied(
        gates=lambda p, z, r, s: (jnp.tanh(z + r), z), combine=lambda p, g, s: (g[0] * g[1], g[0])
    ),
    "r is": varied(gates=lambda p, z, r, s: (jnp.tanh(z + r), r), combine=lambda p, g, s: (g[0] * g[1], g[0])),
    "z is a result of a function inside": varied(
        gates=lambda p, z, r, s: jax.jit(lambda z, r: (jnp.tanh(z + r), z))(z, r),
        combine=lambda p, g, s: (g[0] * g[1], g[0]),
    ),
    "gates keep nothing new": varied(
        gates=lambda p, z, r, s: (p["u"], s, jnp.full(s.shape, 0.5)), combine=lambda p, g, s: (g[1] + g[2], jnp.tanh(s) * g[2])
    ),
    "no z": varied(project=lambda p, x: (), gates=lambda p, z, r, s: jnp.tanh(r)),
    "no r": varied(recur=lambda p, s: None, gates=lambda p, z, r, s: jnp.tanh(z + s)),
    "no gates": varied(gates=lambda p, z, r, s: (), combine=lambda p, g, s: (jnp.sin(s), s * 0.5)),
    "a gate of booleans": varied(
        gates=lambda p, z, r, s: (jnp.tanh(z + r), z > 0), combine=lambda p, g, s: (jnp.where(g[1], g[0], s),) * 2
    ),
    "z holds weights": varied(
        project=lambda p, x: (x @ p["w"], p["u"]), gates=lambda p, z, r, s: jnp.tanh(z[0] + r + s @ z[1])
    ),
    "z holds integers": varied(
        project=lambda p, x: (x @ p["w"], (x[:, :1] > 1.5).astype(jnp.int32)),
        gates=lambda p, z, r, s: jnp.tanh(z[0] * z[1].astype(z[0].dtype) + r),
    ),
    "a derivative that selects": varied(gates=lambda p, z, r, s: jnp.tanh(rectified(z + r))),
    "an output of integers": varied(combine=lambda p, g, s: ((g, jnp.argmax(g, -1)), g)),
    "an output without rows": varied(combine=lambda p, g, s: ((g, p["w"].sum()), g)),
}


def weighted(tree):
    """A sum in which no two numbers count the same."""
    weights = lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(jnp.vdot(jnp.sin(leaf), weights(leaf)) for leaf in leaves)


def stepped(cell, params, inputs, state):
    """The four functions, one step after the other, and masks by hand."""
    outputs = []
    for t in range(T):
        valid = t < LENGTHS
        x = jnp.where(valid[:, None], inputs[:, t], inputs[:, 0])
        z, r = cell.project(params, x), cell.recur(params, state)
        output, new = cell.combine(params, cell.gates(params, z, r, state), state)
        rows = lambda a, b: jnp.where(valid.reshape(-1, *[1] * (a.ndim - 1)), a, b) if a.ndim else a
        outputs.append(jax.tree.map(lambda a: rows(a, jnp.zeros_like(a)), output))
        state = rows(new, state)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1 if leaves[0].ndim else 0), *outputs), state


# The fast ones are an engine of the two each; the others are these, of other policies.
FAST_MODES = ("save",)
OTHER_MODES = tuple(memory for memory in MODES if memory not in FAST_MODES)
WALKED = fast_if(lambda memory: memory in FAST_MODES, MODES)


@pytest.mark.parametrize("modes", [FAST_MODES, pytest.param(OTHER_MODES, marks=pytest.mark.slow)], ids=["one", "others"])
@pytest.mark.parametrize("name", FOUR)
def test_any_four_functions(name, modes, one_device, x64):
    cell, point = FOUR[name], (PARAMS, INPUTS, STATE)
    both = lambda run: jax.jit(jax.value_and_grad(lambda *point: weighted(run(*point)), (0, 1, 2)))(*point)
    want = both(functools.partial(stepped, cell))
    for memory in modes:
        options = {"sequence_length": LENGTHS, "memory": memory, "chunk_size": 2}
        got = both(lambda p, x, s: jaxrnn.dynamic_rnn(cell, p, x, initial_state=s, **options))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)


def test_what_only_looks_as_if_it_had_rows(one_device, x64):
    """A weight matrix in z, as long as the batch: a batch of K B rows has it once."""
    cell = varied(project=lambda p, x: (x @ p["w"], p["u"]), gates=lambda p, z, r, s: jnp.tanh(z[0] + r + s @ z[1]))
    inputs, state = np.tile(INPUTS, (2, 1, 1))[:H], np.tile(STATE, (2, 1))[:H]
    run = lambda p, memory: weighted(jaxrnn.dynamic_rnn(cell, p, inputs, initial_state=state, memory=memory, chunk_size=2))
    steps = lambda p: weighted(_unrolled(cell, p, inputs, state))
    want = jax.grad(steps)(PARAMS)
    for memory in ("save", "offload"):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), jax.grad(run)(PARAMS, memory), want)


def _unrolled(cell, params, inputs, state):
    outputs, state = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(T)], initial_state=state)
    return jnp.stack(outputs, 1), state


# ---- states that have no derivative, or are none


@dataclasses.dataclass(frozen=True)
class Stateless(Elman):
    """output = tanh(x W): a layer without a state."""

    state_size = ()

    def recur(self, params, state):
        """None."""
        return ()

    def gates(self, params, z, r, state):
        """tanh(z)."""
        return jnp.tanh(z)

    def combine(self, params, g, state):
        """The state stays nothing."""
        return g, ()


@pytest.mark.parametrize("cell", [Stateless(), jaxrnn.MultiRNNCell([jaxrnn.GRUCell(3), Stateless(), jaxrnn.LSTMCell(2)])])
@pytest.mark.parametrize("memory", WALKED[:4])
def test_layers_without_a_state(cell, memory, x64):
    params = cell.init(jax.random.key(0), D, jnp.float64)
    run = lambda p: jaxrnn.dynamic_rnn(cell, p, INPUTS, sequence_length=LENGTHS, memory=memory, chunk_size=2)
    steps = lambda p: jaxrnn.static_rnn(cell, p, list(np.moveaxis(INPUTS, 1, 0)), sequence_length=LENGTHS)
    unrolled = lambda p: (lambda outputs, state: (jnp.stack(outputs, 1), state))(*steps(p))
    got, want = (jax.jit(jax.grad(lambda p: weighted(f(p))))(params) for f in (run, unrolled))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)


@pytest.mark.parametrize("time_major", [False, True])
def test_one_number_a_step(time_major):
    """An output that belongs to no row has no batch axis, and is not masked."""
    inputs = INPUTS.swapaxes(0, 1) if time_major else INPUTS
    run = lambda x: jaxrnn.dynamic_rnn(
        lambda p, x, s: (x.mean(), s + 1), {}, x, initial_state=np.zeros(B), sequence_length=LENGTHS, time_major=time_major
    )
    outputs, state = run(inputs)
    assert outputs.shape == (T,)
    np.testing.assert_array_equal(state, LENGTHS)


# ---- classes that override a step


class Doubled(jaxrnn.GRUCell):
    """TF1's way to change a cell."""

    def __call__(self, params, inputs, state, *, key=None):
        """Twice the output."""
        output, new = super().__call__(params, inputs, state, key=key)
        return 2 * output, new


class Whole(jaxrnn.RNNCell):
    """TF1's way to write a cell: `__call__` alone."""

    state_size = output_size = H

    def init(self, key, input_size, dtype=jnp.float32):
        """Elman's."""
        return Elman().init(key, input_size, dtype)

    def __call__(self, params, inputs, state, *, key=None):
        """h' = tanh(x W + h U)."""
        h = jnp.tanh(inputs @ params["w"] + state @ params["u"])
        return h, h


class Halved(jaxrnn.ResidualWrapper):
    """A wrapper whose step is another."""

    def __call__(self, params, inputs, state, *, key=None):
        """Half the output."""
        output, new = super().__call__(params, inputs, state, key=key)
        return output / 2, new


@pytest.mark.parametrize(
    "cell",
    [Doubled(3), Whole(), Halved(jaxrnn.GRUCell(D)), jaxrnn.MultiRNNCell([Doubled(3), jaxrnn.DropoutWrapper(Whole())])],
    ids=["over four functions", "alone", "over a wrapper", "in a stack"],
)
def test_an_overridden_step_is_the_step_of_every_runner(cell, x64):
    params = cell.init(jax.random.key(0), D, jnp.float64)
    state, by_hand = cell.initial_state(B, jnp.float64), []
    for t in range(T):
        output, state = cell(params, INPUTS[:, t], state)
        by_hand.append(output)
    for memory in MODES:
        outputs, last = jaxrnn.dynamic_rnn(cell, params, INPUTS, memory=memory, chunk_size=2)
        np.testing.assert_allclose(outputs, jnp.stack(by_hand, 1), rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), last, state)
    static, _ = jaxrnn.static_rnn(cell, params, list(np.moveaxis(INPUTS, 1, 0)))
    np.testing.assert_allclose(jnp.stack(static, 1), jnp.stack(by_hand, 1), rtol=1e-12)


# ---- singular points


def one_over(params, inputs, state):
    """Not finite where an input is zero, nor where the state is minus one."""
    h = jnp.tanh(state + params / inputs[:, 0]) * jnp.log1p(state) / (1 + state)
    return h, 1 + h * h


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("memory", fast_if(lambda memory: memory in ("save", "static"), [*MODES[:4], "static"]))
@pytest.mark.parametrize("resets", [False, True])
def test_padding_is_called_with_what_a_row_begins_with(memory, reverse, resets, x64):
    """Padding of zeros, or of NaN; a row without steps; and a last state at which the cell has no derivative."""
    valid = (np.arange(T) < LENGTHS[:, None])[..., None]
    options = {"sequence_length": LENGTHS, "reverse": reverse}

    def ends_at_a_pole(params, inputs, state):
        output, new = one_over(params, inputs, state["h"])
        left = state["left"] - 1  # at the row's end it is zero
        return output / state["left"], {"h": new, "left": left}

    def run(params, inputs):
        state = {"h": jnp.ones(B), "left": jnp.asarray(LENGTHS, jnp.float64)}
        if memory == "static":
            return jaxrnn.static_rnn(ends_at_a_pole, params, list(jnp.moveaxis(inputs, 1, 0)), initial_state=state, **options)
        more = {"resets": jnp.zeros((B, T), bool), "reset_state": state} if resets else {}
        return jaxrnn.dynamic_rnn(
            ends_at_a_pole, params, inputs, initial_state=state, memory=memory, chunk_size=2, **options, **more
        )

    gradient = jax.jit(jax.grad(lambda *args: weighted(run(*args)), (0, 1)))
    clean = gradient(0.7, np.where(valid, INPUTS, 1.0))
    assert clean[0] != 0
    for padding in (0.0, np.nan):
        got = gradient(0.7, np.where(valid, INPUTS, padding))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, clean)


SINGULAR = {
    "project": varied(project=lambda p, x: (1 / x) @ p["w"]),
    "a norm": varied(project=lambda p, x: (x / jnp.linalg.norm(x, axis=-1, keepdims=True)) @ p["w"]),
    "combine": varied(combine=lambda p, g, s: (jnp.log(jnp.abs(g)), g)),
    "a gate that is an output": varied(
        gates=lambda p, z, r, s: jnp.sqrt(1 + jnp.tanh(z + r)), combine=lambda p, g, s: (g, 1 / g - 1)
    ),
    "activations of projections": jaxrnn.OutputProjectionWrapper(
        jaxrnn.MultiRNNCell([jaxrnn.OutputProjectionWrapper(jaxrnn.GRUCell(3), 2, activation=jnp.reciprocal), Elman()]),
        2,
        activation=jnp.reciprocal,
    ),
    "a projection of inputs": jaxrnn.InputProjectionWrapper(jaxrnn.GRUCell(3), 2, activation=jnp.reciprocal),
    "a residual function": jaxrnn.ResidualWrapper(jaxrnn.GRUCell(D), residual_fn=lambda x, y: jnp.log(x) + 1 / y),
}


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("memory", fast_if(lambda memory: memory == "save", MODES[:4]))
def test_singular_cells_have_finite_gradients(name, memory, one_device, x64):
    cell, valid = SINGULAR[name], (np.arange(T) < LENGTHS[:, None])[..., None]
    params = cell.init(jax.random.key(1), D, jnp.float64)
    start = jax.tree.map(lambda leaf: leaf + 0.1, cell.initial_state(B, jnp.float64))

    def loss(params, inputs):
        options = {"sequence_length": LENGTHS, "memory": memory, "chunk_size": 2}
        return weighted(jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=start, **options))

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    clean = gradient(params, np.where(valid, INPUTS, 1.0))
    for padding in (0.0, np.nan):
        got = gradient(params, np.where(valid, INPUTS, padding))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, clean)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def test_a_batch_without_any_step_has_no_gradient():
    run = lambda p: weighted(
        jaxrnn.static_rnn(one_over, p, [jnp.zeros((B, D))] * 2, initial_state=jnp.ones(B), sequence_length=[0] * B)
    )
    assert jax.grad(run)(0.7) == 0


def test_steps_before_a_stream_begins_are_called_with_its_first_inputs():
    cell = lambda p, x, s: (s + p / x,) * 2
    run = lambda p: jaxrnn.truncated_rnn(cell, p, jnp.full((2, 4, 1), 2.0), k1=2, k2=3, initial_state=jnp.zeros((2, 1)))[
        0
    ].sum()
    assert jax.grad(run)(2.0) == 8  # of rows 2, outputs 1/2 + 2/2 in the first window, 2/2 + 3/2 (of three steps) in the second


def test_finished_rows_of_a_loop_are_called_with_what_they_began_with(x64):
    cell = lambda p, x, s: (s + p / x,) * 2

    def run(p):
        def loop_fn(time, output, state, loop_state):
            if output is None:
                return jnp.array([False, True]), jnp.array([[1.0], [0.0]]), jnp.zeros((2, 1)), None, None
            return jnp.array([time >= 2, True]), jnp.where(time < 2, jnp.array([[2.0], [0.0]]), 0.0), state, output, None

        emits, state, _ = jaxrnn.raw_rnn(cell, p, loop_fn, max_steps=4)
        return emits.sum() + state.sum()

    assert jax.grad(run)(3.0) == 1 + 1.5 + 1.5


# ---- functions of what changes


class Box:
    """Mutable, with a hash."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, params, inputs, state):
        """A cell."""
        return inputs * self.scale, state

    def step(self, params, inputs, state):
        """A cell that is a method."""
        return inputs * self.scale, state


def of_global(params, inputs, state):
    """Reads a global."""
    return inputs * SCALE, state


def of_keyword(params, inputs, state, *, scale=2.0):
    """Reads a keyword's default."""
    return inputs * scale, state


@functools.wraps(of_keyword)
def wrapped(*args):
    """Reads a global behind another function's name."""
    return of_global(*args)


@functools.wraps(jnp.tanh)
def not_tanh(a):
    """Reads a global behind a name of JAX's."""
    return a * SCALE


SCALE = 2.0
BOX = Box(2.0)
CHANGING = {
    "a global": of_global,
    "a keyword": of_keyword,
    "wrapped": wrapped,
    "a method": BOX.step,
    "an object": BOX,
    "a closure": (lambda box: lambda p, x, s: (x * box.scale, s))(BOX),
    "a partial function": functools.partial(lambda box, p, x, s: (x * box.scale, s), BOX),
    "an activation": jaxrnn.BasicRNNCell(D, activation=not_tanh),
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_function_does_what_it_does_now(name, monkeypatch):
    cell, inputs = CHANGING[name], jnp.ones((B, T, D))
    params = {} if callable(cell) and not hasattr(cell, "init") else cell.init(jax.random.key(0), D)
    state = jnp.zeros((B, D))

    def loop_fn(time, output, state_now, loop_state):
        return jnp.zeros(B, bool), inputs[:, 0], state if output is None else state_now, output, None

    runs = {
        "dynamic": lambda: jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state)[0][0, 0, 0],
        "static": lambda: jaxrnn.static_rnn(cell, params, [inputs[:, 0]], initial_state=state)[0][0][0, 0],
        "truncated": lambda: jaxrnn.truncated_rnn(cell, params, inputs, k1=5, initial_state=state)[0][0, 0, 0],
        "raw": lambda: jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=1)[0][0, 0, 0],
    }
    before = {name: float(run()) for name, run in runs.items()}
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    monkeypatch.setattr(BOX, "scale", 3.0)
    monkeypatch.setitem(of_keyword.__kwdefaults__, "scale", 3.0)
    for run_name, run in runs.items():
        np.testing.assert_allclose(run(), before[run_name] * 1.5, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Scaled(Elman):
    """Python says that Scaled(1) == Scaled(True), and that Scaled(np.dtype("float64")) == Scaled(None)."""

    scale: object = None

    def combine(self, params, g, state):
        """The output tells what the scale is."""
        return g * {int: 1, bool: 2, type(None): 3}.get(type(self.scale), 4), g


def test_equal_values_that_differ_are_told_apart():
    params = Elman().init(jax.random.key(0), D)
    inputs = jnp.ones((B, T, D))
    for scale, factor in [(1, 1), (True, 2), (None, 3), (np.dtype("float64"), 4), (1.0, 4)]:
        outputs, _ = jaxrnn.dynamic_rnn(Scaled(scale), params, inputs)
        np.testing.assert_allclose(outputs, factor * jaxrnn.dynamic_rnn(Elman(), params, inputs)[0], rtol=1e-6)


def test_an_equal_program_is_compiled_once(monkeypatch):
    """A run of functions is traced at every call; a loop_fn is a function always."""
    cell = jaxrnn.GRUCell(2)
    params = cell.init(jax.random.key(0), 2)
    compiled = []
    compile_it = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *args: compiled.append(1) or compile_it(*args))

    def run(scale, first):
        def loop_fn(time, output, state, loop_state):
            if output is None:
                return jnp.zeros(B, bool), first, cell.initial_state(B), None, None
            return jnp.zeros(B, bool), output * scale, state, output, None

        return jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=3)[0][-1]

    one = run(1.0, jnp.ones((B, 2)))
    np.testing.assert_array_equal(run(1.0, jnp.ones((B, 2))), one)
    assert np.any(run(1.0, jnp.zeros((B, 2))) != one)  # an array that it closes over is an argument of the program
    assert len(compiled) == 1
    assert np.any(run(2.0, jnp.ones((B, 2))) != one)
    assert len(compiled) == 2


# ---- JAX's transforms


@pytest.mark.parametrize("memory", MODES[:4])
def test_a_linear_run_has_a_transpose(memory, x64):
    linear = lambda p, x, s: (s + x @ p, 0.5 * s + x @ p)
    weights = RNG.standard_normal((D, H))
    options = {"initial_state": np.zeros((B, H)), "sequence_length": LENGTHS, "memory": memory, "chunk_size": 2}
    run = lambda x: jaxrnn.dynamic_rnn(linear, weights, x, **options)[0]
    outputs = run(jnp.asarray(INPUTS))
    (transposed,) = jax.linear_transpose(run, INPUTS)(outputs)
    np.testing.assert_allclose(jnp.vdot(transposed, INPUTS), jnp.vdot(outputs, outputs), rtol=1e-12)


# ---- the check that users run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["z is read as a sum and is a result", "gates keep nothing new", "z holds weights"])
def test_check_cell_passes_them(name, small_heap):
    check_cell(FOUR[name])
