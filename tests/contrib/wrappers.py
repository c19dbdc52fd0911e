"""Wrappers with gates or attention of their own: their steps in numpy, and the cells of their goldens."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.contrib import AttentionCellWrapper, HighwayWrapper
from tests import oracle
from tests.oracle import sigmoid
from tests.rows import Row


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def highway(inner):
    def step(p, x, state, t, row):
        output, state = inner(p["cell"], x, state, t, row)
        carry = sigmoid(dense(p["carry"], x))
        transform = sigmoid(dense(p["transform"], x)) if "transform" in p else 1 - carry
        return x * carry + output * transform, state

    return step


def attention(inner, length):
    def step(p, x, state, t, row):
        s, attended, window = state
        w = np.concatenate([p["kernel"], p["recurrent_kernel"]])
        output, s = inner(p["cell"], np.concatenate([x, attended]) @ w + p["bias"], s, t, row)
        query = dense(p["attention"], np.concatenate(oracle.leaves(s)))
        slots = window.reshape(length, -1)
        scores = [(p["attention"]["attn_v"] * np.tanh(m @ p["attention"]["attn_w"] + query)).sum() for m in slots]
        shares = np.exp(scores) / np.exp(scores).sum()
        attended = sum(share * m for share, m in zip(shares, slots, strict=True))
        output = dense(p["projection"], np.concatenate([output, attended]))
        return output, (s, attended, np.concatenate([*slots[1:], output]))

    return step


STACK = jaxrnn.MultiRNNCell([jaxrnn.GRUCell(4, reset_after=False), jaxrnn.LSTMCell(5)])
STACK_STEP = oracle.stack(oracle.gru(4, False), oracle.lstm(5))
SIZES = {"attn_size": 2, "attn_vec_size": 6, "input_size": 7}

ROWS = [
    Row("highway", HighwayWrapper(jaxrnn.GRUCell(3)), highway(oracle.gru(3, True))),
    Row("highway_uncoupled", HighwayWrapper(jaxrnn.LSTMCell(3), False), highway(oracle.lstm(3))),
    Row("attention_cell", AttentionCellWrapper(jaxrnn.LSTMCell(5), 4, **SIZES), attention(oracle.lstm(5), 4)),
    Row(
        "attention_cell_stack", AttentionCellWrapper(STACK, 1), attention(oracle.stack(oracle.gru(4, False), oracle.lstm(5)), 1)
    ),
]
GOLDENS = {
    "highway": HighwayWrapper(jaxrnn.LSTMCell(3)),
    "highway_uncoupled": HighwayWrapper(jaxrnn.LSTMCell(3), couple_carry_transform_gates=False),
    "attention_cell": AttentionCellWrapper(jaxrnn.GRUCell(5, reset_after=False), 4),
    "attention_cell_sizes": AttentionCellWrapper(STACK, 4, **SIZES),
    # The core's wrappers that only TF 1.15 has.
    "input_projection": jaxrnn.InputProjectionWrapper(jaxrnn.GRUCell(5, reset_after=False), 2, activation=jnp.tanh),
    "output_projection": jaxrnn.OutputProjectionWrapper(jaxrnn.LSTMCell(5), 2, activation=jax.nn.soft_sign),
    "embedding": jaxrnn.EmbeddingWrapper(jaxrnn.GRUCell(5, reset_after=False), 11, 2),
}
