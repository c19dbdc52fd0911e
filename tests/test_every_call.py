"""Calls that a user may well make: each does what it says, in every runner and when stepping by hand."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import DropoutWrapper, EmbeddingWrapper, GRUCell, LSTMCell, MultiRNNCell, OutputProjectionWrapper, ResidualWrapper
from tests.rows import ROWS, fast_if

KEY = jax.random.key(0)
B, T, D = 4, 5, 3
INPUTS = jax.random.normal(jax.random.key(1), (B, T, D))
STEPS = [INPUTS[:, t] for t in range(T)]


def close(got, want, **tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance)), got, want)


def by_hand(cell, params, inputs, state):
    outputs = []
    for t in range(T):
        output, state = cell(params, jax.tree.map(lambda leaf: leaf[:, t], inputs), state)
        outputs.append(output)
    return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), state


def every_way(cell, params, inputs=INPUTS, state=None):
    """The run in all the runners and by hand: `(outputs, state)`, which are equal."""
    want = by_hand(cell, params, inputs, cell.initial_state(B) if state is None else state)
    options = {"initial_state": state}
    steps = [jax.tree.map(lambda leaf: leaf[:, t], inputs) for t in range(T)]
    outputs, last = jaxrnn.static_rnn(cell, params, steps, **options)
    close((jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), last), want)
    for memory in ("save", "recompute"):
        close(jaxrnn.dynamic_rnn(cell, params, inputs, memory=memory, chunk_size=2, **options), want)
    outputs, stream = jaxrnn.truncated_rnn(cell, params, inputs, k1=T, **options)
    close((outputs, stream.state), want)
    both = {"initial_state_fw": state, "initial_state_bw": state}
    outputs, states = jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, **both)
    close((outputs[0], states[0]), want)
    outputs, last, _ = raw(cell, params, inputs, cell.initial_state(B) if state is None else state)
    close((outputs, last), want)
    return want


def raw(cell, params, inputs, state):
    """`raw_rnn` on inputs that are there."""

    def loop_fn(time, output, new, loop_state):
        x = jax.tree.map(lambda leaf: leaf[:, jnp.minimum(time, T - 1)], inputs)
        return jnp.broadcast_to(time >= T, (B,)), x, state if new is None else new, output, None

    emits, last, loop_state = jaxrnn.raw_rnn(cell, params, loop_fn, max_steps=T)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), emits), last, loop_state


# ---- the numbers of a cell


@pytest.mark.parametrize("number", [np.int64(5), np.array(5), np.int8(5)], ids=lambda n: type(n).__name__)
def test_sizes_are_any_integer(number):
    assert LSTMCell(number) == LSTMCell(5) and hash(LSTMCell(number)) == hash(LSTMCell(5))
    assert repr(LSTMCell(number)) == repr(LSTMCell(5))
    assert type(OutputProjectionWrapper(GRUCell(number), number).output_size) is int
    assert EmbeddingWrapper(GRUCell(3), number, number) == EmbeddingWrapper(GRUCell(3), 5, 5)


@pytest.mark.parametrize("one", [1, np.float32(1), np.float64(1), np.array(1), np.array(1.0), jnp.bfloat16.dtype.type(1)])
def test_other_numbers_are_any_number(one):
    cells = [
        lambda n: DropoutWrapper(GRUCell(2), n, n, n),
        lambda n: LSTMCell(5, cell_clip=n, num_proj=2, proj_clip=n, forget_bias=n),
    ]
    for make in cells:
        assert make(one) == make(1.0) and hash(make(one)) == hash(make(1.0)) and repr(make(one)) == repr(make(1.0))


def test_an_integer_keep_probability_runs():
    for keep in (0, 1, np.int32(0)):
        cell = DropoutWrapper(GRUCell(2), output_keep_prob=keep)
        outputs, _ = jaxrnn.dynamic_rnn(cell, cell.init(KEY, D), INPUTS, key=KEY)
        assert np.any(np.asarray(outputs)) == bool(keep)


def test_a_schedule_of_cells():
    cell = DropoutWrapper(GRUCell(2), input_keep_prob=0.5)
    assert dataclasses.replace(cell, input_keep_prob=0.7).input_keep_prob == 0.7


# ---- cells of other kinds


@dataclasses.dataclass(frozen=True)
class Called(jaxrnn.RNNCell):
    """TF1's way to write a cell: `__call__` alone."""

    num_units: int
    state_size = output_size = property(lambda self: self.num_units)

    def __call__(self, params, inputs, state, *, key=None):
        new = jnp.tanh(inputs["x"] @ params["w"] + state)
        return new, new


