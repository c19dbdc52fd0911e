"""Handwritten-like digits, read pixel by pixel: a linear cell beside an LSTM, in three minutes on two CPU cores.

    python examples/digits.py
    python examples/digits.py --cells lru rg_lru min_gru gru

An image of 16 x 16 pixels is a sequence of 256 numbers, row after row. A network of two layers reads it and says at the last
pixel which digit it was: what it saw of the first rows has to last for 200 steps. This is the task of "sequential MNIST" (Le et
al., 2015), with digits that a formula draws: each is a few strokes, which are turned, sheared, moved, and made thick or thin at
random, under noise.

The cells: an LRU (Orvieto et al., 2023) of `jaxrnn.linear`, whose units start with memories of 10 to 1000 steps, and an LSTM.
On a GPU the LRU's steps are joined; on a CPU they are run in turn, as the LSTM's are.

Writes digits.png to out/digits/: some digits, and how training went, by updates and by seconds.

To try next: --size 24, 576 steps; the pixels in a fixed random order; --cells min_gru, which starts with a memory of two steps,
and what becomes of it if the bias of its gate starts at -4.
"""

import argparse
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import linear

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--out", default="out/digits", help="where the picture goes")
parser.add_argument("--cells", nargs="+", default=["lru", "lstm"], help="lru, rg_lru, min_gru, lstm, gru")
parser.add_argument("--size", type=int, default=16, help="pixels of a row; a sequence has as many rows")
parser.add_argument("--units", type=int, default=64, help="H of each layer")
parser.add_argument("--updates", type=int, default=500, help="steps of Adam")
parser.add_argument("--batch", type=int, default=64, help="B, images an update")
parser.add_argument("--learning-rate", type=float, default=3e-3, help="at its height; it rises at first and falls to zero")
parser.add_argument("--test", type=int, default=1000, help="images of the test set")
parser.add_argument("--seed", type=int, default=0, help="of params and images")

# ---- digits

STROKES = [  # of each digit: points in a square from (0, 0), above on the left, to (1, 1)
    [(0.5, 0.0), (0.15, 0.2), (0.1, 0.6), (0.3, 0.95), (0.6, 1.0), (0.85, 0.75), (0.85, 0.3), (0.5, 0.0)],
    [(0.3, 0.25), (0.55, 0.0), (0.55, 1.0)],
    [(0.15, 0.25), (0.4, 0.0), (0.8, 0.15), (0.75, 0.45), (0.1, 1.0), (0.9, 1.0)],
    [(0.15, 0.1), (0.6, 0.0), (0.8, 0.25), (0.4, 0.48), (0.85, 0.7), (0.6, 1.0), (0.1, 0.9)],
    [(0.7, 1.0), (0.7, 0.0), (0.1, 0.65), (0.95, 0.65)],
    [(0.85, 0.0), (0.25, 0.0), (0.2, 0.45), (0.6, 0.4), (0.85, 0.65), (0.65, 0.98), (0.1, 0.92)],
    [(0.75, 0.02), (0.35, 0.3), (0.15, 0.7), (0.4, 1.0), (0.8, 0.85), (0.75, 0.55), (0.4, 0.5), (0.18, 0.7)],
    [(0.1, 0.0), (0.9, 0.0), (0.4, 1.0)],
    [(0.5, 0.46), (0.2, 0.22), (0.5, 0.0), (0.8, 0.22), (0.5, 0.46), (0.12, 0.76), (0.5, 1.0), (0.88, 0.76), (0.5, 0.46)],
    [(0.8, 0.35), (0.45, 0.5), (0.2, 0.25), (0.5, 0.0), (0.82, 0.2), (0.8, 0.35), (0.7, 1.0)],
]


class Images(NamedTuple):
    """B digits."""

    pixels: Any  # [B, size, size], from 0 to 1 and some noise
    digits: Any  # [B], which each is


def draw(rng: np.random.Generator, count: int, size: int) -> Images:
    """Some digits at random."""
    digits = rng.integers(0, 10, count)
    pixels = np.stack([one_digit(rng, np.array(STROKES[digit]), size) for digit in digits])
    return Images((pixels + 0.1 * rng.standard_normal(pixels.shape)).astype(np.float32), digits)


