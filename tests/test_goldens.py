"""The stored numbers of TF1 and torch in every runner and memory mode: outputs, states, and gradients in their own layout.

The gradients with respect to weights are taken through `from_tf1` and `from_torch`: they are those of TF1's variables and of
torch's parameters.
"""

import concurrent.futures
import contextlib
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1, from_torch

FILES = sorted((pathlib.Path(__file__).parent / "goldens").glob("*.npz"))
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
# T is 5, which 2 does not divide.
MODES = {"save": {}, **{mode: {"memory": mode, "chunk_size": 2} for mode in ("recompute", "recursive", "offload")}}
RUNNERS = (*MODES, "static")


# ---- the runners; a pair of cells has pairs of outputs and states


def run(runner, cell, params, inputs, **options):
    if isinstance(cell, tuple):
        return run_pair(runner, cell, params, inputs, **options)
    if runner != "static":
        return jaxrnn.dynamic_rnn(cell, params, inputs, **options, **MODES[runner])
    outputs, state = jaxrnn.static_rnn(cell, params, list(jnp.unstack(inputs, axis=1)), **options)
    return jnp.stack(outputs, axis=1), state


def run_pair(runner, cells, params, inputs, initial_state=(None, None), **options):
    options.update(zip(("initial_state_fw", "initial_state_bw"), initial_state, strict=True))
    if runner != "static":
        return jaxrnn.bidirectional_dynamic_rnn(*cells, params, inputs, **options, **MODES[runner])
    steps = list(jnp.unstack(inputs, axis=1))
    outputs, *states = jaxrnn.static_bidirectional_rnn(*cells, params, steps, **options)
    return tuple(jnp.split(jnp.stack(outputs, axis=1), [cells[0].output_size], axis=-1)), tuple(states)


# ---- TF1: cells from the stored configuration; states and outputs as TF1 nests them


def tf1_cell(config):
    """The cell of a stored class and its arguments, which may hold cells themselves."""
    if isinstance(config, list):
        return [tf1_cell(item) for item in config]
    if not isinstance(config, dict):
        return config
    arguments = {name: tf1_cell(value) for name, value in config["arguments"].items()}
    form = {"reset_after": False} if config["class"] == "GRUCell" else {}
    return getattr(jaxrnn, config["class"])(**arguments, **form)


class TF1:
    """How a file of TF1's is read."""

    weights = "variables/"
    from_weights = staticmethod(from_tf1)

    @staticmethod
    def cell(config):
        cells = tuple(tf1_cell(value) for key, value in config.items() if key.startswith("cell"))
        return cells if len(cells) == 2 else cells[0]

    @staticmethod
    def nest_state(cell, leaves):
        like = tuple(one.initial_state(1) for one in cell) if isinstance(cell, tuple) else cell.initial_state(1)
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    @staticmethod
    def flatten_state(state):
        return jax.tree.leaves(state)

    @staticmethod
    def nest_outputs(cell, by_suffix):
        return (by_suffix["/fw"], by_suffix["/bw"]) if isinstance(cell, tuple) else by_suffix[""]

    @staticmethod
    def flatten_outputs(outputs):
        return {"/fw": outputs[0], "/bw": outputs[1]} if isinstance(outputs, tuple) else {"": outputs}


# ---- torch: state leaves [layers * directions, B, H], an LSTM's as h, c; both directions' outputs side by side


def torch_cell(kind, hidden_size, nonlinearity="tanh", proj_size=None, **_):
    if kind == "RNN":
        return jaxrnn.BasicRNNCell(hidden_size, activation={"tanh": None, "relu": jax.nn.relu}[nonlinearity])
    return jaxrnn.GRUCell(hidden_size) if kind == "GRU" else jaxrnn.LSTMCell(hidden_size, num_proj=proj_size)