class WithParams(Called):
    def init(self, key, input_size, dtype=jnp.float32):
        return {"w": jax.random.normal(key, (input_size, self.num_units), dtype)}

    def __call__(self, params, inputs, state, *, key=None):
        return super().__call__(params, {"x": inputs}, state)


class Doubled(GRUCell):
    """A cell of ours that is extended: it reads something else, and gives twice as much."""

    def __call__(self, params, inputs, state, *, key=None):
        output, new = super().__call__(params, inputs["x"][:, :D], state)
        return 2 * output, new


@dataclasses.dataclass(frozen=True)
class NoState(jaxrnn.RNNCell):
    def __call__(self, params, inputs, state, *, key=None):
        return inputs + state, state


class Plain:
    """A cell that is no `RNNCell`: what it has is what the wrappers ask for."""

    def __init__(self, size):
        self.size = size

    def init(self, key, input_size, dtype):
        return {"w": jax.random.normal(key, (input_size, self.size), dtype)}

    def initial_state(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, self.size), dtype)

    def __call__(self, params, inputs, state):
        new = jnp.tanh(inputs @ params["w"] + state)
        return new, new


class Sized(Plain):
    output_size = property(lambda self: self.size)


def test_a_cell_with_a_call_alone_is_stepped():
    """The checks let it pass; static_rnn and raw_rnn step it."""
    cell, params, inputs = Called(2), {"w": jnp.ones((D, 2))}, {"x": INPUTS}
    want = by_hand(cell, params, inputs, cell.initial_state(B))
    outputs, last = jaxrnn.static_rnn(cell, params, [{"x": x} for x in STEPS])
    close((jnp.stack(outputs, 1), last), want)
    close(raw(cell, params, inputs, cell.initial_state(B))[:2], want)
    stack = MultiRNNCell([Called(2), DropoutWrapper(GRUCell(2))])
    params = {"cell_0": params, "cell_1": GRUCell(2).init(KEY, 2)}
    outputs, last = stack(params, {"x": STEPS[0]}, stack.initial_state(B))
    assert outputs.shape == (B, 2)
    stack = MultiRNNCell([WithParams(2), GRUCell(2)])
    params = stack.init(KEY, D)
    outputs, last = stack(params, STEPS[0], stack.initial_state(B))
    with pytest.raises(ValueError, match=r"expected params\['cell_0'\]\['w'\] of shape \(2, 2\)"):
        stack(params, STEPS[0][:, :2], last)


def test_a_cell_that_extends_ours_reads_what_it_likes():
    cell, params = Doubled(2), GRUCell(2).init(KEY, D)
    want = by_hand(GRUCell(2), params, INPUTS, jnp.zeros((B, 2)))
    outputs, last = jaxrnn.static_rnn(cell, params, [{"x": jnp.concatenate([x, x], 1)} for x in STEPS])
    close((jnp.stack(outputs, 1), last), (2 * want[0], want[1]))


def test_a_cell_without_a_state_is_given_one():
    state = jnp.ones((B, D))
    outputs, last = jaxrnn.static_rnn(NoState(), {}, STEPS, initial_state=state)
    close((jnp.stack(outputs, 1), last), (INPUTS + 1, state))
    outputs, last = jaxrnn.static_rnn(ResidualWrapper(NoState()), {}, STEPS, initial_state=state)
    close((jnp.stack(outputs, 1), last), (2 * INPUTS + 1, state))


@pytest.mark.parametrize("kind", fast_if(lambda kind: kind is Plain, [Plain, Sized]))
@pytest.mark.parametrize(
    "around",
    [
        DropoutWrapper,
        lambda cell: ResidualWrapper(cell),
        lambda cell: OutputProjectionWrapper(cell, 2),
        lambda cell: jaxrnn.InputProjectionWrapper(cell, 2),
        lambda cell: MultiRNNCell([cell, GRUCell(2)]),
        lambda cell: MultiRNNCell([GRUCell(2), cell, DropoutWrapper(cell), LSTMCell(4)]),
    ],
    ids=["dropout", "residual", "output", "input", "first", "middle"],
)
def test_an_object_inside_wrappers_and_stacks(around, kind):
    cell = around(kind(D))
    params = cell.init(KEY, D)
    every_way(cell, params)
    with pytest.raises(ValueError, match="params"):
        cell(params, STEPS[0][:, :2], cell.initial_state(B))