def one_digit(rng: np.random.Generator, points: np.ndarray, size: int) -> np.ndarray:
    """`[size, size]`: how near each pixel is to the strokes."""
    angle, shear = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.array([[1, shear], [0, 1]])
    width, height = rng.uniform(0.4, 0.65), rng.uniform(0.55, 0.75)
    points = points + rng.normal(0, 0.03, points.shape)
    points = ((points - 0.5) * (width, height)) @ turn.T + 0.5 + rng.uniform(-0.1, 0.1, 2)
    middle = (np.arange(size) + 0.5) / size
    grid = np.stack(np.meshgrid(middle, middle), -1)[:, :, None]  # [size, size, 1, 2]
    begin, along = points[:-1], np.diff(points, axis=0)
    share = np.clip(((grid - begin) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    distance = np.linalg.norm(grid - begin - share[..., None] * along, axis=-1).min(-1)
    return np.exp(-((distance / rng.uniform(0.04, 0.07)) ** 2))


# ---- the network


def layer(name: str, units: int) -> Any:
    """A layer of H units that reads H numbers."""
    cells = {
        "lru": lambda: linear.LRUCell(units, r_min=0.9, r_max=0.999, max_phase=np.pi / 4),
        "rg_lru": lambda: linear.RGLRUCell(units),
        "min_gru": lambda: linear.MinGRUCell(units),
        "lstm": lambda: jaxrnn.LSTMCell(units),
        "gru": lambda: jaxrnn.GRUCell(units),
    }
    if name in ("lstm", "gru"):
        return cells[name]()
    return jaxrnn.ResidualWrapper(jaxrnn.OutputProjectionWrapper(cells[name](), units, activation=jax.nn.gelu))


def network(name: str, units: int) -> jaxrnn.MultiRNNCell:
    """Two layers: what a linear one reads goes around it, and what it says goes through something nonlinear."""
    return jaxrnn.MultiRNNCell([jaxrnn.InputProjectionWrapper(layer(name, units), units), layer(name, units)])


def logits_of(params: Any, pixels: jax.Array, cell: Any) -> jax.Array:
    """`[B, 10]`, from the last output."""
    outputs, _ = jaxrnn.dynamic_rnn(cell, params["cell"], pixels.reshape(len(pixels), -1, 1))
    return outputs[:, -1] @ params["kernel"] + params["bias"]


def loss_of(params: Any, images: Images, cell: Any) -> jax.Array:
    """The cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(params, images.pixels, cell), images.digits).mean()


def train(name: str, test: Images, settings: argparse.Namespace) -> list[tuple[int, float, float]]:
    """How it went: updates, seconds, and the share of the test set that is right."""
    cell, rng = network(name, settings.units), np.random.default_rng(settings.seed)
    k1, k2 = jax.random.split(jax.random.key(settings.seed))
    params = {"cell": cell.init(k1, 1), "kernel": jax.random.normal(k2, (settings.units, 10)) / settings.units**0.5}
    params["bias"] = jnp.zeros(10)
    rate = optax.warmup_cosine_decay_schedule(0, settings.learning_rate, max(settings.updates // 20, 1), settings.updates)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    right = jax.jit(lambda params: (logits_of(params, test.pixels, cell).argmax(-1) == test.digits).mean())

    @jax.jit
    def update(params, state, images):
        value, grads = jax.value_and_grad(loss_of)(params, images, cell)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, history, seconds, every = optimizer.init(params), [], 0.0, max(settings.updates // 20, 1)
    update.lower(params, state, draw(rng, settings.batch, settings.size)).compile()
    for i in range(1, settings.updates + 1):
        images = draw(rng, settings.batch, settings.size)
        began = time.perf_counter()
        params, state, value = jax.block_until_ready(update(params, state, images))
        seconds += time.perf_counter() - began
        if i % every == 0 or i == settings.updates:
            history.append((i, seconds, float(right(params))))
            where = f"{name:8} update {i:5}/{settings.updates}  {seconds:6.1f} s"
            print(f"{where}  loss {float(value):.3f}  right {history[-1][2]:.1%}")
    return history


def picture(path: pathlib.Path, test: Images, histories: dict[str, list]) -> None:
    """Digits, and the curves."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 3.2))[:, 0]
    for digit, axis in enumerate(above.subplots(1, 10)):
        axis.imshow(test.pixels[np.argmax(test.digits == digit)], cmap="Greys", vmin=0, vmax=1)
        axis.axis("off")
    axes = below.subplots(1, 2, sharey=True)
    for axis, column, label in zip(axes, (0, 1), ("update", "seconds of training"), strict=True):
        for (name, history), colour in zip(histories.items(), ("tab:blue", "tab:green", "tab:red", "tab:orange"), strict=False):
            axis.plot([point[column] for point in history], [point[2] for point in history], label=name, color=colour)
        axis.set(xlabel=label, ylim=(0, 1.02))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="share of the test set that is right")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main(settings: argparse.Namespace) -> None:
    """Trains each, draws."""
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    test = draw(np.random.default_rng(settings.seed + 1), settings.test, settings.size)
    histories = {name: train(name, test, settings) for name in settings.cells}
    picture(out / "digits.png", test, histories)


if __name__ == "__main__":
    main(parser.parse_args())
