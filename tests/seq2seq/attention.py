"""Attention in numpy, and the cells of its goldens."""

import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.seq2seq import (
    AttentionWrapper,
    BahdanauAttention,
    BahdanauMonotonicAttention,
    Dense,
    LuongAttention,
    LuongMonotonicAttention,
    hardmax,
)
from tests.oracle import sigmoid

# ---- goldens: H = 4, A = 2, Dm = 5, U = 7

GRU = jaxrnn.GRUCell(4, reset_after=False)


def wrapped(mechanism, **options):
    return AttentionWrapper(GRU, mechanism, **{"attention_layer_size": 2, **options})


def keys_and_values(keys, values):
    return 2 * keys, jnp.concatenate([values, keys[:, :, :2]], 2)


def times(inputs, attention):
    return jnp.concatenate([inputs * jnp.broadcast_to(attention[:, :1], inputs.shape), attention], -1)


LUONG, SCALED, BAHDANAU = LuongAttention(4, 5), LuongAttention(4, 5, scale=True), BahdanauAttention(7, 5)
KEY_VALUE = LuongAttention(4, 5, custom_key_value_fn=keys_and_values)
GOLDENS = {
    "luong": wrapped(LUONG),
    "luong_context": wrapped(LUONG, attention_layer_size=None),
    "luong_no_lengths": wrapped(LUONG),
    "luong_scaled": wrapped(SCALED),
    "luong_hardmax": wrapped(LuongAttention(4, 5, probability_fn=hardmax)),
    "luong_mask_value": wrapped(LuongAttention(4, 5, score_mask_value=-0.5)),
    "luong_key_value": wrapped(KEY_VALUE, attention_layer_size=None),
    "bahdanau": wrapped(BAHDANAU, attention_layer_size=None, output_attention=False),
    "bahdanau_normalized": wrapped(BahdanauAttention(7, 5, normalize=True)),
    "luong_monotonic": wrapped(LuongMonotonicAttention(4, 5, scale=True)),
    "luong_monotonic_recursive": wrapped(LuongMonotonicAttention(4, 5, mode="recursive")),
    "luong_monotonic_hard": wrapped(LuongMonotonicAttention(4, 5, mode="hard")),
    "bahdanau_monotonic": wrapped(BahdanauMonotonicAttention(7, 5)),
    "bahdanau_monotonic_normalized": wrapped(
        BahdanauMonotonicAttention(7, 5, normalize=True, score_bias_init=-0.5, mode="recursive")
    ),
    "bahdanau_monotonic_hard": wrapped(BahdanauMonotonicAttention(7, 5, mode="hard")),
    "attention_layer": wrapped(LUONG, attention_layer_size=None, attention_layer=Dense(2, jnp.tanh)),
    "attention_input_fn": wrapped(LUONG, cell_input_fn=times),
    "attention_several": AttentionWrapper(jaxrnn.LSTMCell(4), (SCALED, BAHDANAU), (2, 1)),
    "attention_several_contexts": AttentionWrapper(GRU, (SCALED, SCALED)),
}
ENCODED = {
    "encoder_luong": wrapped(LuongAttention(4, 4)),
    "encoder_bahdanau": wrapped(BahdanauAttention(7, 4, normalize=True)),
    "encoder_monotonic": wrapped(LuongMonotonicAttention(4, 4, scale=True)),
}


# ---- numpy, from the papers: one row, one step, one position at a time


def softmax(scores):
    weights = [np.exp(s - max(scores)) for s in scores]
    return [w / sum(weights) for w in weights]


def reader(scores, previous, hard=False):
    """Raffel et al., equations 9 and 10, by what they mean: from each position where the reader may have been, on."""
    p = [float(s > 0) if hard else sigmoid(s) for s in scores]
    alignments = []
    for j in range(len(p)):
        alignments.append(sum(previous[k] * np.prod([1 - p[i] for i in range(k, j)]) * p[j] for k in range(j + 1)))
    return alignments


def attention(inner, mechanisms, lengths, output_attention=True):
    """A step of the wrapper around a step `inner`. p has, beside the weights, a tuple of memories `[B, M, Dm]`, each with its
    lengths `[B]` or None; a mechanism is a pair (score of one key, alignments of scores)."""

    def step(p, x, state, t, row):
        cell_state, attended, _, carried = state
        out, cell_state = inner(p["cell"], np.concatenate([x, attended]), cell_state, t, row)
        several = len(mechanisms) > 1
        each = lambda tree: tree if several else (tree,)
        parts, alignments = [], []
        for n, (score, align) in enumerate(mechanisms):
            w, memory = each(p["attention"])[n], p["memories"][n][row]
            count = len(memory) if lengths[n] is None else int(lengths[n][row])
            scores = [score(w, memory[m] @ w["memory_kernel"], out) for m in range(count)]
            a = align(scores, each(carried)[n]) if count else []
            part = np.zeros(memory.shape[1])
            for m in range(count):
                part = part + a[m] * memory[m]
            if "attention_layer" in p:
                layer = each(p["attention_layer"])[n]
                part = np.concatenate([out, part]) @ layer["kernel"]
                part = np.tanh(part + layer["bias"]) if "bias" in layer else part
            parts.append(part)
            alignments.append(np.array([*a, *[0.0] * (len(memory) - count)]))
        attended, alignments = np.concatenate(parts), tuple(alignments) if several else alignments[0]
        return (attended if output_attention else out), (cell_state, attended, alignments, alignments)

    return step


def luong_score(w, key, query):
    return sum(key * query) * w.get("attention_g", 1.0) + w.get("attention_score_bias", 0.0)


def bahdanau_score(w, key, query):
    v = w["attention_v"]
    if "attention_g" in w:
        v = w["attention_g"] * v / np.sqrt(sum(v**2))
    return sum(v * np.tanh(key + query @ w["query_kernel"] + w.get("attention_b", 0.0))) + w.get("attention_score_bias", 0.0)