def test_an_object_reads_ids_through_an_embedding():
    cell = EmbeddingWrapper(MultiRNNCell([Plain(3), Plain(2)]), 7, 4)
    every_way(cell, cell.init(KEY), jnp.arange(B * T).reshape(B, T) % 7)


# ---- sizes that are not known


def sides(inputs, outputs):
    return jnp.concatenate([inputs, outputs], axis=-1)


@pytest.mark.parametrize(
    ("cell", "size"),
    fast_if(
        lambda case: case[1] != 4,
        [
            (MultiRNNCell([ResidualWrapper(GRUCell(5), sides), GRUCell(2)]), 2),
            (MultiRNNCell([MultiRNNCell([DropoutWrapper(ResidualWrapper(GRUCell(5), sides))]), LSTMCell(4)]), 4),
            (MultiRNNCell([MultiRNNCell([MultiRNNCell([GRUCell(2), ResidualWrapper(Plain(5), sides)])]), LSTMCell(4)]), 4),
            (OutputProjectionWrapper(ResidualWrapper(GRUCell(5), sides), 2), 2),
            (MultiRNNCell([ResidualWrapper(GRUCell(5), sides)]), 8),
        ],
    ),
    ids=["stack", "nested", "deep", "projection", "last"],
)
def test_output_sizes_are_traced(cell, size):
    outputs, _ = every_way(cell, cell.init(KEY, D))
    assert outputs.shape == (B, T, size)


def test_output_sizes_of_cells_that_read_ids():
    embed = EmbeddingWrapper(GRUCell(3), 7, 4)
    cell = MultiRNNCell([ResidualWrapper(embed, lambda ids, outputs: sides(outputs, outputs)), GRUCell(2)])
    every_way(cell, cell.init(KEY, None), jnp.arange(B * T).reshape(B, T) % 7)


# ---- lengths and params


def test_lengths_in_a_list_of_traced_numbers():
    cell = GRUCell(2)
    params = cell.init(KEY, D)
    run = lambda lengths: jaxrnn.dynamic_rnn(cell, params, INPUTS, sequence_length=lengths)
    want = run([5, 0, 2, 3])
    close(jax.jit(lambda a, b: run([a, 0, b, a - 2]))(5, 2), want)
    close(jax.jit(lambda a: run((a, jnp.int32(0), np.int32(2), 3)))(jnp.int32(5)), want)
    assert jaxrnn.static_rnn(cell, params, [x[:0] for x in STEPS], sequence_length=[])[1].shape == (0, 2)


def test_known_lengths_of_a_symbolic_time():
    cell = GRUCell(2)
    params = cell.init(KEY, D)
    run = lambda x: jaxrnn.dynamic_rnn(cell, params, x, sequence_length=[5, 0, 2, 3])
    (time,) = jax.export.symbolic_shape("t")
    exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((B, time, D), jnp.float32))
    close(tuple(exported.call(INPUTS)), run(INPUTS))


class Sum:
    """No params."""

    output_size = D

    def init(self, key, input_size, dtype):
        return {}

    def initial_state(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, D), dtype)

    def __call__(self, params, inputs, state):
        assert params == {}
        return state + inputs, state + inputs


@pytest.mark.parametrize("cell", [MultiRNNCell([Sum(), DropoutWrapper(Sum())]), ResidualWrapper(MultiRNNCell([Sum()]))])
def test_no_params_may_be_left_out(cell):
    close(every_way(cell, {}), every_way(cell, cell.init(KEY, D)))


def test_no_params_inside_a_wrapper_that_has_some():
    cell = OutputProjectionWrapper(Sum(), 2)
    params = cell.init(KEY, D)
    close(every_way(cell, {"projection": params["projection"]}), every_way(cell, params))


# ---- states in other containers


@pytest.mark.parametrize(
    ("cell", "other"),
    [
        (LSTMCell(5), lambda state: tuple(state)),
        (LSTMCell(5), lambda state: list(state)),
        (MultiRNNCell([LSTMCell(5), GRUCell(2)]), lambda state: [tuple(state[0]), state[1]]),
        (DropoutWrapper(MultiRNNCell([LSTMCell(5), ResidualWrapper(LSTMCell(5))])), lambda state: list(map(list, state))),
    ],
    ids=["tuple", "list", "stack", "nested"],
)
def test_states_as_plain_tuples_and_lists(cell, other):
    params = cell.init(KEY, D)
    state = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_state(B))
    close(every_way(cell, params, state=other(state)), every_way(cell, params, state=state))


