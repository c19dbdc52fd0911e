"""Makes linear.npz: what the papers' own equations give, in float64 numpy, with complex numbers where the papers have them.

    python tests/goldens/linear/make_linear.py

The weights have the papers' names and shapes. tests/linear/test_goldens.py brings them into jaxrnn's layout.
"""

import pathlib

import numpy as np

T, D, H = 9, 4, 6
RNG = np.random.default_rng(2410)
FILES = {}


def sigma(x):
    return 1 / (1 + np.exp(-x))


def save(name, weights, x, y, state):
    for key, value in {**weights, "x": x, "y": np.stack(y), "state": state}.items():
        FILES[f"{name}.{key}"] = value


def draw(**shapes):
    return {name: RNG.normal(size=shape) / 2 for name, shape in shapes.items()}


def min_gru():
    """Feng et al. (2024), section 3.1.3: z_t = sigma(Linear(x_t)), h~_t = Linear(x_t), h_t = (1 - z_t) h_{t-1} + z_t h~_t."""
    w, x, h, y = draw(W_z=(H, D), b_z=(H,), W_h=(H, D), b_h=(H,)), RNG.normal(size=(T, D)), RNG.normal(size=H), []
    w["h_0"] = h
    for x_t in x:
        z = sigma(w["W_z"] @ x_t + w["b_z"])
        h = (1 - z) * h + z * (w["W_h"] @ x_t + w["b_h"])
        y.append(h)
    save("min_gru", w, x, y, h)


def min_lstm():
    """Section 3.2.4: f'_t = f_t / (f_t + i_t), i'_t = i_t / (f_t + i_t), h_t = f'_t h_{t-1} + i'_t h~_t."""
    w = draw(W_f=(H, D), b_f=(H,), W_i=(H, D), b_i=(H,), W_h=(H, D), b_h=(H,))
    x, h, y = RNG.normal(size=(T, D)), RNG.normal(size=H), []
    w["h_0"] = h
    for x_t in x:
        f, i = sigma(w["W_f"] @ x_t + w["b_f"]), sigma(w["W_i"] @ x_t + w["b_i"])
        h = f / (f + i) * h + i / (f + i) * (w["W_h"] @ x_t + w["b_h"])
        y.append(h)
    save("min_lstm", w, x, y, h)


def min_gru_log():
    """Appendix B.2: the same as a product of positive numbers, h~_t = g(Linear(x_t)), by sums of logarithms."""
    g = lambda a: np.where(a >= 0, a + 0.5, sigma(a))
    log_g = lambda a: np.log(g(a))
    w, x = draw(W_z=(H, D), b_z=(H,), W_h=(H, D), b_h=(H,)), RNG.normal(size=(T, D))
    pre = RNG.normal(size=H)
    w["h_0"] = g(pre)
    k = x @ w["W_z"].T + w["b_z"]
    log_z, log_coeffs = -np.log1p(np.exp(-k)), -np.log1p(np.exp(k))
    log_values = np.concatenate([log_g(pre)[None], log_z + log_g(x @ w["W_h"].T + w["b_h"])])
    a_star = np.concatenate([np.zeros((1, H)), np.cumsum(log_coeffs, 0)])
    y = np.exp(a_star + np.logaddexp.accumulate(log_values - a_star, 0))[1:]
    save("min_gru_log", w, x, y, y[-1])


