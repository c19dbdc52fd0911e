"""The table that the contract tests walk: one row a cell."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from tests import oracle

B, T, D = 4, 7, 3
LENGTHS = np.array([5, 0, 7, 2], np.int32)  # mixed, with 0 and T


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell, and its step in numpy."""

    name: str
    cell: Any
    step: Callable
    ids: int | None = None  # the inputs are integers below this
    input_size: Any = D  # what `init` is given
    draw: Callable | None = None  # (rng, batch, time) -> inputs [B, T, ...], where they are not of that size and normal
    ranges: dict = dataclasses.field(default_factory=dict)  # name of a weight or of a state -> (low, high), if not within 0.8

    def inputs(self, rng, time=T, batch=B):
        if self.draw:
            return self.draw(rng, batch, time)
        if self.ids:
            return rng.integers(0, self.ids, (batch, time)).astype(np.int32)
        return rng.standard_normal((batch, time, self.input_size))


LSTM = jaxrnn.LSTMCell(5)
FULL = jaxrnn.LSTMCell(5, use_peepholes=True, cell_clip=0.6, num_proj=2, proj_clip=0.25)
GRU3 = jaxrnn.GRUCell(3)

ROWS = [
    Row("basic", jaxrnn.BasicRNNCell(5), oracle.basic()),
    Row("basic_relu", jaxrnn.BasicRNNCell(5, activation=jax.nn.relu), oracle.basic(oracle.relu)),
    Row("lstm", LSTM, oracle.lstm(5)),
    Row("lstm_peephole", jaxrnn.LSTMCell(5, use_peepholes=True), oracle.lstm(5, peepholes=True)),
    Row("lstm_projected", jaxrnn.LSTMCell(5, num_proj=2), oracle.lstm(5)),
    Row("lstm_full", FULL, oracle.lstm(5, peepholes=True, cell_clip=0.6, proj_clip=0.25)),
    Row("lstm_softsign", jaxrnn.LSTMCell(5, activation=jax.nn.soft_sign), oracle.lstm(5, lambda a: a / (1 + abs(a)))),
    Row("gru", jaxrnn.GRUCell(5), oracle.gru(5, True)),
    Row("gru_reset_before", jaxrnn.GRUCell(5, reset_after=False), oracle.gru(5, False)),
    Row(
        "stack",
        jaxrnn.MultiRNNCell([FULL, jaxrnn.GRUCell(4, reset_after=False)]),
        oracle.stack(oracle.lstm(5, peepholes=True, cell_clip=0.6, proj_clip=0.25), oracle.gru(4, False)),
    ),
    Row("residual", jaxrnn.ResidualWrapper(GRU3), oracle.residual(oracle.gru(3, True))),
    Row(
        "input_projection",
        jaxrnn.InputProjectionWrapper(LSTM, 2, activation=jax.nn.relu),
        oracle.input_projection(oracle.lstm(5), oracle.relu),
    ),
    Row(
        "output_projection",
        jaxrnn.OutputProjectionWrapper(LSTM, 2, activation=jnp.tanh),
        oracle.output_projection(oracle.lstm(5), np.tanh),
    ),
    Row("embedding", jaxrnn.EmbeddingWrapper(jaxrnn.GRUCell(5), 11, 2), oracle.embedding(oracle.gru(5, True)), ids=11),
    Row("dropout_without_key", jaxrnn.DropoutWrapper(GRU3, 0.5, 0.5, 0.5), oracle.gru(3, True)),
]


def fast_if(fast, cases):
    """The cases as parameters; those that are not fast are marked slow. They are wider, and show nothing else."""
    parts = lambda case: case if type(case) is tuple else (case,)
    return [pytest.param(*parts(case), marks=[] if fast(case) else pytest.mark.slow) for case in cases]


def problem(row, seed=0, batch=B, time=T):
    """(params, inputs, initial state) in float64, every weight random, as numpy trees."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: (row.cell.init(jax.random.key(0), row.input_size), row.cell.initial_state(batch)))
    name = lambda path: getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
    limits = lambda path: row.ranges.get(name(path), (-0.8, 0.8))
    flags = lambda s: rng.integers(0, 2, s.shape).astype(s.dtype)
    draw = lambda path, s: rng.uniform(*limits(path), s.shape) if jnp.issubdtype(s.dtype, jnp.floating) else flags(s)
    params, state = jax.tree_util.tree_map_with_path(draw, shapes)
    return params, row.inputs(rng, time, batch), state


def plain(tree):
    """A state as nested tuples, for the oracle."""
    return oracle.tree_map(lambda a: a, tuple(map(plain, tree)) if isinstance(tree, tuple) else tree)


def loss_weights(row, seed=1, time=T):
    """Random weights of a scalar loss on all outputs and every floating leaf of the last state."""
    rng = np.random.default_rng(seed)
    params, inputs, state = problem(row, time=time)
    outputs, _ = oracle.rnn(row.step, params, inputs, plain(state))
    return rng.standard_normal(outputs.shape), jax.tree.map(lambda s: rng.standard_normal(s.shape), state)


def loss(outputs, state, weights):
    wy, ws = weights
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(ws), strict=True)
    np_or_jnp = sum((leaf * w).sum() for leaf, w in pairs if jnp.issubdtype(leaf.dtype, jnp.floating))
    return (outputs * wy).sum() + np_or_jnp