def test_states_of_a_loop_as_plain_tuples():
    cell = LSTMCell(D)
    params = cell.init(KEY, D)

    def loop_fn(kind, time, output, state, loop_state):
        state = cell.initial_state(B) if state is None else state
        return jnp.zeros(B, bool), state.h, kind(state), output, None

    run = lambda kind: jaxrnn.raw_rnn(cell, params, lambda *args: loop_fn(kind, *args), max_steps=3)
    close(run(tuple), run(lambda state: state))


def test_a_plan_for_a_state_in_a_tuple():
    cell, state = LSTMCell(5), (jnp.ones((B, 5)), jnp.ones((B, 5)))
    params = cell.init(KEY, D)
    plan = jaxrnn.plan_memory(cell, params, INPUTS, 10**9, initial_state=list(state))
    close(
        jaxrnn.dynamic_rnn(cell, params, INPUTS, memory=plan, initial_state=state),
        jaxrnn.dynamic_rnn(cell, params, INPUTS, initial_state=jaxrnn.LSTMStateTuple(*state)),
    )


# ---- dtypes


def test_a_dtype_is_not_none(x64):
    cell = LSTMCell(2)
    params, inputs = cell.init(KEY, D), INPUTS.astype(jnp.float32)
    steps = [inputs[:, t] for t in range(T)]
    runs = {
        "dynamic": lambda **o: jaxrnn.dynamic_rnn(cell, params, inputs, **o)[1].c,
        "truncated": lambda **o: jaxrnn.truncated_rnn(cell, params, inputs, k1=T, **o)[1].state.c,
        "bidirectional": lambda **o: jaxrnn.bidirectional_dynamic_rnn(cell, cell, (params, params), inputs, **o)[1][1].c,
        "static": lambda **o: jaxrnn.static_rnn(cell, params, steps, **o)[1].c,
    }
    with jax.numpy_dtype_promotion("standard"):
        for name, run in runs.items():
            assert [run().dtype, run(dtype=jnp.float64).dtype, run().dtype] == ["float32", "float64", "float32"], name
            jax.clear_caches()
            assert [run(dtype=np.float64).dtype, run().dtype] == ["float64", "float32"], name
        size = lambda **o: jaxrnn.memory_plans(cell, params, inputs, **o).plans[0].device_bytes
        assert size() < size(dtype=float) and size() == size(dtype="float32")


@dataclasses.dataclass(frozen=True)
class Typed(jaxrnn.RNNCell):
    """A cell that holds a dtype, or None in its place: the two are equal, as Python compares them."""

    kind: Any = None
    state_size = output_size = D

    def init(self, key, input_size, dtype=jnp.float32):
        return {}

    def project(self, params, inputs):
        return inputs

    def recur(self, params, state):
        return state

    def gates(self, params, z, r, state):
        return z + r + (0 if self.kind is None else 1)

    def combine(self, params, g, state):
        return g, g


def test_cells_that_hold_a_dtype_or_none():
    assert Typed() == Typed(np.dtype("float64"))
    run = lambda cell: jaxrnn.dynamic_rnn(cell, {}, INPUTS)[1]
    close(run(Typed(np.dtype("float64"))) - run(Typed()), jnp.full((B, D), T))


class Counting(GRUCell):
    """It says how often a run of it was traced."""

    traces = []  # noqa: RUF012

    def initial_state(self, batch_size, dtype=jnp.float32):
        self.traces.append(0)
        return super().initial_state(batch_size, dtype)


@pytest.mark.parametrize("dtype", ["float32", np.float32, jnp.float32, np.dtype("float32"), float])
def test_dtypes_are_canonical(dtype):
    cell, traces = Counting(2), Counting.traces
    params = cell.init(KEY, D)
    for runner, inputs in ((jaxrnn.static_rnn, STEPS), (jaxrnn.dynamic_rnn, INPUTS)):
        runner(cell, params, inputs, dtype=jnp.float32)
        before = len(traces)
        runner(cell, params, inputs, dtype=dtype)
        assert 0 < before == len(traces)
        runner(cell, params, inputs, dtype=dtype, initial_state=cell.initial_state(B))


# ---- ids