def lru():
    """Orvieto et al. (2023), equation 6 and appendix A: Lambda = exp(-exp(nu) + i exp(theta)), gamma = sqrt(1 - |Lambda|^2),
    x_k = Lambda x_{k-1} + gamma B u_k, y_k = Re(C x_k) + D u_k."""
    r_min, r_max, out = 0.4, 0.99, 3
    u1, u2 = RNG.uniform(size=(2, H))
    nu_log = np.log(-0.5 * np.log(u1 * (r_max + r_min) * (r_max - r_min) + r_min**2))
    theta_log = np.log(u2 * 2 * np.pi)
    w = {
        "nu_log": nu_log,
        "theta_log": theta_log,
        "B": (RNG.normal(size=(H, D)) + 1j * RNG.normal(size=(H, D))) / np.sqrt(2 * D),
        "C": (RNG.normal(size=(out, H)) + 1j * RNG.normal(size=(out, H))) / np.sqrt(H),
        "D": RNG.normal(size=(out, D)),
    }
    diag_lambda = np.exp(-np.exp(nu_log) + 1j * np.exp(theta_log))
    w["gamma_log"] = np.log(np.sqrt(1 - np.abs(diag_lambda) ** 2))
    w["x_0"] = RNG.normal(size=H) + 1j * RNG.normal(size=H)
    u, state, y = RNG.normal(size=(T, D)), w["x_0"], []
    for u_k in u:
        state = diag_lambda * state + np.exp(w["gamma_log"]) * (w["B"] @ u_k)
        y.append((w["C"] @ state).real + w["D"] @ u_k)
    save("lru", w, u, y, state)


def rg_lru():
    """De et al. (2024), equations 1 to 4: r = sigma(W_a x + b_a), i = sigma(W_x x + b_x), log a = -c softplus(Lambda) r,
    h = a h + sqrt(1 - a^2) (i x), with block-diagonal W, in blocks of 2."""
    blocks = 3
    w = draw(W_a=(blocks, 2, 2), b_a=(H,), W_x=(blocks, 2, 2), b_x=(H,), Lambda=(H,))
    full = {}
    for name in ("W_a", "W_x"):
        full[name] = np.zeros((H, H))
        for k in range(blocks):
            full[name][2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = w[name][k]
    x, h, y = RNG.normal(size=(T, H)), RNG.normal(size=H), []
    w["h_0"] = h
    for x_t in x:
        r, i = sigma(full["W_a"] @ x_t + w["b_a"]), sigma(full["W_x"] @ x_t + w["b_x"])
        a = np.exp(-8 * np.log1p(np.exp(w["Lambda"])) * r)
        h = a * h + np.sqrt(1 - a**2) * (i * x_t)
        y.append(h)
    save("rg_lru", w, x, y, h)


def sru():
    """Lei et al. (2017), version 1, equations 3 to 7, its highway with a matrix of its own as the inputs differ in size."""
    w = draw(W=(H, D), W_f=(H, D), b_f=(H,), W_r=(H, D), b_r=(H,), W_x=(H, D))
    x, c, y = RNG.normal(size=(T, D)), RNG.normal(size=H), []
    w["c_0"] = c
    for x_t in x:
        f, r = sigma(w["W_f"] @ x_t + w["b_f"]), sigma(w["W_r"] @ x_t + w["b_r"])
        c = f * c + (1 - f) * (w["W"] @ x_t)
        y.append(r * np.tanh(c) + (1 - r) * (w["W_x"] @ x_t))
    save("sru", w, x, y, c)


def qrnn(pooling, k=2):
    """Bradbury et al. (2017), equations 1 to 5: Z = tanh(W_z * X), F = sigma(W_f * X), by masked convolutions of width k."""
    gates = "z" + pooling
    w = draw(**{f"W_{gate}": (H, k, D) for gate in gates})
    x = RNG.normal(size=(T, D))
    padded = np.concatenate([np.zeros((k - 1, D)), x])
    convolved = {g: sum(padded[j : j + T] @ w[f"W_{g}"][:, j].T for j in range(k)) for g in gates}
    z, (f, *rest) = np.tanh(convolved["z"]), [sigma(convolved[g]) for g in ("f", "o", "i") if g in gates]
    c, y = np.zeros(H), []
    for t in range(T):
        c = f[t] * c + (rest[1][t] if pooling == "ifo" else 1 - f[t]) * z[t]
        y.append(c if pooling == "f" else rest[0][t] * c)
    save(f"qrnn_{pooling}", w, x, y, c)


if __name__ == "__main__":
    for make in (min_gru, min_lstm, min_gru_log, lru, rg_lru, sru):
        make()
    for pooling in ("f", "fo", "ifo"):
        qrnn(pooling)
    np.savez_compressed(pathlib.Path(__file__).with_name("linear.npz"), **FILES)
