"""The linear cells against stored numbers of the papers' own equations (tests/goldens/linear/make_linear.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import linear

FILE = pathlib.Path(__file__).parents[1] / "goldens" / "linear" / "linear.npz"
H, D = 6, 4


def side_by_side(w, *names):
    """`x @ kernel` has W x of each, one after the other."""
    return np.concatenate([w[f"W{name}"].T for name in names], 1)


def biased(w, *names):
    return {
        "kernel": side_by_side(w, *names),
        "bias": np.concatenate([w[f"b{name}"] for name in names]),
    }


def lru(w):
    return {
        "nu": w["nu_log"],
        "theta": w["theta_log"],
        "gamma": w["gamma_log"],
        "input_kernel": np.concatenate([w["B"].real.T, w["B"].imag.T], 1),
        "output_kernel": np.concatenate([w["C"].real.T, w["C"].imag.T], 0),
        "skip_kernel": w["D"].T,
    }


def rg_lru(w):
    kernel = np.stack([w["W_a"], w["W_x"]]).swapaxes(2, 3)
    return {"kernel": kernel, "bias": np.stack([w["b_a"], w["b_x"]]), "lambda": w["Lambda"]}


def qrnn(*gates):
    def params(w):
        kernel = np.concatenate([w[f"W_{g}"].reshape(H, -1).T for g in gates], 1)  # the oldest input first
        return {"kernel": kernel, "bias": np.zeros(kernel.shape[1])}

    return params


def start(name):
    return lambda w: w[name]


def sru(w):
    kernel = side_by_side({**w, "W_h": w["W"]}, "_h", "_f", "_r", "_x")
    return {"kernel": kernel, "bias": np.concatenate([w["b_f"], w["b_r"]])}


def window(pooling):
    return linear.CausalWindow(linear.QRNNCell(H, pooling), 2, D)


CASES = {  # cell, its params, its first state; None is zeros
    "min_gru": (linear.MinGRUCell(H), lambda w: biased(w, "_z", "_h"), start("h_0")),
    "min_gru_log": (linear.MinGRUCell(H, linear.positive), lambda w: biased(w, "_z", "_h"), start("h_0")),
    "min_lstm": (linear.MinLSTMCell(H), lambda w: biased(w, "_f", "_i", "_h"), start("h_0")),
    "lru": (linear.LRUCell(H, 3), lru, lambda w: linear.Complex(w["x_0"].real, w["x_0"].imag)),
    "rg_lru": (linear.RGLRUCell(H, 3), rg_lru, start("h_0")),
    "sru": (linear.SRUCell(H), sru, start("c_0")),
    "qrnn_f": (window("f"), qrnn("z", "f"), None),
    "qrnn_fo": (window("fo"), qrnn("z", "f", "o"), None),
    "qrnn_ifo": (window("ifo"), qrnn("z", "f", "o", "i"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name, x64):
    cell, params, state = CASES[name]
    w = {key.split(".")[1]: value for key, value in np.load(FILE).items() if key.split(".")[0] == name}
    first = None if state is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state(w))
    for engine in ("sequential", "chunked"):
        with linear.engine(engine):
            outputs, last = jaxrnn.dynamic_rnn(cell, params(w), w["x"][None], initial_state=first, chunk_size=4)
        np.testing.assert_allclose(outputs[0], w["y"], rtol=1e-12, atol=1e-13)
    last = last[1] if state is None else last
    last = np.asarray(last.re) + 1j * np.asarray(last.im) if isinstance(last, linear.Complex) else last
    np.testing.assert_allclose(last[0], w["state"], rtol=1e-12, atol=1e-13)


def test_every_golden_is_read():
    assert {key.split(".")[0] for key in np.load(FILE)} == set(CASES)
