"""What the runners should give: float64 numpy, one example and one step at a time. It shares no code with the package."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(a, 0)


# A step is (params, x [D], state, t, row) -> (output, new state), written from the papers, gate by gate.


def basic(act=np.tanh):
    def step(p, x, h, t, row):
        h = act(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"])
        return h, h

    return step


def lstm(num_units, act=np.tanh, peepholes=False, cell_clip=None, proj_clip=None):
    def step(p, x, state, t, row):
        c, h = state
        columns = [slice(k * num_units, (k + 1) * num_units) for k in range(4)]
        i, f, g, o = (x @ p["kernel"][:, k] + h @ p["recurrent_kernel"][:, k] + p["bias"][k] for k in columns)
        if peepholes:
            i, f = i + p["w_i_diag"] * c, f + p["w_f_diag"] * c
        c = sigmoid(f) * c + sigmoid(i) * act(g)
        if cell_clip:
            c = np.clip(c, -cell_clip, cell_clip)
        if peepholes:
            o = o + p["w_o_diag"] * c
        h = sigmoid(o) * act(c)
        if "projection_kernel" in p:
            h = h @ p["projection_kernel"]
        if proj_clip:
            h = np.clip(h, -proj_clip, proj_clip)
        return h, (c, h)

    return step


def gru(num_units, reset_after, act=np.tanh):
    def step(p, x, h, t, row):
        wr, wu, wn = (p["kernel"][:, k * num_units : (k + 1) * num_units] for k in range(3))
        ur, uu, un = (p["recurrent_kernel"][:, k * num_units : (k + 1) * num_units] for k in range(3))
        br, bu, bn = (p["bias"][k * num_units : (k + 1) * num_units] for k in range(3))
        r = sigmoid(x @ wr + h @ ur + br)
        u = sigmoid(x @ wu + h @ uu + bu)
        n = act(x @ wn + bn + (r * (h @ un + p["recurrent_bias"]) if reset_after else (r * h) @ un))
        h = u * h + (1 - u) * n
        return h, h

    return step


def stack(*steps):
    def step(p, x, state, t, row):
        new = []
        for k, layer in enumerate(steps):
            x, s = layer(p[f"cell_{k}"], x, state[k], t, row)
            new.append(s)
        return x, tuple(new)

    return step


def residual(inner):
    def step(p, x, state, t, row):
        output, state = inner(p, x, state, t, row)
        return x + output, state

    return step


def input_projection(inner, act=lambda a: a):
    def step(p, x, state, t, row):
        return inner(p["cell"], act(x @ p["projection"]["kernel"] + p["projection"]["bias"]), state, t, row)

    return step


def output_projection(inner, act=lambda a: a):
    def step(p, x, state, t, row):
        output, state = inner(p["cell"], x, state, t, row)
        return act(output @ p["projection"]["kernel"] + p["projection"]["bias"]), state

    return step


def embedding(inner):
    def step(p, x, state, t, row):
        return inner(p["cell"], p["embedding"][x], state, t, row)

    return step


def dropout(inner, masks):
    """`masks[t]`: (input factors, state factors, output factors), rows of the batch first; None where nothing drops."""

    def step(p, x, state, t, row):
        on_input, on_state, on_output = masks[t]
        output, state = inner(p, x if on_input is None else x * on_input[row], state, t, row)
        if on_state is not None:
            state = tree_map(lambda s, f: s if f is None else s * f[row], state, on_state)
        return output if on_output is None else output * on_output[row], state

    return step


# ---- trees of tuples and dicts


def tree_map(f, tree, *rest):
    if isinstance(tree, dict):
        return {k: tree_map(f, tree[k], *(r[k] for r in rest)) for k in tree}
    if isinstance(tree, tuple):
        return tuple(tree_map(f, *parts) for parts in zip(tree, *rest, strict=True))
    return f(tree, *rest)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for k in sorted(tree) for leaf in leaves(tree[k])]
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


# ---- the runner


def rnn(step, params, inputs, initial_state, lengths=None, resets=None, reverse=False, reset_state=None, mask=None):
    """inputs [B, T, ...] -> (outputs [B, T, ...], state [B, ...]), row by row; resets go back to zeros or `reset_state`."""
    batch, time = leaves(inputs)[0].shape[:2]
    rows, states = [], []
    for b in range(batch):
        length = time if lengths is None else min(max(int(lengths[b]), 0), time)
        state, outputs = tree_map(lambda leaf: leaf[b], initial_state), [None] * time
        start = tree_map(np.zeros_like, state) if reset_state is None else tree_map(lambda leaf: leaf[b], reset_state)
        for t in range(length)[:: -1 if reverse else 1]:
            if resets is not None and resets[b, t]:
                state = start
            if mask is not None and not mask[b, t]:
                continue
            outputs[t], state = step(params, tree_map(lambda leaf: leaf[b, t], inputs), state, t, b)
        rows.append(outputs)
        states.append(state)
    shape = next((np.shape(o) for outputs in rows for o in outputs if o is not None), None)
    full = [[np.zeros(shape) if o is None else o for o in outputs] for outputs in rows] if shape else None
    return full if full is None else np.array(full), tree_map(lambda *leaf: np.array(leaf), *states)


def directional(f, point, direction, eps=1e-5):
    """The derivative of f at `point` along `direction`, by central differences of the fourth order."""
    move = lambda a, d, k: a + k * eps * d if d.any() else a
    at = lambda k: f(tree_map(lambda a, d: move(a, d, k), point, direction))
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * eps)