class Torch:
    """How a file of torch's is read."""

    weights = "state_dict/"
    from_weights = staticmethod(from_torch)

    @staticmethod
    def cell(config):
        cell, arguments = torch_cell(config["class"], **config["arguments"]), config["arguments"]
        if arguments.get("bidirectional"):
            return cell, cell
        layers = arguments.get("num_layers", 1)
        return jaxrnn.MultiRNNCell([cell] * layers) if layers > 1 else cell

    @staticmethod
    def nest_state(cell, leaves):
        parts = [jaxrnn.LSTMStateTuple(c, h) for h, c in zip(*leaves, strict=True)] if len(leaves) == 2 else [*leaves[0]]
        return tuple(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def flatten_state(state):
        parts = state if type(state) is tuple else [state]
        parts = [(s.h, s.c) if isinstance(s, jaxrnn.LSTMStateTuple) else (s,) for s in parts]
        return [np.stack(leaves) for leaves in zip(*parts, strict=True)]

    @staticmethod
    def nest_outputs(cell, by_suffix):
        return tuple(np.split(by_suffix[""], 2, axis=-1)) if isinstance(cell, tuple) else by_suffix[""]

    @staticmethod
    def flatten_outputs(outputs):
        return {"": np.concatenate(outputs, axis=-1) if isinstance(outputs, tuple) else outputs}


# ---- a file


@functools.cache
def load(path):
    with np.load(path) as file:
        return dict(file)


def framework(path):
    return TF1 if path.stem.startswith("tf1") else Torch


@functools.cache
def cell_of(path):
    return framework(path).cell(json.loads(str(load(path)["config"])))


def cases(path):
    return [key.removesuffix("/state/0") for key in load(path) if key.endswith("/state/0")]


def part(path, prefix):
    """The arrays under a prefix, by what follows it."""
    return {key.removeprefix(prefix): array for key, array in load(path).items() if key.startswith(prefix)}


def state_of(path, prefix):
    """The state whose leaves are `prefix/0`, `prefix/1`, ..."""
    leaves = [array for _, array in sorted(part(path, f"{prefix}/").items())]
    return framework(path).nest_state(cell_of(path), leaves)


# ---- two derivatives, one after the other: of the run, and of the weights' conversion


@functools.cache
def program(cell, runner):
    """`(point, loss weights, lengths) -> ((outputs, state), gradient)`, with point = (params, inputs, initial state)."""

    def loss(point, weights, lengths):
        params, inputs, initial_state = point
        results = run(runner, cell, params, inputs, sequence_length=lengths, initial_state=initial_state)
        return sum(jnp.sum(a * w) for a, w in zip(*map(jax.tree.leaves, (results, weights)), strict=True)), results

    return jax.jit(lambda *args: jax.grad(loss, has_aux=True)(*args)[::-1])


@functools.cache
def pull_back(path):
    """`(weights, gradient of params) -> gradient of weights`, through the framework's conversion."""
    convert = functools.partial(framework(path).from_weights, cell_of(path))
    return jax.jit(lambda weights, dparams: jax.vjp(convert, weights)[1](dparams)[0])


def problem(path, runner, case):
    """The program of a case, and its arguments."""
    how, cell = framework(path), cell_of(path)
    initial_state = state_of(path, "initial")
    if not case.endswith("_initial"):
        initial_state = jax.tree.map(np.zeros_like, initial_state)
    point = how.from_weights(cell, part(path, how.weights)), load(path)["inputs"], initial_state
    loss_weights = how.nest_outputs(cell, part(path, "wy")), state_of(path, "ws")
    return program(cell, runner), (point, loss_weights, load(path).get(f"{case}/sequence_length"))


def by_key(path, outputs, state, dparams, dinputs, dinitial):
    """Results and gradients by the file's keys."""
    how = framework(path)
    dweights = pull_back(path)(part(path, how.weights), dparams)
    return {
        **{f"outputs{suffix}": output for suffix, output in how.flatten_outputs(outputs).items()},
        **{f"state/{i}": leaf for i, leaf in enumerate(how.flatten_state(state))},
        **{f"grad/{how.weights}{name}": grad for name, grad in dweights.items()},
        **{f"grad/initial/{i}": grad for i, grad in enumerate(how.flatten_state(dinitial))},
        "grad/inputs": dinputs,
    }


WALK = [(path, runner, case) for path in FILES for runner in RUNNERS for case in cases(path)]


@pytest.fixture(scope="module")
def compiled(request):
    """`(program, args) -> compiled program`, ready or soon: other threads compile what the selected tests need.

    Programs that are the same, of two frameworks or two modes, are compiled once.
    """
    by_text, by_call = {}, {}

    def look_up(jitted, args):
        signature = jitted, jax.tree.structure(args)
        if signature not in by_call:
            lowered = jitted.lower(*args)
            text = lowered.as_text()
            by_call[signature] = by_text[text] = by_text.get(text) or pool.submit(lowered.compile)
        return by_call[signature]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for item in request.session.items:
            if "compiled" in getattr(item, "fixturenames", ()):
                with contextlib.suppress(Exception):  # it comes again in the test itself
                    look_up(*problem(**item.callspec.params))
        yield lambda *args: look_up(*args).result()


@pytest.mark.parametrize(("path", "runner", "case"), WALK, ids=[f"{path.stem}-{runner}-{case}" for path, runner, case in WALK])
def test_equals_the_framework(path, runner, case, compiled):
    jitted, args = problem(path, runner, case)
    results, gradient = compiled(jitted, args)(*args)
    got, want = by_key(path, *results, *gradient), part(path, f"{case}/")
    want.pop("sequence_length", None)
    assert want.keys() <= got.keys()
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, **CLOSE, err_msg=key)


def test_goldens_are_all_here():
    assert [path.stem.split("_")[0] for path in FILES] == ["tf1"] * 8 + ["torch"] * 8
    assert len(WALK) == 5 * (7 * 7 + 6 + 8 * 4)


def test_an_initial_state_that_is_not_given_is_zeros():
    path = next(path for path in FILES if path.stem == "tf1_multi")
    params = from_tf1(cell_of(path), part(path, TF1.weights))
    for runner in ("save", "static"):
        outputs, state = run(runner, cell_of(path), params, load(path)["inputs"])
        np.testing.assert_allclose(outputs, load(path)["none/outputs"], **CLOSE)
        for leaf, want in zip(*map(jax.tree.leaves, (state, state_of(path, "none/state"))), strict=True):
            np.testing.assert_allclose(leaf, want, **CLOSE)
