"""How the goldens of each framework are read: its cells as jaxrnn's, its weights, states and outputs in its own form."""

import functools
import json
import pathlib

import jax
import numpy as np

import jaxrnn
from jaxrnn import interop

FILES = sorted((pathlib.Path(__file__).parent / "goldens").glob("*.npz"))


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

    prefix = "variables/"
    folded = "lstm_cell/bias"
    from_weights, to_weights = staticmethod(interop.from_tf1), staticmethod(interop.to_tf1)
    in_its_form = flat = staticmethod(dict)

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

    prefix = "state_dict/"
    folded = "bias"
    from_weights, to_weights = staticmethod(interop.from_torch), staticmethod(interop.to_torch)
    in_its_form = flat = staticmethod(dict)

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


# ---- the frameworks on JAX: state leaves cell by cell; both directions' outputs side by side


class Peer(Torch):
    """What these files have in common."""

    prefix = "weights/"
    lstm_state = ("h", "c")  # the order of the framework

    @staticmethod
    def parts(cell):
        return cell if isinstance(cell, tuple) else getattr(cell, "cells", (cell,))

    @classmethod
    def nest_state(cls, cell, leaves):
        leaves = iter(leaves)
        lstm = lambda: jaxrnn.LSTMStateTuple(**{name: next(leaves) for name in cls.lstm_state})
        parts = [lstm() if isinstance(one, jaxrnn.LSTMCell) else next(leaves) for one in cls.parts(cell)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    @classmethod
    def flatten_state(cls, state):
        parts = state if type(state) is tuple else [state]
        lstm = lambda s: [getattr(s, name) for name in cls.lstm_state]
        return [leaf for s in parts for leaf in (lstm(s) if isinstance(s, jaxrnn.LSTMStateTuple) else [s])]

    @staticmethod
    def in_its_form(flat):
        return interop.arrays.nest(flat)

    @staticmethod
    def flat(weights):
        return interop.arrays.flatten(weights)


class Keras(Peer):
    folded = "(?<=gru/)02|(?<=stack/)05"
    from_weights, to_weights = staticmethod(interop.from_keras), staticmethod(interop.to_keras)
    in_its_form = staticmethod(lambda flat: [flat[name] for name in sorted(flat)])
    flat = staticmethod(lambda weights: {f"{i:02}": array for i, array in enumerate(weights)})

    @classmethod
    def cell(cls, config):
        arguments = config["arguments"]
        if config["class"] == "Bidirectional":
            return (cls.cell(arguments["layer"]),) * 2
        if config["class"] == "RNN":
            return cls.cell(arguments["cell"])
        if config["class"] == "StackedRNNCells":
            return jaxrnn.MultiRNNCell([cls.cell(one) for one in arguments["cells"]])
        kind = {"SimpleRNN": jaxrnn.BasicRNNCell, "LSTM": jaxrnn.LSTMCell, "GRU": jaxrnn.GRUCell}
        activation = {"activation": jax.nn.relu} if arguments.get("activation") == "relu" else {}
        form = {"reset_after": arguments["reset_after"]} if "reset_after" in arguments else {}
        return kind[config["class"].removesuffix("Cell")](arguments["units"], **activation, **form)


class Flax(Peer):
    lstm_state = ("c", "h")
    folded = "never"
    from_weights = staticmethod(interop.from_flax)

    @staticmethod
    def to_weights(cell, params, like=None):
        return interop.to_flax(cell, params, like=like)

    @classmethod
    def cell(cls, config):
        arguments, kind = config["arguments"], config["class"].split(".")[1]
        if kind == "Bidirectional":
            return tuple(cls.cell(arguments[f"{way}_rnn"]["arguments"]["cell"]) for way in ("forward", "backward"))
        kinds = {"SimpleCell": jaxrnn.BasicRNNCell, "GRUCell": jaxrnn.GRUCell}
        return kinds.get(kind, jaxrnn.LSTMCell)(arguments.get("features") or arguments["hidden_features"])


class Haiku(Peer):
    folded = "linear.*/b"
    from_weights, to_weights = staticmethod(interop.from_haiku), staticmethod(interop.to_haiku)

    @staticmethod
    def in_its_form(flat):
        modules = {}
        for path, array in flat.items():
            module, name = path.rsplit("/", 1)
            modules.setdefault(module, {})[name] = array
        return modules

    @classmethod
    def cell(cls, config):
        if config["class"] == "DeepRNN":
            return jaxrnn.MultiRNNCell([cls.cell(layer) for layer in config["arguments"]["layers"]])
        size = config["arguments"]["hidden_size"]
        kinds = {
            "VanillaRNN": jaxrnn.BasicRNNCell(size, activation=jax.nn.relu),
            "LSTM": jaxrnn.LSTMCell(size),
            "GRU": jaxrnn.GRUCell(size, reset_after=False),
        }
        return kinds[config["class"]]


class Equinox(Peer):
    folded = "never"
    from_weights, to_weights = staticmethod(interop.from_equinox), staticmethod(interop.to_equinox)

    @staticmethod
    def cell(config):
        return getattr(jaxrnn, config["class"])(config["arguments"]["hidden_size"])


# ---- a file


@functools.cache
def load(path):
    with np.load(path) as file:
        return dict(file)


def framework(path):
    frameworks = {"tf1": TF1, "torch": Torch, "keras": Keras, "flax": Flax, "haiku": Haiku, "equinox": Equinox}
    return frameworks[path.stem.split("_")[0]]


@functools.cache
def cell_of(path):
    return framework(path).cell(json.loads(str(load(path)["config"])))


def cases(path):
    return [key.removesuffix("/state/0") for key in load(path) if key.endswith("/state/0")]


def part(path, prefix):
    """The arrays under a prefix, by what follows it."""
    return {key.removeprefix(prefix): array for key, array in load(path).items() if key.startswith(prefix)}


def weights_of(path):
    """The framework's weights, by name."""
    return part(path, framework(path).prefix)


def state_of(path, prefix):
    """The state whose leaves are `prefix/0`, `prefix/1`, ..."""
    leaves = [array for _, array in sorted(part(path, f"{prefix}/").items())]
    return framework(path).nest_state(cell_of(path), leaves)
