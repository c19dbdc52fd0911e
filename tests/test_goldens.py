"""The stored numbers of TF1 and torch in every runner and memory mode: outputs, states, and gradients in their own layout.

The gradients with respect to weights are taken through `from_tf1` and `from_torch`: they are those of TF1's variables and of
torch's parameters.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import jaxrnn
import numpy as np
import pytest
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
    def state(cell, leaves):
        like = tuple(one.initial_state(1) for one in cell) if isinstance(cell, tuple) else cell.initial_state(1)
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    @staticmethod
    def leaves(state):
        return jax.tree.leaves(state)

    @staticmethod
    def outputs(outputs):
        return dict(zip(("/fw", "/bw"), outputs, strict=True)) if isinstance(outputs, tuple) else {"": outputs}


# ---- torch: leaves [layers * directions, B, H], an LSTM's as h, c; both directions' outputs side by side


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
    def state(cell, leaves):
        parts = [jaxrnn.LSTMStateTuple(c, h) for h, c in zip(*leaves, strict=True)] if len(leaves) == 2 else [*leaves[0]]
        return tuple(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def leaves(state):
        parts = [state] if isinstance(state, (jaxrnn.LSTMStateTuple, jax.Array)) else state
        parts = [(s.h, s.c) if isinstance(s, jaxrnn.LSTMStateTuple) else (s,) for s in parts]
        return [jnp.stack(leaves) for leaves in zip(*parts, strict=True)]

    @staticmethod
    def outputs(outputs):
        return {"": jnp.concatenate(outputs, axis=-1) if isinstance(outputs, tuple) else outputs}


# ---- a file


@functools.cache
def load(path):
    with np.load(path) as file:
        return dict(file)


def framework(path):
    return TF1 if path.stem.startswith("tf1") else Torch


def cases(path):
    return [key.removesuffix("/state/0") for key in load(path) if key.endswith("/state/0")]


def part(path, prefix):
    """The arrays under a prefix, by what follows it."""
    return {key.removeprefix(prefix): array for key, array in load(path).items() if key.startswith(prefix)}


def leaves(path, prefix):
    """`prefix/0`, `prefix/1`, ..."""
    return [array for _, array in sorted(part(path, f"{prefix}/").items())]


@functools.cache
def cell_of(path):
    return framework(path).cell(json.loads(str(load(path)["config"])))


# ---- two derivatives, one after the other: of the run, which is compiled, and of the weights' conversion


@functools.cache
def program(cell, how, runner):
    """`(point, loss weights, lengths) -> (outputs, state leaves, gradient)`, with point = (params, inputs, initial leaves)."""

    def loss(point, weights, lengths):
        params, inputs, initial = point
        state = how.state(cell, initial)
        outputs, state = run(runner, cell, params, inputs, sequence_length=lengths, initial_state=state)
        results = how.outputs(outputs), how.leaves(state)
        return sum(jnp.sum(a * w) for a, w in zip(*map(jax.tree.leaves, (results, weights)), strict=True)), results

    def results_and_gradient(*args):
        gradient, (outputs, leaves) = jax.grad(loss, has_aux=True)(*args)
        return outputs, leaves, gradient

    return jax.jit(results_and_gradient)


_compiled = {}


def call(jitted, *args):
    """`jitted(*args)`; programs that are the same, of two frameworks or two modes, are compiled once."""
    lowered = jitted.lower(*args)
    text = lowered.as_text()
    if text not in _compiled:
        _compiled[text] = lowered.compile()
    return _compiled[text](*args)


@functools.cache
def pull_back(path):
    """`(weights, gradient of params) -> gradient of weights`, through the framework's conversion."""
    convert = functools.partial(framework(path).from_weights, cell_of(path))
    return jax.jit(lambda weights, dparams: jax.vjp(convert, weights)[1](dparams)[0])


def results(path, runner, case):
    """What a case of a file should hold, by its keys."""
    golden, how, cell = load(path), framework(path), cell_of(path)
    weights, initial = part(path, how.weights), leaves(path, "initial")
    if not case.endswith("_initial"):
        initial = jax.tree.map(np.zeros_like, initial)
    point = how.from_weights(cell, weights), golden["inputs"], initial
    loss_weights = part(path, "wy"), leaves(path, "ws")
    lengths = golden.get(f"{case}/sequence_length")
    outputs, state, (dparams, dinputs, dinitial) = call(program(cell, how, runner), point, loss_weights, lengths)
    dweights = pull_back(path)(weights, dparams)
    return {
        **{f"outputs{suffix}": output for suffix, output in outputs.items()},
        **{f"state/{i}": leaf for i, leaf in enumerate(state)},
        **{f"grad/{how.weights}{name}": gradient for name, gradient in dweights.items()},
        **{f"grad/initial/{i}": gradient for i, gradient in enumerate(dinitial)},
        "grad/inputs": dinputs,
    }


WALK = [(path, runner, case) for path in FILES for runner in RUNNERS for case in cases(path)]


@pytest.mark.parametrize(
    ("path", "runner", "case"), WALK, ids=[f"{path.stem}-{runner}-{case}" for path, runner, case in WALK]
)
def test_equals_the_framework(path, runner, case):
    got, want = results(path, runner, case), part(path, f"{case}/")
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
        for leaf, want in zip(jax.tree.leaves(state), leaves(path, "none/state"), strict=True):
            np.testing.assert_allclose(leaf, want, **CLOSE)
