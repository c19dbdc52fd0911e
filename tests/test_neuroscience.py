"""docs/guides/neuroscience.md runs, and its numbers are right where they are known."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "guides" / "neuroscience.md"


@pytest.fixture(scope="module")
def page():
    namespace = {"__name__": "page"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in re.findall(r"```{code-cell} ipython3\n(.*?)```", PAGE.read_text(), re.DOTALL):
            if "matplotlib" not in block:  # which the tests do not need
                exec(compile(block, str(PAGE), "exec"), namespace)
        yield namespace


def test_the_run_is_that_of_the_equation(page):
    params, u, key = (page[name] for name in ("params", "u", "key"))
    draw = lambda t: np.asarray(jax.random.normal(jaxrnn.step_key(key, t).step, (8, 20)), np.float64)
    weights, b = np.asarray(params["W"], np.float64), np.asarray(params["B"], np.float64)
    weights = np.abs(weights) * np.where(np.arange(20) < 16, 1, -1)[:, None]
    x, states = np.zeros((8, 20)), []
    for t in range(50):
        x = 0.9 * x + 0.1 * (np.maximum(x, 0) @ weights + u[:, t] @ b) + 0.05 * 0.2**0.5 * draw(t)
        states.append(x)
    np.testing.assert_allclose(page["x"], np.stack(states, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(page["rates"], np.maximum(page["x"], 0))


def test_gradients_of_the_trials_add_up(page):
    def mean(params):
        one = lambda u, key: jaxrnn.dynamic_rnn(page["cell"], params, u[None], key=key)[0][0, -1]
        return jnp.mean((jnp.stack(list(map(one, page["u"], page["keys"]))) - 0.5) ** 2)

    of_all = jax.grad(mean)(page["params"])
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g.mean(0), w, rtol=1e-4, atol=1e-6), page["per_trial"], of_all)


def test_fixed_points_and_exponents(page):
    nothing = jnp.zeros(3)
    np.testing.assert_allclose(page["step"](page["point"], nothing), page["point"], atol=1e-4)
    assert page["exponents"].shape == (20,) and np.all(np.diff(page["exponents"]) <= 0)
    page["params"] = page["params"] | {"W": jnp.zeros((20, 20))}  # a decay alone
    jax.clear_caches()
    np.testing.assert_allclose(page["lyapunov"](jnp.ones(20), jnp.zeros((5, 3))), np.log(0.9), rtol=1e-4)
    np.testing.assert_allclose(page["fixed_point"](jnp.ones(20), nothing), 0, atol=1e-5)
