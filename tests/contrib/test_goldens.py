"""The numbers of the real TensorFlow 1.15: outputs, states, and gradients of its variables, through `from_tf1`."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1, to_tf1
from tests.contrib.families import GOLDENS
from tests.rows import fast_if

FOLDER = pathlib.Path(__file__).parent.parent / "goldens" / "contrib"
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@functools.cache
def load(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def part(name, prefix):
    """The arrays under a prefix, by what follows it."""
    return {key.removeprefix(prefix + "/"): value for key, value in load(name).items() if key.startswith(prefix + "/")}


def leaves(name, prefix):
    """One array of that name, or a tuple of those that are numbered."""
    data = load(name)
    if prefix in data:
        return data[prefix]
    count = sum(key.startswith(prefix + "/") and key.removeprefix(prefix + "/").isdigit() for key in data)
    return tuple(data[f"{prefix}/{i}"] for i in range(count))


def cases(name):
    return sorted({key.split("/")[0] for key in load(name) if key.split("/")[0].endswith("_initial")})


WALK = [(name, case) for name in GOLDENS for case in cases(name)]
FIRST = {type(cell): name for name, cell in reversed(GOLDENS.items())}.values()  # of each class


@pytest.mark.parametrize(
    ("name", "case"),
    fast_if(lambda each: each[0] in FIRST and each[1] == cases(each[0])[0] and not each[0].startswith("grid"), WALK),
    ids=["-".join(each) for each in WALK],
)
def test_equals_tf1(name, case):
    cell, data = GOLDENS[name], load(name)
    variables, inputs = part(name, "variables"), leaves(name, "inputs")
    batch = jax.tree.leaves(inputs)[0].shape[0]
    own = jax.eval_shape(lambda: cell.initial_state(batch))
    as_state = lambda leaves: jax.tree.unflatten(jax.tree.structure(own), leaves)
    initial = as_state([data[f"initial/{i}"].astype(leaf.dtype) for i, leaf in enumerate(jax.tree.leaves(own))])
    lengths = data.get(f"{case}/sequence_length")

    as_float = lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.float32)

    def run(variables, inputs, initial):
        params = from_tf1(cell, variables)
        return jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=lengths, initial_state=initial, chunk_size=2)

    def value(*point):
        outputs, state = result = run(*point)
        wy = jax.tree.leaves(leaves(name, "wy"))
        total = sum(jnp.sum(y * w) for y, w in zip(jax.tree.leaves(outputs), wy, strict=True))
        return total + sum(jnp.sum(as_float(s) * data[f"ws/{i}"]) for i, s in enumerate(jax.tree.leaves(state))), result

    point = jax.tree.map(jnp.asarray, (variables, inputs, initial))
    grads, (outputs, state) = jax.jit(jax.grad(value, (0, 1, 2), has_aux=True, allow_int=True))(*point)
    for got, want in zip(jax.tree.leaves(outputs), jax.tree.leaves(leaves(name, f"{case}/outputs")), strict=True):
        np.testing.assert_allclose(got, want, **CLOSE)
    for i, leaf in enumerate(jax.tree.leaves(state)):
        np.testing.assert_allclose(leaf, data[f"{case}/state/{i}"], **CLOSE, err_msg=f"state {i}")
    by_key = {f"variables/{key}": grad for key, grad in grads[0].items()}
    by_key |= {f"initial/{i}": grad for i, grad in enumerate(jax.tree.leaves(grads[2]))}
    parts = jax.tree.leaves(grads[1])
    by_key |= {"inputs" if "inputs" in data else f"inputs/{i}": grad for i, grad in enumerate(parts)}
    wanted = part(name, f"{case}/grad")
    assert wanted.keys() <= by_key.keys()
    for key, grad in by_key.items():
        if not jnp.issubdtype(grad.dtype, jnp.floating):
            continue  # of ids
        # What TF1 has no gradient of has none here.
        np.testing.assert_allclose(grad, wanted.get(key, np.zeros_like(grad)), **CLOSE, err_msg=key)


@pytest.mark.parametrize("name", GOLDENS)
def test_there_and_back(name):
    cell, variables = GOLDENS[name], part(name, "variables")
    back = to_tf1(cell, from_tf1(cell, variables))
    written = lambda key: key.replace("/basic_lstm_cell/", "/lstm_cell/")  # one cell here
    assert back.keys() == set(map(written, variables))
    used = {key for case in cases(name) for key in part(name, f"{case}/grad/variables")}
    for key, value in variables.items():
        # What TF1 makes without using it comes back as zeros.
        want = value if key in used else np.zeros_like(value)
        np.testing.assert_allclose(back[written(key)], want, rtol=1e-6, atol=1e-6, err_msg=key)
