"""The recipes of docs/guides/weights.md, run as they stand; what needs a library that is not installed is skipped.

`pip install -e '.[interop]'` installs them all.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "guides" / "weights.md").read_text()
# Heading -> code. What stands in front of the first heading is its own.
RECIPES = {
    section.split("\n", 1)[0]: code
    for section in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
}
LENGTHS = np.array([7, 0, 3, 5])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a recipe in an empty directory; what it defines. Other libraries mix dtypes and ranks."""
    monkeypatch.chdir(tmp_path)

    def run(heading, *libraries):
        for library in libraries:
            pytest.importorskip(library)
        namespace = {}
        exec(compile(RECIPES[heading], f"docs/guides/weights.md, {heading}", "exec"), namespace)
        return namespace

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield run


def test_every_recipe_is_tested():
    own = ["Gate orders, layouts and biases", "safetensors", "Orbax", "In a linen module", "In an nnx module"]
    assert list(RECIPES) == [*own, *FOREIGN]


def test_conversion(run):
    done = run("Gate orders, layouts and biases")
    assert done["outputs"].shape == (2, 7, 5)
    assert all(np.array_equal(done["back"][name], array) for name, array in done["state_dict"].items())


@pytest.mark.parametrize(("heading", "library"), [("safetensors", "safetensors"), ("Orbax", "orbax.checkpoint")])
def test_files(run, heading, library):
    done = run(heading, library)
    assert jax.tree.structure(done["loaded"]) == jax.tree.structure(done["params"])
    for got, want in zip(*map(jax.tree.leaves, (done["loaded"], done["params"])), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def test_a_linen_module(run):
    done = run("In a linen module", "flax")
    valid = np.arange(7) < LENGTHS[:, None]
    np.testing.assert_allclose(done["after"][valid], done["before"][valid], rtol=2e-5, atol=2e-6)
    jax.tree.map(np.testing.assert_array_equal, done["back"], dict(done["trained"]["OptimizedLSTMCell_0"]))


def test_an_nnx_module(run):
    done = run("In an nnx module", "flax")
    model = done["model"]
    params = {name: leaf[...] for name, leaf in model.rnn.items()}
    dense = lambda h, kernel, bias: h @ kernel + bias

    def loss(params):
        outputs = jaxrnn.dynamic_rnn(jaxrnn.GRUCell(5), params, done["inputs"], sequence_length=LENGTHS)[0]
        return jnp.sum(dense(outputs, model.dense.kernel[...], model.dense.bias[...]) ** 2)

    want = jax.grad(loss)(params)
    for name, grad in want.items():
        np.testing.assert_allclose(done["grads"].rnn[name][...], grad, rtol=2e-5, atol=2e-6)


# Heading -> library, jaxrnn's cell, how its weights come from there, the parts of its state in the library's order.
FOREIGN = {
    "Flax linen": ("flax", jaxrnn.LSTMCell(5), jaxrnn.interop.from_flax, "ch"),
    "Flax nnx": ("flax", jaxrnn.GRUCell(5), jaxrnn.interop.from_flax, ""),
    "Haiku": ("haiku", jaxrnn.LSTMCell(5), jaxrnn.interop.from_haiku, "hc"),
    "Equinox": ("equinox", jaxrnn.GRUCell(5), jaxrnn.interop.from_equinox, ""),
}


@pytest.mark.parametrize("heading", list(FOREIGN))
def test_foreign_cells(run, heading):
    """In the runner they equal jaxrnn's own cell with their weights: lengths, resets, memory, gradients."""
    library, cell, from_library, parts = FOREIGN[heading]
    done = run(heading, library)
    inputs, params = done["inputs"], from_library(cell, done["params"])

    def leaves(state):
        return [getattr(state, part) for part in parts] or [state]

    want_outputs, want_state = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=LENGTHS)
    for got, want in zip(jax.tree.leaves((done["outputs"], done["state"])), [want_outputs, *leaves(want_state)], strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)
    assert not done["outputs"][1].any()

    options = {"sequence_length": LENGTHS, "resets": jnp.arange(7) % 3 == np.arange(4)[:, None] % 3, "chunk_size": 2}
    zeros = jax.tree.map(jnp.zeros_like, done["state"])

    def loss(inputs, cell, params, memory, **given):
        return jnp.sum(jnp.sin(jaxrnn.dynamic_rnn(cell, params, inputs, **options, memory=memory, **given)[0]))

    want = jax.grad(loss)(inputs, cell, params, "save")
    for memory in ("save", "recompute", "offload"):
        got = jax.grad(loss)(inputs, done["cell"], done["params"], memory, initial_state=zeros, reset_state=zeros)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)
