"""The stored numbers of every framework, TF1's in every runner and memory mode: outputs, states, and gradients.

The gradients with respect to weights are taken through `from_tf1`, `from_torch` and the others: they are those of TF1's
variables, of torch's parameters, in their own layouts.
"""

import collections
import concurrent.futures
import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_tf1
from tests.frameworks import FILES, TF1, cases, cell_of, framework, load, part, state_of, weights_of
from tests.rows import fast_if

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
    how, cell = framework(path), cell_of(path)
    return jax.jit(
        lambda weights, dparams: jax.vjp(lambda w: how.from_weights(cell, how.in_its_form(w)), weights)[1](dparams)[0]
    )


def problem(path, runner, case):
    """The program of a case, and its arguments."""
    how, cell = framework(path), cell_of(path)
    initial_state = state_of(path, "initial")
    if not case.endswith("_initial"):
        initial_state = jax.tree.map(np.zeros_like, initial_state)
    point = how.from_weights(cell, how.in_its_form(weights_of(path))), load(path)["inputs"], initial_state
    loss_weights = how.nest_outputs(cell, part(path, "wy")), state_of(path, "ws")
    return program(cell, runner), (point, loss_weights, lengths_of(path, case))


def lengths_of(path, case):
    """Where a case has none, full ones, which share a program with the other case; TF1's files show that it is the same."""
    batch, time = load(path)["inputs"].shape[:2]
    full = None if framework(path) is TF1 or len(cases(path)) == 1 else np.full(batch, time, np.int32)
    return load(path).get(f"{case}/sequence_length", full)


def by_key(path, outputs, state, dparams, dinputs, dinitial):
    """Results and gradients by the file's keys."""
    how = framework(path)
    dweights = pull_back(path)(weights_of(path), dparams)
    return {
        **{f"outputs{suffix}": output for suffix, output in how.flatten_outputs(outputs).items()},
        **{f"state/{i}": leaf for i, leaf in enumerate(how.flatten_state(state))},
        **{f"grad/{how.prefix}{name}": grad for name, grad in dweights.items()},
        **{f"grad/initial/{i}": grad for i, grad in enumerate(how.flatten_state(dinitial))},
        "grad/inputs": dinputs,
    }


IN_ALL_MODES = ("tf1_lstm_full", "tf1_bidirectional")  # test_contract.py has the other cells in other modes


def runners(path):
    # The runners are TF1's. To tell whose weights these are one is enough.
    if framework(path) is not TF1:
        return ("save",)
    return RUNNERS if path.stem in IN_ALL_MODES else ("save", "static")


WALK = [(path, runner, case) for path in FILES for runner in runners(path) for case in cases(path)]


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


def is_fast(case):
    """The modes are test_contract.py's; to tell whose numbers these are one is enough."""
    return case[1] == "save" or (case[0].stem in IN_ALL_MODES and case[1] == "static")


@pytest.mark.parametrize(
    ("path", "runner", "case"), fast_if(is_fast, WALK), ids=[f"{path.stem}-{runner}-{case}" for path, runner, case in WALK]
)
def test_equals_the_framework(path, runner, case, compiled):
    jitted, args = problem(path, runner, case)
    results, gradient = compiled(jitted, args)(*args)
    got, want = by_key(path, *results, *gradient), part(path, f"{case}/")
    want.pop("sequence_length", None)
    assert want.keys() <= got.keys()
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, **CLOSE, err_msg=key)


def test_goldens_are_all_here():
    count = collections.Counter(path.stem.split("_")[0] for path in FILES)
    assert count == {"tf1": 8, "torch": 8, "keras": 8, "flax": 9, "haiku": 5, "equinox": 3}
    assert len(WALK) == 5 * (7 + 6) + 2 * 6 * 7 + 8 * 4 + 2 * (8 + 9) + 5 + 3


def test_an_initial_state_that_is_not_given_is_zeros():
    path = next(path for path in FILES if path.stem == "tf1_multi")
    params = from_tf1(cell_of(path), weights_of(path))
    for runner in ("save", "static"):
        outputs, state = run(runner, cell_of(path), params, load(path)["inputs"])
        np.testing.assert_allclose(outputs, load(path)["none/outputs"], **CLOSE)
        for leaf, want in zip(*map(jax.tree.leaves, (state, state_of(path, "none/state"))), strict=True):
            np.testing.assert_allclose(leaf, want, **CLOSE)
