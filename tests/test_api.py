"""The surface: every public name documented, every example in a docstring or the README run, nothing private imported."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re

import jax
import pytest

import jaxrnn

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [importlib.import_module(m.name) for m in pkgutil.walk_packages(jaxrnn.__path__, "jaxrnn.")]
PLACES = [jaxrnn, jaxrnn.analysis, jaxrnn.contrib, jaxrnn.distributed, jaxrnn.linear, jaxrnn.seq2seq]
CALLABLES = [(place, name) for place in PLACES for name in place.__all__ if callable(getattr(place, name))]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_all_lists_what_is_public(place):
    public = {name for name in vars(place) if not name.startswith("_") and not inspect.ismodule(getattr(place, name))}
    assert public <= set(place.__all__)
    assert all(hasattr(place, name) for name in place.__all__)


@pytest.mark.parametrize(("place", "name"), CALLABLES, ids=[name for _, name in CALLABLES])
def test_public_names_are_documented(place, name):
    doc = inspect.getdoc(getattr(place, name))
    assert doc
    assert "[" in doc or "any shape" in doc
    if inspect.isfunction(getattr(place, name)):
        assert "Returns:" in doc or name in ("tanh", "sigmoid")


@pytest.mark.parametrize("module", [jaxrnn, *MODULES], ids=lambda module: module.__name__)
def test_examples_in_docstrings_run(module):
    if module.__name__ != "jaxrnn.testing":  # its example takes a while, and tests/test_check_cell.py runs it
        assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    namespace = {}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        for block in blocks:
            exec(compile(block, "README.md", "exec"), namespace)


def test_only_public_jax_is_imported():
    # Pallas has no other name: it is imported where a kernel is made, so that others do not load it.
    exception = r"^ +from jax\.experimental(\.pallas)? import (pallas as pl|triton)$"
    for path in (ROOT / "jaxrnn").rglob("*.py"):
        text = path.read_text()
        text = re.sub(exception, "", text, flags=re.MULTILINE) if path.parent.name == "kernels" else text
        if path.relative_to(ROOT).as_posix() == "jaxrnn/engine/linear.py":  # no public function does what it does
            text = text.replace("from jax.interpreters import ad, batching, mlir", "").replace("reads `jax.interpreters`", "")
        assert not re.search(r"jax\._src|jax\.experimental|jax\.interpreters", text), path


def test_the_runners_share_their_arguments():
    dynamic, static = (inspect.signature(f).parameters for f in (jaxrnn.dynamic_rnn, jaxrnn.static_rnn))
    assert list(dynamic) == [
        "cell", "params", "inputs", "sequence_length", "initial_state", "dtype", "time_major", "swap_memory", "memory",
        "chunk_size", "parallel", "reverse", "resets", "reset_state", "mask", "key",
    ]  # fmt: skip
    assert [name for name in dynamic if name in static] == list(static)
    for parameters in (dynamic, static):
        assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name not in ("cell", "params", "inputs"))


def test_the_reference_has_every_public_name():
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    described = set(re.findall(r"auto\w+:: jaxrnn\.([\w.]+)", pages))
    described |= {f"memory.{name}" for name in re.findall(r"^(?:.. py:data::| {12}) ([A-Z]+)$", pages, re.MULTILINE)}
    names = "analysis", "contrib", "distributed", "interop", "linear", "memory", "seq2seq"
    modules = {name: getattr(jaxrnn, name).__all__ for name in names}
    modules["testing"] = ["check_cell"]
    public = {name for name in jaxrnn.__all__ if name not in modules}
    public |= {f"{module}.{name}" for module, names in modules.items() for name in names}
    assert described == public | {"experimental.persistent_kernels"}


def test_the_readme_is_one_page_whose_links_are_there():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    assert all((ROOT / link).exists() for link in links if "://" not in link)