def test_dropout_leaves_ids_alone():
    def cell(params, inputs, state):
        return {"x": inputs["x"], "id": inputs["id"], "on": inputs["on"]}, state + inputs["x"]

    class Mixed(Plain):
        def __call__(self, params, inputs, state):
            return cell(params, inputs, state)

    wrapped = DropoutWrapper(Mixed(D), 0.5, 0.5)
    ids, on = jnp.arange(B * T).reshape(B, T), jnp.ones((B, T), bool)
    outputs, _ = jaxrnn.dynamic_rnn(wrapped, {"w": jnp.ones((3, 3))}, {"x": INPUTS, "id": ids, "on": on}, key=KEY)
    close((outputs["id"], outputs["on"]), (ids, on))
    assert np.any(outputs["x"] == 0)


def test_dropout_inside_an_embedding():
    cell = EmbeddingWrapper(DropoutWrapper(GRUCell(3), input_keep_prob=0.5), 7, 4)
    ids = jnp.arange(B * T).reshape(B, T) % 7
    jaxrnn.dynamic_rnn(cell, cell.init(KEY), ids, key=KEY)
    outside = DropoutWrapper(EmbeddingWrapper(GRUCell(3), 7, 4), input_keep_prob=0.5)
    jaxrnn.dynamic_rnn(outside, outside.init(KEY, None), ids)  # without a key nothing is dropped


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A state of a float, a counter, a flag and a key of its own in every row."""

    def init(self, key, input_size, dtype):
        return {"w": jnp.ones(input_size, dtype)}

    def initial_state(self, batch_size, dtype=jnp.float32):
        zeros = jnp.zeros((batch_size, D), dtype)
        flags = jnp.zeros(batch_size, bool)
        return {"h": zeros, "n": jnp.zeros(batch_size, jnp.int32), "on": flags, "key": jax.random.split(KEY, batch_size)}

    def __call__(self, params, inputs, state):
        keys = jax.vmap(jax.random.split)(state["key"])
        noise = jax.vmap(lambda key: jax.random.normal(key, (D,), inputs.dtype))(keys[:, 0])
        h = jnp.tanh(state["h"] + inputs * jnp.broadcast_to(params["w"], inputs.shape) + noise)
        return h, {"h": h, "n": state["n"] + 1, "on": ~state["on"], "key": keys[:, 1]}


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(Drawing(), marks=pytest.mark.slow),
        MultiRNNCell([Drawing(), GRUCell(2)]),
        ResidualWrapper(Drawing()),
    ],
)
def test_a_returned_state_of_any_kind_is_taken_again(cell):
    params = cell.init(KEY, D, jnp.float32)
    data = lambda tree: jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )
    for run in (
        lambda x, state: jaxrnn.dynamic_rnn(cell, params, x, initial_state=state, sequence_length=[x.shape[1]] * B),
        lambda x, state: jaxrnn.static_rnn(cell, params, list(jnp.moveaxis(x, 1, 0)), initial_state=state),
    ):
        state = run(INPUTS[:, :2], None)[1]
        close(data(run(INPUTS[:, 2:], state)[1]), data(run(INPUTS, None)[1]))


def test_state_dropout_leaves_other_kinds_alone():
    cell = DropoutWrapper(Drawing(), state_keep_prob=0.5)
    _, state = jaxrnn.dynamic_rnn(cell, cell.init(KEY, D), INPUTS, key=KEY)
    assert list(state["n"]) == [T] * B and np.all(state["on"]) and np.any(state["h"] == 0)


@pytest.mark.parametrize(("dtype", "size"), [("int8", 300), ("uint8", 300), ("int32", 7), ("uint32", 7), ("int16", 7)])
def test_ids_read_the_nearest_row(dtype, size):
    cell = EmbeddingWrapper(GRUCell(3), size, 2)
    params = cell.init(KEY)
    limits = np.iinfo(dtype)
    ids = np.array([0, 1, size, limits.max, limits.min, size - 1, -1, -2]).clip(limits.min, limits.max).astype(dtype)
    nearest = np.clip(ids.astype(np.int64), 0, size - 1).astype(np.int32)
    loss = lambda params, ids: jnp.sum(jaxrnn.dynamic_rnn(cell, params, ids[:, None])[0] ** 2)
    grads = [jax.value_and_grad(loss)(params, jnp.asarray(x)) for x in (ids, nearest)]
    close(*grads)


# ---- widths of 0


@pytest.mark.parametrize(
    "row",
    fast_if(lambda row: row.name in ("basic", "lstm_full"), [row for row in ROWS if not row.ids]),
    ids=lambda row: row.name,
)
def test_inputs_without_features(row):
    cell = ResidualWrapper(GRUCell(3), sides) if row.name == "residual" else row.cell
    params = cell.init(KEY, 0)
    inputs, state = jnp.zeros((B, T, 0)), jax.tree.map(jnp.ones_like, cell.initial_state(B))
    every_way(cell, params, inputs, state)
    for memory in ("save", "recompute"):
        run = lambda params: jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=state, memory=memory)
        loss = lambda params: jnp.sum(run(params)[0] ** 2)
        want = lambda params: jnp.sum(by_hand(cell, params, inputs, state)[0] ** 2)
        close(jax.grad(loss)(params), jax.grad(want)(params))


@dataclasses.dataclass
class Scaled:
    """An activation without a hash."""

    factor: float

    def __call__(self, a):
        return jnp.tanh(a) * self.factor


def test_weights_of_a_cell_without_a_hash():
    want = GRUCell(3).init(KEY, D)
    close(GRUCell(3, activation=Scaled(2.0)).init(KEY, D), want)


def test_recurrent_weights_are_orthogonal_in_every_spelling(x64):
    for dtype in ("float64", float, np.float64, jnp.float64):
        u = jaxrnn.BasicRNNCell(5).init(KEY, D, dtype)["recurrent_kernel"]
        np.testing.assert_allclose(u @ u.T, np.eye(5), atol=1e-14)


# ---- arguments of other kinds


def test_flags_of_numpy():
    cell = LSTMCell(2, use_peepholes=np.bool_(True))
    assert cell == LSTMCell(2, use_peepholes=True)
    params = cell.init(KEY, D)
    close(
        jaxrnn.dynamic_rnn(cell, params, INPUTS, reverse=np.bool_(True), time_major=np.bool_(False), swap_memory=np.False_),
        jaxrnn.dynamic_rnn(cell, params, INPUTS, reverse=True),
    )


# ---- what README says to write instead of TF1's


def test_basic_lstm_cell():
    """TF1's equations, one kernel for inputs and state, gates i, j, f, o, and forget_bias added in every step."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(D + 2, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    cell = LSTMCell(2)
    params = jaxrnn.interop.from_tf1(cell, {"rnn/basic_lstm_cell/kernel:0": kernel, "rnn/basic_lstm_cell/bias:0": bias})
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    c, h = np.zeros((2, B, 2), np.float32)
    for x in STEPS:
        i, j, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, axis=1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
    _, state = jaxrnn.dynamic_rnn(cell, params, INPUTS)
    close(tuple(state), (c, h), rtol=1e-4)
    joined = jnp.concatenate(state, axis=1)  # state_is_tuple=False
    c, h = jnp.split(joined, 2, axis=1)
    close(
        jaxrnn.dynamic_rnn(cell, params, INPUTS, initial_state=(c, h)),
        jaxrnn.dynamic_rnn(cell, params, INPUTS, initial_state=state),
    )


