"""What one writes by hand for a linear cell: coefficients of all steps, and a `lax.scan` with a backward pass of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from plain import params_of
from work import NotOfferedError, Work


@jax.custom_vjp
def recurrence(a: jax.Array, b: jax.Array) -> jax.Array:
    """h_t = a_t h_{t-1} + b_t from zero, all `[T, B, H]`."""

    def step(h, item):
        h = item[0] * h + item[1]
        return h, h

    return lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]


def _forward(a, b):
    h = recurrence(a, b)
    return h, (a, h)


def _backward(kept, ct):
    a, h = kept
    before = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])

    def step(ct_h, item):
        a, before, ct = item
        ct_h = ct_h + ct
        return a * ct_h, (ct_h * before, ct_h)

    return lax.scan(step, jnp.zeros_like(h[0]), (a, before, ct), reverse=True)[1]


recurrence.defvjp(_forward, _backward)


@jax.custom_vjp
def rotation(l_re: jax.Array, l_im: jax.Array, re: jax.Array, im: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same of complex numbers, with one factor l `[H]` for all steps."""

    def step(h, b):
        h = l_re * h[0] - l_im * h[1] + b[0], l_re * h[1] + l_im * h[0] + b[1]
        return h, h

    return lax.scan(step, (jnp.zeros_like(re[0]),) * 2, (re, im))[1]


def _rotation_forward(l_re, l_im, re, im):
    h = rotation(l_re, l_im, re, im)
    return h, (l_re, l_im, *h)


def _rotation_backward(kept, ct):
    l_re, l_im, re, im = kept

    def step(carry, ct):
        back = l_re * carry[0] + l_im * carry[1] + ct[0], l_re * carry[1] - l_im * carry[0] + ct[1]
        return back, back

    back_re, back_im = lax.scan(step, (jnp.zeros_like(re[0]),) * 2, ct, reverse=True)[1]
    re, im, of_re, of_im = re[:-1], im[:-1], back_re[1:], back_im[1:]
    return (of_re * re + of_im * im).sum((0, 1)), (of_im * re - of_re * im).sum((0, 1)), back_re, back_im


rotation.defvjp(_rotation_forward, _rotation_backward)


def own_rule(work: Work, loss: str):
    """The linear cells, without lengths."""
    if work.lengths or work.cell not in CELLS:
        raise NotOfferedError("lengths" if work.lengths else work.cell)

    def run(params, inputs, lengths):
        outputs = CELLS[work.cell](params, jnp.swapaxes(inputs, 0, 1))
        return jnp.swapaxes(outputs, 0, 1), outputs[-1]

    return run, params_of(work)


def _min_gru(params, x):
    u, n = jnp.split(x @ params["w"] + params["b"], 2, -1)
    u = jax.nn.sigmoid(u)
    return recurrence(1 - u, u * n)


def _min_lstm(params, x):
    f, i, n = jnp.split(x @ params["w"] + params["b"], 3, -1)
    f, i = jax.nn.sigmoid(f), jax.nn.sigmoid(i)
    return recurrence(f / (f + i), i / (f + i) * n)


def _sru(params, x):
    n, f, r, s = jnp.split(x @ params["w"] + params["b"], 4, -1)
    f, r = jax.nn.sigmoid(f), jax.nn.sigmoid(r)
    return r * jnp.tanh(recurrence(f, (1 - f) * n)) + (1 - r) * s


def _lru(params, x):
    b_re, b_im, skip = jnp.split(x @ params["w"], 3, -1)
    size, angle, gamma = jnp.exp(-jnp.exp(params["nu"])), jnp.exp(params["theta"]), jnp.exp(params["gamma"])
    re, im = rotation(size * jnp.cos(angle), size * jnp.sin(angle), gamma * b_re, gamma * b_im)
    c_re, c_im = jnp.split(params["u"], 2, -1)
    return re @ c_re - im @ c_im + skip


CELLS = {"min_gru": _min_gru, "min_lstm": _min_lstm, "sru": _sru, "lru": _lru}
