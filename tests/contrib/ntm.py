"""The neural Turing machine: its step in numpy, and the cells of its goldens."""

import numpy as np

import jaxrnn
from jaxrnn.contrib import NTMCell
from tests import oracle
from tests.oracle import sigmoid
from tests.rows import Row


def softplus(a):
    return np.log1p(np.exp(a))


def softmax(a):
    return np.exp(a) / np.exp(a).sum()


def address(k, beta, g, d, gamma, memory, before, shift_range):
    size = len(memory)
    cosine = np.array([m @ k / (np.sqrt(m @ m) * np.sqrt(k @ k) + 1e-8) for m in memory])
    u = g * softmax(beta * cosine) + (1 - g) * before
    shifts = [*range(shift_range + 1), *range(-shift_range, 0)]
    u = np.array([sum(s * u[(i - j) % size] for s, j in zip(d, shifts, strict=True)) for i in range(size)])
    return u**gamma / (u**gamma).sum()


def ntm(controller, width, reads, writes, shift_range, clip=20.0):
    def step(p, x, state, t, row):
        inner, vectors, addresses, memory, started = state
        if not started:
            vectors, memory = np.tanh(p["initial_reads"]), p["initial_memory"]
            addresses = np.array([softmax(a) for a in p["initial_addresses"]])
        y, inner = controller(p["controller"], np.concatenate([x, *vectors]), inner, t, row)
        numbers = list(np.clip(y @ p["heads"]["kernel"] + p["heads"]["bias"], -clip, clip))
        take = lambda count: np.array([numbers.pop(0) for _ in range(count)])
        new = []
        for before in addresses:
            k, beta, g = np.tanh(take(width)), softplus(take(1)), sigmoid(take(1))
            d, gamma = softmax(take(2 * shift_range + 1)), softplus(take(1)) + 1
            new.append(address(k, beta, g, d, gamma, memory, before, shift_range))
        vectors = np.array([w @ memory for w in new[:reads]])
        for w in new[reads:]:
            erase, add = sigmoid(take(width)), np.tanh(take(width))
            memory = memory * (1 - np.outer(w, erase)) + np.outer(w, add)
        output = np.concatenate([y, *vectors]) @ p["output"]["kernel"] + p["output"]["bias"]
        return np.clip(output, -clip, clip), (inner, vectors, np.array(new), memory, np.ones_like(started))

    return step


# Addresses are shares.
RANGES = {"addresses": (0.05, 0.9)}
ROWS = [
    Row(
        "ntm",
        NTMCell(jaxrnn.LSTMCell(5), 6, 4, 2, 2, 2, 7, clip_value=0.9),
        ntm(oracle.lstm(5), 4, 2, 2, 2, 0.9),
        ranges=RANGES,
    )
]
GOLDENS = {
    "ntm": NTMCell(jaxrnn.LSTMCell(5), 6, 4, 2, 1, output_dim=7),
    "ntm_shift": NTMCell(jaxrnn.GRUCell(5, reset_after=False), 6, 4, 1, 2, shift_range=2, output_dim=2, clip_value=0.5),
    "ntm_start": NTMCell(jaxrnn.LSTMCell(5), 6, 4, 2, 1, output_dim=7),
}
