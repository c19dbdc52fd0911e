"""What one writes by hand: `lax.scan` of a cell's equations, and a `where` a step if there are lengths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from work import GATES, Work


def plain_scan(work: Work, loss: str):
    """The cells of the core, and of `jaxrnn.contrib` those that `work.GATES` names."""
    zeros = jnp.zeros((work.batch, work.units), work.dtype)
    step, states = STEPS[work.cell]
    start = (zeros,) * states

    def run(params, inputs, lengths):
        def one_step(state, item):
            time, x = item
            output, new = step(params, x, *state)
            if lengths is None:
                return new, output
            valid = (time < lengths)[:, None]
            return tuple(jnp.where(valid, n, s) for n, s in zip(new, state, strict=True)), jnp.where(valid, output, 0.0)

        state, outputs = lax.scan(one_step, start, (jnp.arange(work.time), jnp.swapaxes(inputs, 0, 1)))
        return jnp.swapaxes(outputs, 0, 1), state[-1]

    return run, params_of(work)


def params_of(work: Work) -> dict[str, Any]:
    """Random weights of the cell."""
    of_input, of_state = GATES[work.cell]
    keys, units = jax.random.split(jax.random.key(0), 3), work.units
    normal = lambda key, shape: jax.random.normal(key, shape, work.dtype) / shape[0] ** 0.5
    bias = jnp.zeros(max(of_input, of_state) * units, work.dtype)
    params = {"w": normal(keys[0], (work.inputs, of_input * units)), "b": bias, "v": bias}
    if of_state:
        params["u"] = normal(keys[1], (units, of_state * units))
    if work.cell == "ind_rnn":
        params["u"] = jax.random.uniform(keys[1], (units,), work.dtype, -1, 1)
    if work.cell == "lru":
        params |= {"nu": jnp.linspace(-4.0, -1.0, units), "theta": jnp.linspace(-3.0, 0.0, units), "gamma": jnp.zeros(units)}
    if work.cell == "layer_norm_lstm":
        params |= {"gain": jnp.ones((5, units), work.dtype), "shift": jnp.zeros((5, units), work.dtype)}
    return params


# A step is (params, x [B, D], *state) -> (output, new state). The last part of the state is what a loss may read.


def _lstm(params, x, c, h):
    i, f, g, o = jnp.split(x @ params["w"] + h @ params["u"] + params["b"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return h, (c, h)


def _gru(params, x, h):
    zr, zu, zn = jnp.split(x @ params["w"] + params["b"], 3, -1)
    rr, ru, rn = jnp.split(h @ params["u"] + params["v"], 3, -1)
    u = jax.nn.sigmoid(zu + ru)
    n = jnp.tanh(zn + jax.nn.sigmoid(zr + rr) * rn)
    h = n + u * (h - n)
    return h, (h,)


def _basic(params, x, h):
    h = jnp.tanh(x @ params["w"] + h @ params["u"] + params["b"])
    return h, (h,)


def _layer_norm_lstm(params, x, c, h):
    i, g, f, o = (
        _normalized(part, params["gain"][k], params["shift"][k])
        for k, part in enumerate(jnp.split(x @ params["w"] + h @ params["u"], 4, -1))
    )
    c = c * jax.nn.sigmoid(f + 1) + jax.nn.sigmoid(i) * jnp.tanh(g)
    c = _normalized(c, params["gain"][4], params["shift"][4])
    h = jnp.tanh(c) * jax.nn.sigmoid(o)
    return h, (c, h)


def _normalized(a, gain, shift):
    mean = a.mean(-1, keepdims=True)
    centred = a - mean
    variance = (centred**2).mean(-1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-12) * gain + shift


def _ind_rnn(params, x, h):
    h = jnp.tanh(x @ params["w"] + params["u"] * h + params["b"])
    return h, (h,)


def _sru(params, x, c):
    n, f, r, s = jnp.split(x @ params["w"] + params["b"], 4, -1)
    f, r = jax.nn.sigmoid(f), jax.nn.sigmoid(r)
    c = f * c + (1 - f) * n
    return r * jnp.tanh(c) + (1 - r) * s, (c,)


def _min_gru(params, x, h):
    u, n = jnp.split(x @ params["w"] + params["b"], 2, -1)
    u = jax.nn.sigmoid(u)
    h = (1 - u) * h + u * n
    return h, (h,)


def _min_lstm(params, x, h):
    f, i, n = jnp.split(x @ params["w"] + params["b"], 3, -1)
    f, i = jax.nn.sigmoid(f), jax.nn.sigmoid(i)
    h = (f * h + i * n) / (f + i)
    return h, (h,)


def _lru(params, x, re, im):
    b_re, b_im, skip = jnp.split(x @ params["w"], 3, -1)
    size, angle, gamma = jnp.exp(-jnp.exp(params["nu"])), jnp.exp(params["theta"]), jnp.exp(params["gamma"])
    l_re, l_im = size * jnp.cos(angle), size * jnp.sin(angle)
    re, im = l_re * re - l_im * im + gamma * b_re, l_re * im + l_im * re + gamma * b_im
    c_re, c_im = jnp.split(params["u"], 2, -1)
    return re @ c_re - im @ c_im + skip, (re, im)


def _nas(params, x, c, m):
    a, b = jnp.split(x @ params["w"], 8, -1), jnp.split(m @ params["u"], 8, -1)
    sigmoid, relu, tanh = jax.nn.sigmoid, jax.nn.relu, jnp.tanh
    of_sums = {0: sigmoid, 1: relu, 2: sigmoid, 4: tanh, 5: sigmoid, 6: tanh, 7: sigmoid}
    gate = [relu(a[k] * b[k]) if k == 3 else of_sums[k](a[k] + b[k]) for k in range(8)]
    c = tanh(tanh(gate[0] * gate[1]) + c) * tanh(gate[2] + gate[3])
    m = tanh(c * tanh(tanh(gate[4] * gate[5]) + sigmoid(gate[6] + gate[7])))
    return m, (c, m)


STEPS = {  # and how many parts the state has
    "lstm": (_lstm, 2),
    "gru": (_gru, 1),
    "basic": (_basic, 1),
    "layer_norm_lstm": (_layer_norm_lstm, 2),
    "ind_rnn": (_ind_rnn, 1),
    "sru": (_sru, 1),
    "min_gru": (_min_gru, 1),
    "min_lstm": (_min_lstm, 1),
    "lru": (_lru, 2),
    "nas": (_nas, 2),
}