def test_a_state_that_is_kept():
    cell = LSTMCell(2)
    params = cell.init(KEY, D)
    whole, last = jaxrnn.static_rnn(cell, params, STEPS)
    begun, state = jaxrnn.static_rnn(cell, params, STEPS[:2])
    ended, state = jaxrnn.static_rnn(cell, params, STEPS[2:], initial_state=state)
    close((begun + ended, state), (whole, last))


def test_reversed_sequences():
    """The first n steps of each row reversed, the rest in place; so are the outputs of TF1's backward cell, at last."""
    cell, n, t = GRUCell(2), jnp.array([5, 0, 2, 3]), jnp.arange(T)[None]
    params = cell.init(KEY, D)
    turn = lambda X: jnp.take_along_axis(X, jnp.where(t < n[:, None], n[:, None] - 1 - t, t)[..., None], axis=1)
    for row, (before, after) in enumerate(zip(INPUTS, turn(INPUTS), strict=True)):
        close(after, jnp.concatenate([before[: n[row]][::-1], before[n[row] :]]))
    outputs, state = jaxrnn.dynamic_rnn(cell, params, turn(INPUTS), sequence_length=n)
    close(jaxrnn.dynamic_rnn(cell, params, INPUTS, sequence_length=n, reverse=True), (turn(outputs), state))
