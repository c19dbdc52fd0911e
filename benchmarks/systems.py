"""Training steps of an LSTM in jaxrnn and in its peers, each doing the same work.

Batch-first float32 inputs `[B, T, D]`, H units; the loss is the sum of the sines of all outputs ("outputs") or of the last one
alone ("state"); the gradient is taken with respect to the parameters. Every library is imported where it is used, so that a
machine needs only those that it is to measure.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Sizes(NamedTuple):
    """T, B, D, H."""

    time: int
    batch: int
    inputs: int
    units: int


def read(outputs: Any, loss: str, last: Any = None) -> Any:
    """The loss on outputs `[B, T, H]`; `last` is the last output `[B, H]`, where a library gives it apart."""
    if loss == "outputs":
        return jnp.sum(jnp.sin(outputs))
    return jnp.sum(jnp.sin(outputs[:, -1] if last is None else last))


def jaxrnn_plan(sizes: Sizes, loss: str, mode: str) -> Any:
    """The planner's plan for a memory mode; of "recursive" that with three levels, or with as many as T has room for."""
    import jaxrnn

    cell = jaxrnn.LSTMCell(sizes.units)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), sizes.inputs))
    inputs = jax.ShapeDtypeStruct((sizes.batch, sizes.time, sizes.inputs), jnp.float32)
    plans = jaxrnn.memory_plans(cell, params, inputs, loss=loss)
    return [plan for plan in plans if plan.mode == mode and plan.levels <= 3][-1]


def jaxrnn_mode(mode: str) -> Callable:
    """`dynamic_rnn` in a memory mode."""

    def build(sizes: Sizes, loss: str):
        import jaxrnn

        cell, plan = jaxrnn.LSTMCell(sizes.units), jaxrnn_plan(sizes, loss, mode)

        def value(params, inputs):
            outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, memory=plan)
            return read(outputs, loss, state.h)

        return value, cell.init(jax.random.key(0), sizes.inputs)

    return build


def jaxrnn_static(sizes: Sizes, loss: str):
    """`static_rnn`: a graph of T cells."""
    import jaxrnn

    cell = jaxrnn.LSTMCell(sizes.units)

    def value(params, inputs):
        outputs, state = jaxrnn.static_rnn(cell, params, [inputs[:, t] for t in range(sizes.time)])
        return read(jnp.stack(outputs, 1), loss, state.h)

    return value, cell.init(jax.random.key(0), sizes.inputs)


def plain_scan(sizes: Sizes, loss: str):
    """What one writes by hand: `lax.scan` of the equations."""

    def value(params, inputs):
        def step(state, x):
            c, h = state
            z = x @ params["w"] + h @ params["u"] + params["b"]
            i, f, g, o = jnp.split(z, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (c, h), h

        zeros = jnp.zeros((sizes.batch, sizes.units))
        (_, h), outputs = jax.lax.scan(step, (zeros, zeros), jnp.swapaxes(inputs, 0, 1))
        return read(jnp.swapaxes(outputs, 0, 1), loss, h)

    return value, _weights(sizes)


def _weights(sizes: Sizes):
    keys, h = jax.random.split(jax.random.key(0)), sizes.units
    normal = lambda key, rows: jax.random.normal(key, (rows, 4 * h)) / rows**0.5
    return {"w": normal(keys[0], sizes.inputs), "u": normal(keys[1], h), "b": jnp.zeros(4 * h)}


def equinox_checkpointed(sizes: Sizes, loss: str):
    """The checkpointed loop of Equinox, with its LSTM cell."""
    import equinox as eqx
    from equinox.internal import scan

    params, static = eqx.partition(eqx.nn.LSTMCell(sizes.inputs, sizes.units, key=jax.random.key(0)), eqx.is_array)

    def value(params, inputs):
        cell = jax.vmap(eqx.combine(params, static))

        def step(state, x):
            state = cell(x, state)
            return state, state[0] if loss == "outputs" else None

        zeros = jnp.zeros((sizes.batch, sizes.units))
        (h, _), outputs = scan(step, (zeros, zeros), jnp.swapaxes(inputs, 0, 1), kind="checkpointed")
        return read(outputs, loss, h)

    return value, params


def flax_rnn(remat: bool) -> Callable:
    """`flax.linen.RNN`, with or without `nn.remat` of its cell."""

    def build(sizes: Sizes, loss: str):
        from flax import linen as nn

        cell = nn.remat(nn.OptimizedLSTMCell) if remat else nn.OptimizedLSTMCell
        rnn = nn.RNN(cell(sizes.units), return_carry=True)

        def value(params, inputs):
            (_, h), outputs = rnn.apply(params, inputs)
            return read(outputs, loss, h)

        return value, rnn.init(jax.random.key(0), jnp.zeros((sizes.batch, 2, sizes.inputs)))

    return build


def haiku_unroll(sizes: Sizes, loss: str):
    """`haiku.dynamic_unroll`."""
    import haiku as hk

    def run(inputs):
        core = hk.LSTM(sizes.units)
        outputs, state = hk.dynamic_unroll(core, inputs, core.initial_state(sizes.batch), time_major=False)
        return read(outputs, loss, state.hidden)

    rnn = hk.without_apply_rng(hk.transform(run))
    return rnn.apply, rnn.init(jax.random.key(0), jnp.zeros((sizes.batch, 2, sizes.inputs)))


JAX_SYSTEMS: dict[str, Callable] = {
    "jaxrnn save": jaxrnn_mode("save"),
    "jaxrnn offload": jaxrnn_mode("offload"),
    "jaxrnn recompute": jaxrnn_mode("recompute"),
    "jaxrnn recursive": jaxrnn_mode("recursive"),
    "jaxrnn static_rnn": jaxrnn_static,
    "plain lax.scan": plain_scan,
    "Flax": flax_rnn(remat=False),
    "Flax, nn.remat": flax_rnn(remat=True),
    "Haiku": haiku_unroll,
    "Equinox, checkpointed": equinox_checkpointed,
}
