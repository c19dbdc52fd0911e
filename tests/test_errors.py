"""Bad input is met by an error that says what was expected, what came and what to do, before XLA's own."""

import collections
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

CELL = jaxrnn.LSTMCell(5)
KEY = jax.random.key(0)
PARAMS = CELL.init(KEY, 3)
INPUTS = jnp.ones((4, 7, 3))
STEPS = [INPUTS[:, t] for t in range(7)]
STATE = CELL.initial_state(4)
RESETS = np.zeros((4, 7), bool)
DROPPED = jaxrnn.DropoutWrapper(CELL, 0.5)
State = collections.namedtuple("State", ["hidden", "cell"])
HOST = jax.sharding.SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
IDS = jaxrnn.EmbeddingWrapper(CELL, 10, 3)


def function(params, inputs, state):
    """A cell."""
    return inputs, state + inputs


@dataclasses.dataclass(frozen=True)
class Held(jaxrnn.GRUCell):
    """A cell that holds what it should not."""

    w: Any = None


@dataclasses.dataclass
class Thawed(jaxrnn.GRUCell.__mro__[1]):
    """A cell that is not frozen."""

    num_units: int = 5
    state_size = output_size = 5
    project = recur = gates = combine = lambda self, *args: args


class Half(jaxrnn.RNNCell):
    """A class with half of what it needs."""

    state_size = output_size = 3

    def project(self, params, inputs):
        return inputs

    def gates(self, params, z, r, state):
        return z


@dataclasses.dataclass(frozen=True)
class Noisy(jaxrnn.GRUCell):
    """A cell that draws where no key comes."""

    num_units: int = 5

    def gates(self, params, z, r, state, key=None):
        return super().gates(params, z, r, state)


@dataclasses.dataclass(frozen=True)
class NoState(jaxrnn.RNNCell):
    """A cell that says nothing of its state."""

    def __call__(self, params, inputs, state, *, key=None):
        return inputs, state


@dataclasses.dataclass(frozen=True)
class Returns(jaxrnn.RNNCell):
    """A cell that returns as many things."""

    count: int
    state_size = output_size = 3

    def __call__(self, params, inputs, state, *, key=None):
        return (state,) * self.count if self.count else state


def dynamic(cell=CELL, params=PARAMS, inputs=INPUTS, **options):
    return lambda: jaxrnn.dynamic_rnn(cell, params, inputs, **options)


def static(cell=CELL, params=PARAMS, inputs=STEPS, **options):
    return lambda: jaxrnn.static_rnn(cell, params, inputs, **options)


def truncated(cell=CELL, params=PARAMS, inputs=INPUTS, **options):
    return lambda: jaxrnn.truncated_rnn(cell, params, inputs, **options)


def raw(cell=CELL, params=PARAMS, loop_fn=None, max_steps=5, first=None, later=None, **options):
    """`raw_rnn` with a loop_fn of which the first call, and the later calls, return these parts instead, by their places."""
    start = {0: jnp.zeros(4, bool), 1: INPUTS[:, 0], 2: STATE, 3: None, 4: None} | (first or {})

    def changing(time, output, state, loop_state):
        result = start if state is None else start | {2: state, 3: output} | (later or {})
        return tuple(result.values())

    return lambda: jaxrnn.raw_rnn(cell, params, loop_fn or changing, max_steps=max_steps, **options)


def on_explicit_axes(call):
    def run():
        with jax.set_mesh(jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))):
            return call()

    return run


def in_shard_map(call):
    run = lambda _: (call(), jnp.zeros(1))[1]
    mesh, spec = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)), jax.sharding.PartitionSpec("data")
    return lambda: jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec)(jnp.zeros(8))


def stacked(cells_fw=(CELL,), cells_bw=(CELL,), params=((PARAMS, PARAMS),), **options):
    return lambda: jaxrnn.stack_bidirectional_dynamic_rnn(cells_fw, cells_bw, params, INPUTS, **options)


def under_jit(call):
    return lambda: jax.jit(call)()


def bidirectional(**options):
    return lambda: jaxrnn.bidirectional_dynamic_rnn(CELL, CELL, (PARAMS, PARAMS), INPUTS, **options)


def static_bidirectional(**options):
    return lambda: jaxrnn.static_bidirectional_rnn(CELL, CELL, (PARAMS, PARAMS), STEPS, **options)


def planned(inputs=INPUTS, **options):
    return lambda: jaxrnn.memory_plans(CELL, PARAMS, inputs, **options)


def step(cell=CELL, params=PARAMS, inputs=INPUTS[:, 0], state=STATE, **options):
    return lambda: cell(params, inputs, state, **options)


def everywhere(**options):
    """An option that all runners have."""
    calls = [truncated(k1=7, **options), bidirectional(**options), stacked(**options)]
    return [*both(**options), *calls]


