"""Makes torch_<name>.npz: what torch.nn's RNN, LSTM and GRU really compute.

Each file holds one module configuration with random weights, inputs and initial
state, and for every case of lengths the outputs, the final state and the
gradients, all batch first; lengths go through pack_padded_sequence. README.md
lists the keys. To remake, with torch==2.13.0 (CPU):

    python tests/goldens/make_torch.py
"""

import json
import pathlib
import zlib

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FOLDER = pathlib.Path(__file__).parent
TIME, BATCH, INPUT_SIZE, HIDDEN_SIZE = 5, 4, 3, 6
LENGTHS = {"none": None, "mixed": [3, 1, 5, 2]}  # packing rejects a length of 0
INITIAL = "_initial"  # ends the name of a case with a given initial state
CASES = [*LENGTHS, *(case + INITIAL for case in LENGTHS)]


def module_config(class_name, **arguments):
    sizes = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    arguments = {**sizes, "batch_first": True, **arguments}
    return {"class": class_name, "arguments": arguments, "time": TIME, "batch": BATCH}


CONFIGS = {
    "rnn_tanh": module_config("RNN", nonlinearity="tanh"),
    "rnn_relu": module_config("RNN", nonlinearity="relu"),
    "lstm": module_config("LSTM"),
    "lstm_proj": module_config("LSTM", proj_size=2),
    "lstm_layers": module_config("LSTM", num_layers=2),
    "lstm_nobias": module_config("LSTM", bias=False),
    "gru": module_config("GRU"),
    "gru_bidirectional": module_config("GRU", bidirectional=True),
}


def build(config):
    return getattr(torch.nn, config["class"])(**config["arguments"])


def run(module, inputs, lengths, initial):
    """Outputs [batch, time, ...] and the list of final state leaves.

    `initial` is a list of leaves too, empty for torch's own zeros. An LSTM has
    the leaves h and c, every other module one.
    """
    state = (tuple(initial) if len(initial) > 1 else initial[0]) if initial else None
    if lengths is None:
        outputs, state = module(inputs, state)
    else:
        packed = pack_padded_sequence(inputs, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        packed, state = module(packed, state)
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=TIME)
    return outputs, list(state) if isinstance(state, tuple) else [state]


def draw(config, rng):
    """Random inputs, weights, initial state and loss weights of one file."""

    def uniform(shape, limit):
        return rng.uniform(-limit, limit, tuple(shape)).astype(np.float32)

    arrays = {"inputs": uniform([BATCH, TIME, INPUT_SIZE], 1.0)}
    module = build(config)
    outputs, state = run(module, torch.tensor(arrays["inputs"]), None, [])
    arrays["wy"] = uniform(outputs.shape, 1.0)
    for i, leaf in enumerate(state):
        arrays[f"ws/{i}"] = uniform(leaf.shape, 1.0)
        arrays[f"initial/{i}"] = uniform(leaf.shape, 0.8)
    for name, weight in module.state_dict().items():
        arrays[f"state_dict/{name}"] = uniform(weight.shape, 0.8)
    return arrays


def part(tensors, prefix):
    """The entries under a prefix, by what follows it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def evaluate(config, arrays, case):
    """Outputs, final state and gradients of one case."""
    given = {k: v for k, v in arrays.items() if v.dtype == np.float32}
    tensors = {k: torch.tensor(v) for k, v in given.items()}
    module = build(config)
    module.load_state_dict(part(tensors, "state_dict/"))
    sources = {f"state_dict/{k}": p for k, p in module.named_parameters()}
    sources["inputs"] = tensors["inputs"].requires_grad_()
    initial = []
    if case.endswith(INITIAL):
        leaves = part(tensors, "initial/")
        initial = [leaf.requires_grad_() for leaf in leaves.values()]
        sources.update({f"initial/{i}": leaf for i, leaf in leaves.items()})

    lengths = LENGTHS[case.removesuffix(INITIAL)]
    outputs, state = run(module, sources["inputs"], lengths, initial)
    loss = (outputs * tensors["wy"]).sum()
    loss += sum((s * tensors[f"ws/{i}"]).sum() for i, s in enumerate(state))
    loss.backward()

    results = {"outputs": outputs, **{f"state/{i}": s for i, s in enumerate(state)}}
    results.update({f"grad/{k}": source.grad for k, source in sources.items()})
    return {k: v.detach().numpy() for k, v in results.items()}


def make(name):
    config = CONFIGS[name]
    arrays = draw(config, np.random.default_rng(zlib.crc32(name.encode())))
    golden = {"config": np.array(json.dumps(config)), **arrays}
    for case in CASES:
        results = evaluate(config, arrays, case)
        golden.update({f"{case}/{key}": value for key, value in results.items()})
        lengths = LENGTHS[case.removesuffix(INITIAL)]
        if lengths is not None:
            golden[f"{case}/sequence_length"] = np.array(lengths, np.int32)
    np.savez_compressed(FOLDER / f"torch_{name}.npz", **golden)


if __name__ == "__main__":
    for name in CONFIGS:
        make(name)