def with_lengths(lengths):
    calls = [bidirectional, static_bidirectional, stacked, planned]
    return [*both(sequence_length=lengths), *(call(sequence_length=lengths) for call in calls)]


def traced(use):
    """`use` of an array that is traced."""
    return lambda: jax.jit(use)(1.0)


def both(**options):
    return [dynamic(**options), static(**options), under_jit(dynamic(**options))]


ROWS = [
    # the cells
    ([lambda: jaxrnn.LSTMCell(0)], ValueError, r"LSTMCell: expected num_units to be at least 1, got 0"),
    ([lambda: jaxrnn.GRUCell(2.5)], TypeError, r"GRUCell: expected num_units to be an int, got a float: 2.5"),
    ([lambda: jaxrnn.BasicRNNCell(-1)], ValueError, r"BasicRNNCell: expected num_units to be at least 1, got -1"),
    ([lambda: jaxrnn.LSTMCell(2, num_proj=0)], ValueError, r"expected num_proj to be at least 1, got 0"),
    ([lambda: jaxrnn.LSTMCell(2, cell_clip=0.0)], ValueError, r"expected cell_clip to be above 0, got 0.0. Leave it None"),
    ([lambda: jaxrnn.LSTMCell(2, proj_clip=1.0)], ValueError, r"expected num_proj beside proj_clip=1.0, got num_proj=None"),
    ([lambda: jaxrnn.MultiRNNCell([])], ValueError, r"MultiRNNCell: expected at least one cell, got an empty list"),
    ([lambda: jaxrnn.MultiRNNCell(CELL)], TypeError, r"MultiRNNCell: expected a list or tuple of cells, got a LSTMCell"),
    ([lambda: jaxrnn.MultiRNNCell([5])], TypeError, r"MultiRNNCell: expected a cell, got a int: 5"),
    ([lambda: jaxrnn.MultiRNNCell([function])], TypeError, r"expected a cell with init and initial_state.*RNNCell"),
    ([lambda: jaxrnn.ResidualWrapper(3)], TypeError, r"ResidualWrapper: expected a cell, got a int: 3"),
    ([lambda: jaxrnn.DropoutWrapper(CELL, input_keep_prob=1.5)], ValueError,
     r"DropoutWrapper: expected input_keep_prob to be in \[0, 1\], got 1.5. It is the probability to keep"),
    ([lambda: jaxrnn.DropoutWrapper(CELL, state_keep_prob=-0.1)], ValueError, r"expected state_keep_prob to be in \[0, 1\]"),
    ([lambda: jaxrnn.DropoutWrapper(CELL, output_keep_prob=np.nan)], ValueError, r"expected output_keep_prob to be in"),
    ([lambda: jaxrnn.InputProjectionWrapper(CELL, 0)], ValueError, r"expected num_proj to be at least 1, got 0"),
    ([lambda: jaxrnn.OutputProjectionWrapper(CELL, 0)], ValueError, r"expected output_size to be at least 1, got 0"),
    ([lambda: jaxrnn.EmbeddingWrapper(CELL, 0, 3)], ValueError, r"expected embedding_classes to be at least 1, got 0"),
    ([lambda: jaxrnn.LSTMCell(True), lambda: jaxrnn.LSTMCell(None), lambda: jaxrnn.LSTMCell("5"), lambda: jaxrnn.LSTMCell(5.0),
      lambda: jaxrnn.LSTMCell(np.ones(1, int))], TypeError, r"LSTMCell: expected num_units to be an int, got"),
    ([lambda: jaxrnn.LSTMCell(2, forget_bias=None), lambda: jaxrnn.LSTMCell(2, forget_bias=True),
      lambda: jaxrnn.LSTMCell(2, forget_bias=1j), lambda: jaxrnn.LSTMCell(2, forget_bias=np.ones(2))], TypeError,
     r"LSTMCell: expected forget_bias to be a number, got"),
    ([lambda: jaxrnn.LSTMCell(2, forget_bias=np.nan)], ValueError, r"expected forget_bias to be finite, got nan"),
    ([lambda: jaxrnn.LSTMCell(2, cell_clip="1"), lambda: jaxrnn.LSTMCell(2, cell_clip=True)], TypeError,
     r"LSTMCell: expected cell_clip to be a number, got"),
    ([lambda: jaxrnn.DropoutWrapper(CELL, True), lambda: jaxrnn.DropoutWrapper(CELL, None)], TypeError,
     r"DropoutWrapper: expected input_keep_prob to be a number, got"),
    ([lambda: jaxrnn.DropoutWrapper(CELL, jnp.float32(0.5)), traced(lambda keep: jaxrnn.DropoutWrapper(CELL, keep))], TypeError,
     r"input_keep_prob to be a number, got .*A cell holds no arrays: build it anew for each value, dataclasses.replace\(cell, "
     r"input_keep_prob=...\), and each is compiled once. Dropout acts only where a key is given: leave the key out at test time"),
    ([lambda: jaxrnn.LSTMCell(jnp.int32(2)), lambda: jaxrnn.LSTMCell(2, forget_bias=jnp.ones(())),
      traced(lambda clip: jaxrnn.LSTMCell(2, cell_clip=clip))], TypeError, r"A cell holds no arrays: build it anew"),
    ([lambda: jaxrnn.LSTMCell(2, use_peepholes=1), lambda: jaxrnn.GRUCell(2, reset_after=jnp.array(True)),
      lambda: jaxrnn.DropoutWrapper(CELL, variational_recurrent=None)], TypeError, r"expected True or False, got"),
    ([lambda: jaxrnn.LSTMCell(2, activation="tanh"), lambda: jaxrnn.BasicRNNCell(2, activation=3)], TypeError,
     r"expected activation to be a function, such as jnp.tanh, or None, got a (str|int)"),
    ([lambda: jaxrnn.ResidualWrapper(CELL, "sum")], TypeError, r"expected residual_fn to be a function"),
    ([lambda: c.init(0, 3) for c in (CELL, jaxrnn.GRUCell(2), jaxrnn.BasicRNNCell(2), IDS, jaxrnn.MultiRNNCell([CELL]),
                                     jaxrnn.InputProjectionWrapper(CELL, 2), jaxrnn.OutputProjectionWrapper(CELL, 2))],
     TypeError, r"key: expected one PRNG key, got a int: 0. Make it with jax.random.key\(seed\)"),
    ([lambda: CELL.init(KEY, None), lambda: CELL.init(KEY, 3.0), lambda: CELL.init(KEY, (3,))], TypeError,
     r"input_size: expected an int, the D of inputs \[B, D\], got"),
    ([lambda: CELL.initial_state(None), lambda: jaxrnn.MultiRNNCell([CELL]).initial_state(4.0), lambda: CELL.initial_state(INPUTS)],
     TypeError, r"batch_size: expected an int, got .* It is a shape: inputs.shape\[0\], say"),
    ([lambda: CELL.initial_state(-1)], ValueError, r"batch_size: expected 0 or more, got -1"),
    ([lambda: CELL.init(KEY, -1)], ValueError, r"input_size: expected 0 or more, got -1"),
    # cells of users' own
    ([*both(cell=Half()), raw(cell=Half()), step(Half()), lambda: jaxrnn.ResidualWrapper(Half())], TypeError,
     r"Half: expected a cell in four functions \(project, recur, gates, combine\), or with a __call__, got one without recur, combine"),
    ([*both(cell=Noisy()), step(Noisy()), lambda: jaxrnn.ResidualWrapper(Noisy())], TypeError,
     r"Noisy: expected `project` alone to have an argument key, got one of gates. Draw in project\(params, inputs, \*, key=None\)"),
    ([*both(cell=Held(5, w=INPUTS)), step(Held(5, w=INPUTS)), lambda: jaxrnn.DropoutWrapper(Held(5, w=INPUTS)), raw(cell=Held(5, w=[1]))],
     TypeError, r"Held: expected a hashable, frozen cell, got one whose w is (float32\[4, 7, 3\]|a list: \[1\]). Make it a dataclass\("),
    ([*both(cell=Thawed()), step(Thawed()), lambda: jaxrnn.MultiRNNCell([Thawed()])], TypeError,
     r"Thawed: expected a hashable, frozen cell, got one without a hash. Make it a dataclass\(frozen=True\)"),
    (both(cell=NoState()) + both(cell=jaxrnn.DropoutWrapper(NoState())), ValueError,
     r"NoState\(\).*: expected an initial_state, got None. .*give a pytree of arrays \[B, ...\]"),
    ([f for n in (0, 1, 3) for f in [static(cell=Returns(n)), step(jaxrnn.ResidualWrapper(Returns(n)), state=STATE.h[:, :3])]],
     TypeError, r"Returns\(count=.*expected a step to return the pair \(output, new_state\), got (1 things|3 things|float32\[4, 3\])"),
    (both(cell=lambda p, x, s: (x, s, s), initial_state=STATE) + both(cell=lambda p, x, s: s.h, initial_state=STATE)
     + [raw(cell=lambda p, x, s: (x, s, s))], TypeError, r"expected a step to return the pair \(output, new_state\), got"),
    ([static(cell=jaxrnn.MultiRNNCell([CELL, Returns(2)]), params={"cell_0": PARAMS},
             initial_state=(STATE, jnp.zeros((4, 2))))], ValueError, r"expected state\[1\] of shape \(4, 3\), got shape \(4, 2\)"),
    # what is run
    (both(cell=7), TypeError, r"(static|dynamic)_rnn: expected a cell, got a int: 7. A cell is a jaxrnn cell or any function"),
    (both(cell=jaxrnn.LSTMCell), TypeError, r"expected a cell, got the class LSTMCell. Make one: LSTMCell\(...\)"),
    (both(cell=function), ValueError, r"function: expected an initial_state, got None. .*give a pytree of arrays \[B, ...\]"),
    # inputs
    ([dynamic(inputs=INPUTS[0, 0])], ValueError, r"inputs: expected \[B, T, ...\], got float32\[3\]. Add the missing"),
    ([dynamic(inputs=INPUTS[0, 0], time_major=True)], ValueError, r"inputs: expected \[T, B, ...\], got float32\[3\]"),
    ([dynamic(inputs=INPUTS[0])], ValueError, r"expected inputs of a step to be \[B, D\] \(of a sequence: \[B, T, D\]\), got"),
    ([dynamic(inputs=INPUTS[..., None])], ValueError, r"got a step of float32\[4, 3, 1\]. Reshape the features to one axis"),
    ([dynamic(inputs=())], ValueError, r"inputs: expected at least one array \[B, T, ...\], got none"),
    ([dynamic(inputs="text")], TypeError, r"inputs: expected an array, got a str: 'text'"),
    ([dynamic(inputs=(INPUTS, INPUTS[:, :5]))], ValueError, r"inputs\[1\]: expected the same time steps T in every leaf, 7 as"),
    ([dynamic(inputs={"a": INPUTS, "b": INPUTS[:2]})], ValueError, r"inputs\['b'\]: expected the same batch size B .* got 2"),
    ([dynamic(inputs=INPUTS.astype(jnp.int32)), static(inputs=[INPUTS[:, 0].astype(jnp.int32)])], TypeError,
     r"LSTMCell\(.*expected floating inputs, got int32\[4, 3\]. Convert them, or wrap the cell in an EmbeddingWrapper"),
    ([dynamic(cell=IDS, params=IDS.init(KEY))], TypeError, r"EmbeddingWrapper\(.*expected integer ids as inputs, got float32"),
    ([dynamic(cell=IDS, params=IDS.init(KEY), inputs=jnp.ones((4, 7, 2), int))], ValueError,
     r"expected the ids of a step to be \[B\] or \[B, 1\] \(of a sequence: \[B, T\]\), got a step of int32\[4, 2\]"),
    ([static(inputs=INPUTS)], TypeError, r"static_rnn: expected inputs to be a list of T steps \[B, ...\], got float32.*dynamic_rnn"),
    ([static(inputs=[])], ValueError, r"static_rnn: expected at least one step, got an empty list. dynamic_rnn takes T = 0"),
    ([static(inputs=[INPUTS[:, 0], INPUTS[:2, 0]])], ValueError, r"static_rnn: expected every step like the first.* at step 1"),
    ([static(inputs=[jnp.float32(1)])], ValueError, r"inputs: expected a step \[B, ...\], got float32\[\]. Add the batch axis"),
    # lengths
    (both(sequence_length=jnp.ones((4, 1), int)), ValueError, r"must be a vector \[B\].*expected shape \(4,\), got int32\[4, 1\]"),
    (both(sequence_length=3), ValueError, r"sequence_length must be a vector \[B\] .* got int32\[\]"),
    (both(sequence_length=jnp.ones(3, int)), ValueError, r"must be a vector \[B\] .*expected shape \(4,\), got int32\[3\]"),
    (both(sequence_length=jnp.ones(4)), TypeError, r"sequence_length: expected integers, got float32\[4\]. Convert it with"),
    (both(sequence_length=jnp.ones(4, bool)), TypeError, r"sequence_length: expected integers, got bool\[4\]"),
    ([dynamic(sequence_length=np.array([1, 8, 7, 0])), static(sequence_length=np.array([1, 8, 7, 0])),
      under_jit(dynamic(sequence_length=np.array([1, 8, 7, 0])))], ValueError,
     r"sequence_length: expected lengths in \[0, T\] = \[0, 7\], got values from 0 to 8. Clip them"),
    (both(sequence_length=np.array([1, -2, 7, 0])), ValueError, r"got values from -2 to 7. Clip them, or pad the inputs"),
    ([f for n in ({"a": 1}, {1, 2}, [[1, 2], [3]], "ab", [4, None, 1, 2], object(), np.array(["a"] * 4)) for f in with_lengths(n)],
     TypeError, r"sequence_length: expected an array of integers \[B\], got .*Pass an array, or a list of equally many numbers"),
    (with_lengths([[1, 2], [3, 4]]), ValueError, r"must be a vector \[B\].*got int32\[2, 2\]"),
    (with_lengths(KEY), TypeError, r"sequence_length: expected integers, got key<fry>\[\]"),
    ([traced(lambda n: dynamic(sequence_length=[n, None, 1, 2])())], TypeError, r"sequence_length: expected an array of integers"),
    ([traced(lambda n: dynamic(sequence_length=[n, n, n, n])())], TypeError, r"sequence_length: expected integers, got float32\[4\]"),
    ([f for r in ({"a": 1}, {1}, [[True], [False, True]], "ab", [None]) for f in
      [dynamic(resets=r), truncated(k1=7, resets=r), bidirectional(resets=r), stacked(resets=r), planned(resets=r)]], TypeError,
     r"resets: expected an array of booleans \[B, T\], got a .*Pass an array, or a list of equally many numbers a row"),
    # states
    (both(initial_state=(jnp.zeros((4, 5)),)), ValueError, r"LSTMCell.*expected a state of the structure.*got.*Build it like"),
    (both(initial_state=CELL.initial_state(3)), ValueError,
     r"LSTMCell.*expected state.c of shape \(4, 5\), got shape \(3, 5\). Build it like cell.initial_state\(4\)"),
    (both(initial_state=jax.tree.map(lambda s: s.astype(int), STATE)), TypeError,
     r"expected state.c to be floating, got int32\[4, 5\]. Convert it"),
    (both(initial_state=(STATE.c, STATE.h, STATE.h)) + both(initial_state=State(STATE.c, STATE.h)), ValueError,
     r"LSTMCell.*expected a state of the structure.*LSTMStateTuple.*, got.*Build it like"),
    ([*both(initial_state=(STATE.c, STATE.h[:3])), raw(first={2: (STATE.c, STATE.h[:3])}), step(state=[STATE.c, STATE.h[:3]])],
     ValueError, r"expected state.h of shape \(4, 5\), got shape \(3, 5\)"),
    (everywhere(dtype=int) + everywhere(dtype=bool) + everywhere(dtype="int8"), TypeError,
     r"dtype: expected a floating dtype, got (int32|bool|int8). It is the state's: pass one such as jnp.float32"),
    ([f for d in ("abc", 3, KEY.dtype, INPUTS) for f in everywhere(dtype=d)], TypeError,
     r"dtype: expected a floating dtype, got .*. Pass one such as jnp.float32"),
    (both(initial_state=STATE, dtype=jnp.bfloat16), ValueError, r"initial_state.c: expected dtype bfloat16, as the argument"),
    (both(cell=function, initial_state=jnp.zeros((2, 3))), ValueError, r"initial_state: expected \[B, ...\] with B = 4, got"),
    (both(cell=lambda p, x, s: (s, x.astype(jnp.bfloat16)), initial_state=jnp.zeros((4, 3))), ValueError,
     r"expected the new state to be float32\[4, 3\], as the state, got bfloat16\[4, 3\]. Cast it in the cell"),
    (both(cell=lambda p, x, s: (s, (s, x)), initial_state=jnp.zeros((4, 3))), ValueError,
     r"expected the new state to have the structure of the state.*A cell returns \(output, new_state\), in this order"),
    # params
    (both(params=jaxrnn.GRUCell(5).init(KEY, 3)), ValueError,
     r"LSTMCell\(num_units=5.*the params are not this cell's. They have params\['recurrent_bias'\].*Pass what cell.init\(key, 3\)"),
    (both(params={k: v for k, v in PARAMS.items() if k != "bias"}), ValueError, r"They lack params\['bias'\]. Pass what"),
    (both(params=CELL.init(KEY, 2)), ValueError,
     r"expected params\['kernel'\] of shape \(3, 20\) for inputs of size 3, got shape \(2, 20\). Pass what cell.init\(key, 3\)"),
    (both(params=jaxrnn.LSTMCell(4).init(KEY, 3)), ValueError, r"LSTMCell\(num_units=5.*params\['bias'\] of shape \(20,\)"),
    ([dynamic(params={**PARAMS, "bias": None})], ValueError, r"They lack params\['bias'\]"),
    ([dynamic(params={**PARAMS, "bias": "zeros"})], TypeError, r"params\['bias'\]: expected an array, got a str"),
    ([lambda: CELL(CELL.init(KEY, 2), INPUTS[:, 0], STATE)], ValueError, r"params\['kernel'\] of shape \(3, 20\)"),
    ([lambda: CELL(PARAMS, INPUTS[:, 0], CELL.initial_state(3))], ValueError, r"expected state.c of shape \(4, 5\)"),
    ([lambda: jaxrnn.MultiRNNCell([CELL, CELL])({"cell_0": PARAMS}, INPUTS[:, 0], (STATE, STATE))], ValueError,
     r"MultiRNNCell.*They lack params\['cell_1'\]\['bias'\]"),
    ([dynamic(cell=jaxrnn.ResidualWrapper(CELL))], ValueError,
     r"ResidualWrapper.*expected inputs like the inner cell's outputs, \['float32\[4, 5\]'\], got \['float32\[4, 3\]'\]. Make"),
    # options
    ([dynamic(memory="disk")], ValueError,
     r"memory: expected one of 'save', 'recompute', 'recursive', 'offload', a budget .*, got 'disk'"),
    ([dynamic(memory=1e9), dynamic(memory=None), dynamic(memory=True)], ValueError, r"a plan, or a jax.checkpoint policy, got"),
    ([dynamic(memory=0), dynamic(memory=-8)], ValueError, r"budget: expected at least 1 byte of device memory, got (0|-8)"),
    ([bidirectional(memory=-8), stacked(memory=-8)], ValueError, r"budget: expected at least 1 byte of device memory, got -8"),
    ([dynamic(memory=100)], ValueError, r"budget: expected at least \d+ bytes, the least .* got 100. Give more, or shorten"),
    ([lambda: jaxrnn.memory.recursive(0)], ValueError, r"levels: expected at least 1, got 0. None lets the library choose"),
    ([lambda: jaxrnn.memory.recursive(2.5)], TypeError, r"levels: expected an int or None, got a float: 2.5"),
    ([dynamic(memory="recompute", swap_memory=True)], ValueError, r"swap_memory=True is memory='offload'.*got memory='recompute'"),
    ([dynamic(chunk_size=0)], ValueError, r"chunk_size: expected at least 1 step, got 0. None lets the library choose"),
    ([dynamic(chunk_size=2.0)], TypeError, r"chunk_size: expected an int or None, got a float: 2.0"),
    ([dynamic(resets=jnp.zeros((4, 7)))], TypeError, r"resets: expected booleans, .* got float32\[4, 7\]. Convert with"),
    ([dynamic(resets=jnp.zeros((7, 4), bool))], ValueError, r"resets: expected \[B, T\] = \[4, 7\], as the inputs, got bool\[7, 4\]"),
    ([dynamic(mask=jnp.ones((4, 7))), static(mask=np.ones((4, 7)))], TypeError,
     r"mask: expected booleans, True where a step is run, got float(32|64)\[4, 7\]. Convert with"),
    ([dynamic(mask=jnp.zeros((7, 4), bool)), static(mask=np.zeros((4, 6), bool))], ValueError,
     r"mask: expected \[B, T\] = \[4, 7\], as the inputs, got bool\["),
    ([run(function, (), initial_state=INPUTS[:, 0], resets=RESETS) for run in (dynamic, static, functools.partial(truncated, k1=7))],
     ValueError, r"function: expected a reset_state beside resets, got None. .*give a pytree of arrays \[B, ...\]"),
    ([run(resets=RESETS, reset_state=STATE.h) for run in (dynamic, static)], ValueError,
     r"expected a reset_state of the structure .*LSTMStateTuple.*, got .*Build it like cell.initial_state\(4\)"),
    ([run(resets=RESETS, reset_state=CELL.initial_state(3)) for run in (dynamic, static)], ValueError,
     r"expected reset_state.c of shape \(4, 5\), got shape \(3, 5\)"),
    ([dynamic(resets=RESETS, reset_state=CELL.initial_state(4, jnp.bfloat16))], ValueError,
     r"reset_state.c: expected float32\[4, 5\], as the initial_state, got bfloat16\[4, 5\]"),
    ([dynamic(function, (), initial_state=INPUTS[:, 0], resets=RESETS, reset_state=(INPUTS[:, 0],))], ValueError,
     r"reset_state: expected the structure of the initial_state"),
    (both(key=jax.random.split(KEY, 2)), TypeError, r"key: expected one PRNG key, got key<fry>\[2\]. Make it with"),
    (both(key=jnp.zeros(2)), TypeError, r"key: expected one PRNG key, got float32\[2\]"),
    ([f for key in (0, "seed", [0, 1], jaxrnn.step_key(KEY, 0)) for f in
      [*everywhere(key=key), static_bidirectional(key=key), raw(key=key), planned(key=key), lambda: jaxrnn.step_key(key, 0),
       lambda: jaxrnn.testing.check_cell(CELL, key=key), lambda: jaxrnn.plan_memory(CELL, PARAMS, INPUTS, 10**9, key=key)]],
     TypeError, r"key: expected one PRNG key, got a (int|str|list|StepKey): .*Make it with jax.random.key\(seed\)"),
    ([step(key=0), step(DROPPED, key=0), step(jaxrnn.MultiRNNCell([CELL]), {"cell_0": PARAMS}, state=(STATE,), key=0),
      step(DROPPED, key=jaxrnn.StepKey(0, 1))], TypeError, r"key: expected one PRNG key, got a int: 0"),
    ([f for value in (1, None, "no", jnp.array(True)) for f in
      [*both(reverse=value), dynamic(time_major=value), truncated(k1=7, time_major=value), bidirectional(time_major=value),
       stacked(time_major=value), planned(time_major=value), planned(reverse=value), planned(input_gradient=value),
       dynamic(swap_memory=value), raw(swap_memory=value), bidirectional(swap_memory=value), stacked(swap_memory=value)]],
     TypeError, r"(reverse|time_major|swap_memory|input_gradient): expected True or False, got .*an array comes too late"),
    ([traced(lambda x: dynamic(reverse=x > 0)()), traced(lambda x: static(reverse=x > 0)())], TypeError, r"reverse: expected True or F"),
    ([dynamic(outside := jaxrnn.DropoutWrapper(IDS, 0.5), outside.init(KEY, None), jnp.ones((4, 7), int), key=KEY),
      step(outside, outside.init(KEY, None), jnp.ones(4, int), key=KEY)], TypeError,
     r"expected floating inputs to drop elements of, got int32\[4\]. Put .* inside: EmbeddingWrapper\(DropoutWrapper\(cell, ...\), ...\)"),
    ([planned(inputs="text"), planned(initial_state="text")], TypeError, r"(inputs|initial_state): expected an array, got a str"),
    ([lambda: jaxrnn.memory_plans(7, PARAMS, INPUTS)], TypeError, r"plan_memory: expected a cell, got a int"),
    # streams
    ([truncated(k1=0), truncated(k1=7, k2=3)], ValueError, r"k1, k2: expected 1 <= k1 <= k2, got k1=(0, k2=0|7, k2=3). A window"),
    ([truncated(k1=7.0), truncated(k1=7, k2="9")], TypeError, r"k(1|2): expected a number of steps, an int, got a (float|str)"),
    ([truncated(k1=3)], ValueError, r"inputs: expected T to be a multiple of k1=3, got T = 7. Keep the rest for the next call"),
    ([truncated(inputs=jax.device_put(STEPS[0][None], HOST), time_major=True, k1=1)], ValueError,
     r"inputs: expected the next piece of a stream on the device, got it in the host's memory. Move it with"),
    ([truncated(k1=7, memory=10**9), truncated(k1=7, memory="disk")], ValueError, r"memory: expected one of 'save',.* got"),
    ([truncated(k1=7, stream=STATE), truncated(k1=7, stream="text")], TypeError,
     r"stream: expected the StreamState that the call before returned, got a (LSTMStateTuple|str)"),
    (everywhere(initial_state="text")[:4], TypeError, r"initial_state: expected an array, got a str: 'text'"),
    ([truncated(k1=7, stream=jaxrnn.truncated_rnn(jaxrnn.GRUCell(5), jaxrnn.GRUCell(5).init(KEY, 3), INPUTS, k1=7)[1])],
     ValueError, r"stream.state: expected the structure .*LSTMStateTuple.*, got .*Pass what the call before returned, for the"),
    ([truncated(k1=7, stream=jaxrnn.truncated_rnn(CELL, PARAMS, INPUTS, k1=7)[1], resets=jnp.zeros((4, 7), bool))], ValueError,
     r"stream: expected no resets, as in the calls before, got resets. Pass resets in every call or in none"),
    ([truncated(k1=7, k2=9, stream=jaxrnn.truncated_rnn(CELL, PARAMS, INPUTS, k1=7, k2=8)[1])], ValueError,
     r"stream.inputs: expected float32\[2, 4, 3\], got float32\[1, 4, 3\]. Go on with the cell, batch, dtype, k1 and k2"),
    ([lambda: jaxrnn.bidirectional_dynamic_rnn(CELL, CELL, PARAMS, INPUTS),
      lambda: jaxrnn.static_bidirectional_rnn(CELL, CELL, PARAMS, STEPS)], TypeError,
     r"params: expected a pair \(forward, backward\), got a dict"),
    ([lambda: jaxrnn.bidirectional_dynamic_rnn(CELL, CELL, (PARAMS, PARAMS), INPUTS, memory=("save",) * 3)], TypeError,
     r"memory: expected a pair \(forward, backward\), got a tuple"),
    ([stacked(cells_fw=CELL)], TypeError, r"cells_fw: expected a list with one item a layer, got a LSTMCell"),
    ([stacked(initial_states_fw=STATE)], TypeError, r"initial_states_fw: expected a list with one item a layer, got a LSTMStateTuple"),
    ([stacked(cells_fw=[])], ValueError, r"cells_fw: expected at least one layer, got an empty list"),
    ([stacked(cells_bw=[CELL, CELL])], ValueError, r"cells_bw: expected 1 layers, as cells_fw has, got 2"),
    ([stacked(initial_states_bw=[])], ValueError, r"initial_states_bw: expected 1 layers, as cells_fw has, got 0"),
    ([stacked([CELL] * 2, [CELL] * 2, [(PARAMS, PARAMS)] * 2, memory=100)], ValueError, r"budget: expected at least \d+ bytes, .* got 25. Give more"),
    ([stacked(params=[PARAMS])], TypeError, r"params: expected a pair \(forward, backward\), got a dict"),
    # a loop's own inputs
    ([raw(cell=7)], TypeError, r"raw_rnn: expected a cell, got a int: 7"),
    ([on_explicit_axes(raw()), in_shard_map(raw())], ValueError, r"raw_rnn: expected a mesh with automatic axes, or none, got"),
    ([raw(loop_fn=7)], TypeError, r"raw_rnn: expected loop_fn to be a function \(time, cell_output, .*, got a int: 7"),
    ([raw(max_steps=2.5), raw(max_steps=None)], TypeError, r"max_steps: expected an int, got a (float|NoneType).*size of what is"),
    ([raw(max_steps=-1)], ValueError, r"max_steps: expected 0 or more, got -1"),
    ([raw(memory=10**9), raw(memory="disk")], ValueError, r"memory: expected one of 'save', .* or a jax.checkpoint policy, got"),
    ([raw(memory="recompute", swap_memory=True)], ValueError, r"swap_memory=True is memory='offload'"),
    ([raw(params=jax.device_put(PARAMS, HOST))], ValueError, r"params: expected arrays in the device's memory"),
    ([raw(key=jnp.zeros(2))], TypeError, r"key: expected one PRNG key, got float32\[2\]"),
    ([raw(loop_fn=lambda *_: (STATE, STATE))], TypeError, r"loop_fn: expected it to return five things, .* got 2 things. Give"),
    ([raw(loop_fn=lambda *_: STATE.h)], TypeError, r"loop_fn: expected it to return five things, .* got float32\[4, 5\]"),
    ([raw(first={0: None}), raw(later={0: None})], TypeError, r"elements_finished to be bool\[4\], one for each row .*, got a NoneType"),
    ([raw(first={0: jnp.zeros(4)}), raw(later={0: jnp.zeros(4)})], TypeError, r"elements_finished to be bool\[4\].*, got float32\[4\]"),
    ([raw(first={0: False}), raw(first={0: jnp.zeros(3, bool)})], TypeError, r"elements_finished to be bool\[4\].*, got bool\[3?\]"),
    ([raw(first={1: None})], ValueError, r"next_input: expected at least one array \[B, ...\] a step, got none"),
    ([raw(first={1: INPUTS[:, 0, :2]})], ValueError, r"LSTMCell.*expected params\['kernel'\] of shape \(2, 20\)"),
    ([raw(first={1: "text"})], TypeError, r"next_input: expected an array, got a str"),
    ([raw(first={2: CELL.initial_state(3)})], ValueError, r"LSTMCell.*expected state.c of shape \(4, 5\), got shape \(3, 5\)"),
    ([raw(cell=function, first={2: jnp.zeros((3, 3))})], ValueError, r"initial_state: expected \[B, ...\] with B = 4, got float32\[3,"),
    ([raw(later={1: {"x": INPUTS[:, 0]}})], ValueError, r"expected next_input to have the structure that it had at time 0, "),
    ([raw(later={1: INPUTS[:, 0].astype(int)})], ValueError, r"expected next_input to be float32\[4, 3\], as at time 0, got int32"),
    ([raw(later={2: STATE.c})], ValueError, r"expected next_cell_state to have the structure that it had at time 0"),
    ([raw(later={2: CELL.initial_state(3)})], ValueError, r"expected next_cell_state.c to be float32\[4, 5\], as at time 0, got"),
    ([raw(later={3: jnp.ones((3, 2))})], ValueError, r"loop_fn: expected emit_output to be \[B, ...\] with B = 4, got float32\[3, 2\]"),
    ([raw(later={4: jnp.ones(2)})], ValueError, r"expected next_loop_state to have the structure that it had at time 0"),
    ([raw(first={4: jnp.ones(2)}, later={4: jnp.ones(3)})], ValueError, r"next_loop_state to be float32\[2\], as at time 0, got float32\[3\]"),
    ([lambda: jaxrnn.compiler_options("abacus")], ValueError, r"platform: expected one of 'cpu', 'tpu', 'gpu', .*, got 'abacus'"),
    # memory spaces
    (both(params=jax.device_put(PARAMS, HOST)), ValueError, r"params: expected arrays in the device's memory, got some in the h"),
    (both(initial_state=jax.device_put(STATE, HOST)), ValueError, r"initial_state: expected arrays in the device's memory"),
    ([dynamic(resets=jax.device_put(jnp.zeros((4, 7), bool), HOST))], ValueError, r"resets: expected arrays in the device's memory"),
    ([lambda: jaxrnn.static_rnn(CELL, PARAMS, jax.device_put(STEPS, HOST))], ValueError, r"inputs: expected arrays in the device's"),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "error", "text"), ROWS, ids=[f"{i}-{row[2][:30]}" for i, row in enumerate(ROWS)])
def test_bad_input_is_named(calls, error, text):
    for call in calls:
        with pytest.raises(error, match=text):
            call()


def test_good_input_is_not():
    for call in [*both(), *both(sequence_length=np.array([7, 0, 1, 2])), *both(initial_state=STATE, dtype=jnp.float32)]:
        call()
