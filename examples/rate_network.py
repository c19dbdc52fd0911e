"""A network of excitatory and inhibitory rates learns which of two noisy signals to heed, in seconds on two CPU cores.

    python examples/rate_network.py
    python examples/rate_network.py --state-noise 0.5    the network's own noise blurs its choices
    python examples/rate_network.py --excitatory 1       without inhibition

Context-dependent integration (Mante et al., 2013). In each trial two signals, called motion and colour, are shown at once. Each
leans to the left or to the right, weakly, under noise. A cue says which of the two counts: the network has to sum that one over
time and say at the end where it leans. The other signal, just as strong, has to leave no trace. No one can be right always: an
ideal observer, who sums the signal that counts without a fault, is drawn beside the network.

The network is a leaky network of rates under Dale's law (after Song et al., 2016): a unit excites all others or inhibits all.
It is a cell in four functions. Its noise is drawn inside, where the runner has a key; a run without a key is free of noise.

Writes rate_network.png to out/rate_network/: how training went, what the network answers to either signal in both contexts,
and its recurrent weights.
"""

import argparse
import dataclasses
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import jaxrnn

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--out", default="out/rate_network", help="where the picture goes")
parser.add_argument("--units", type=int, default=100, help="H")
parser.add_argument("--excitatory", type=float, default=0.8, help="share of the units that excite")
parser.add_argument("--leak", type=float, default=0.2, help="a step's length over the time constant of a unit")
parser.add_argument("--state-noise", type=float, default=0.15, help="sigma of each unit's noise, in units of its state")
parser.add_argument("--input-noise", type=float, default=1.0, help="sigma of a signal's noise in a step")
parser.add_argument("--updates", type=int, default=400, help="steps of Adam, each on trials of its own")
parser.add_argument("--batch", type=int, default=64, help="B, trials an update")
parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its start; it falls to zero")
parser.add_argument("--test-trials", type=int, default=4000, help="trials of each context that the answers are drawn from")
parser.add_argument("--seed", type=int, default=0, help="of params, trials and noise")

REST, SHOW, ANSWER = 5, 30, 10  # steps: the cue alone, the signals, the answer
TIME = REST + SHOW + ANSWER
STRENGTHS = (0.06, 0.15, 0.35)  # how far a signal leans to a side, before noise of sigma 1
CONTEXTS = ("motion counts", "colour counts")


# ---- the network


@dataclasses.dataclass(frozen=True)
class RateCell(jaxrnn.RNNCell):
    """Leaky rates under Dale's law.

        x' = (1 - a) x + a (r(x) W + u B + b) + s sqrt(2 a) n        r(x) = max(x, 0), the output

    W has one sign in each row: a unit's rate acts on all others alike. n is drawn from a normal distribution.
    """

    num_units: int
    num_excitatory: int
    leak: float = 0.2  # a
    noise: float = 0.15  # s
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key: jax.Array, input_size: int, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
        """Excitation and inhibition that cancel out on average, with a spectral radius of about 1."""
        k1, k2 = jax.random.split(key)
        inhibitory = self.num_units - self.num_excitatory
        scale = jnp.where(self.signs > 0, 1.0, self.num_excitatory / max(inhibitory, 1))
        kernel = jax.random.gamma(k1, 2.0, (self.num_units, self.num_units)) * scale[:, None]
        radius = jnp.abs(jnp.linalg.eigvals(self.signs[:, None] * kernel)).max()
        return {
            "kernel": 0.5 * jax.random.normal(k2, (input_size, self.num_units), dtype),
            "recurrent_kernel": (kernel / radius).astype(dtype),
            "bias": jnp.zeros(self.num_units, dtype),
        }

    @property
    def signs(self) -> jax.Array:
        """`[H]`, 1 for a unit that excites and -1 for one that inhibits."""
        return jnp.where(jnp.arange(self.num_units) < self.num_excitatory, 1.0, -1.0)

    def weights(self, params: Any) -> jax.Array:
        """W `[H, H]`, from each unit (its row) to each other one."""
        return self.signs[:, None] * jnp.abs(params["recurrent_kernel"])

    def project(self, params, inputs, *, key=None):
        """What comes from outside: a (u B + b), and the noise if there is a key."""
        z = self.leak * (inputs @ params["kernel"] + params["bias"][None])
        if key is None:
            return z
        return z + self.noise * (2 * self.leak) ** 0.5 * jax.random.normal(key.step, z.shape, z.dtype)

    def recur(self, params, state):
        """What comes from the other units."""
        return jax.nn.relu(state) @ self.weights(params)

    def gates(self, params, z, r, state):
        """Both."""
        return z + self.leak * r

    def combine(self, params, g, state):
        """The rates, and x'."""
        x = (1 - self.leak) * state + g
        return jax.nn.relu(x), x


# ---- the task


class Trials(NamedTuple):
    """B trials."""

    inputs: jax.Array  # [B, T, 4]: motion, colour, and the cue, one-hot
    lean: jax.Array  # [B, 2], of motion and of colour: positive to the right
    context: jax.Array  # [B], 0 or 1: the signal that counts

    @property
    def answer(self) -> jax.Array:
        """`[B]`, whether the signal that counts leans to the right."""
        return jnp.take_along_axis(self.lean, self.context[:, None], 1)[:, 0] > 0


def new_trials(key: jax.Array, batch: int, noise: float) -> Trials:
    """Trials of both contexts and all strengths, drawn at random."""
    keys = jax.random.split(key, 4)
    context = jax.random.randint(keys[0], (batch,), 0, 2)
    lean = jax.random.choice(keys[1], jnp.array(STRENGTHS), (batch, 2)) * jax.random.rademacher(keys[2], (batch, 2))
    signals = lean[:, None] + noise * jax.random.normal(keys[3], (batch, TIME, 2))
    shown = (jnp.arange(TIME) >= REST) & (jnp.arange(TIME) < REST + SHOW)
    cue = jnp.broadcast_to(jax.nn.one_hot(context, 2)[:, None], (batch, TIME, 2))
    return Trials(jnp.concatenate([jnp.where(shown[None, :, None], signals, 0), cue], -1), lean, context)


def evidence(cell: RateCell, params: Any, trials: Trials, key: jax.Array | None) -> jax.Array:
    """What the network says in the steps of the answer, `[B, ANSWER]`: the log-odds of "right"."""
    rates, _ = jaxrnn.dynamic_rnn(cell, params["cell"], trials.inputs, key=key)
    return rates[:, -ANSWER:] @ params["readout"]


def loss_of(params: Any, trials: Trials, key: jax.Array, cell: RateCell) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of the answers, and the share of them that is right."""
    log_odds = evidence(cell, params, trials, key)
    loss = optax.sigmoid_binary_cross_entropy(log_odds, trials.answer[:, None].astype(log_odds.dtype)).mean()
    return loss, ((log_odds.mean(1) > 0) == trials.answer).mean()


# ---- training


def train(cell: RateCell, settings: argparse.Namespace) -> tuple[Any, np.ndarray]:
    """The trained params, and the share of right answers in every update."""
    params_key, readout_key, trial_key = jax.random.split(jax.random.key(settings.seed), 3)
    params = {
        "cell": cell.init(params_key, 4),
        "readout": jax.random.normal(readout_key, (cell.num_units,)) / cell.num_units**0.5,
    }
    rate = optax.linear_schedule(settings.learning_rate, 0.0, settings.updates)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def update(carry, key):
        params, opt_state = carry
        draw, noise = jax.random.split(key)
        trials = new_trials(draw, settings.batch, settings.input_noise)
        grads, right = jax.grad(loss_of, has_aux=True)(params, trials, noise, cell)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), right

    some_updates = jax.jit(lambda carry, keys: lax.scan(update, carry, keys), donate_argnums=0)
    carry, history, began = (params, optimizer.init(params)), [], time.perf_counter()
    for keys in np.array_split(jax.random.split(trial_key, settings.updates), 10):
        carry, right = some_updates(carry, keys)
        history.append(np.asarray(right))
        done, seconds = sum(map(len, history)), time.perf_counter() - began
        print(f"update {done:>5}/{settings.updates}  right {right.mean():.3f}  {seconds:.0f} s", flush=True)
    return carry[0], np.concatenate(history)


def test(cell: RateCell, params: Any, settings: argparse.Namespace) -> np.ndarray:
    """How often the network says "right", `[context, signal, lean]`, the leans in ascending order."""
    draw, noise = jax.random.split(jax.random.key(settings.seed + 1))
    trials = new_trials(draw, 2 * settings.test_trials, settings.input_noise)
    says_right = jax.jit(lambda params, trials: evidence(cell, params, trials, noise).mean(1) > 0)(params, trials)
    leans, context = np.asarray(trials.lean), np.asarray(trials.context)
    share = lambda c, s, lean: np.asarray(says_right)[(context == c) & (leans[:, s] == lean)].mean()
    return np.array([[[share(c, s, lean) for lean in np.unique(leans)] for s in (0, 1)] for c in (0, 1)])


def ideal(lean: np.ndarray, settings: argparse.Namespace) -> np.ndarray:
    """How often the sum of a signal over all steps that show it is positive."""
    return np.asarray(jax.scipy.stats.norm.cdf(lean * SHOW**0.5 / settings.input_noise))


# ---- the picture


def draw(path: pathlib.Path, history: np.ndarray, says_right: np.ndarray, weights: np.ndarray, settings: Any) -> None:
    """Training, the answers, the weights."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(16, 4), layout="constrained")
    smooth = max(1, len(history) // 50)
    means = history[: len(history) // smooth * smooth].reshape(-1, smooth).mean(1)
    axes[0].plot(smooth * np.arange(1, len(means) + 1), means, color="tab:blue")
    for height, label in ((0.5, "chance"), (ideal(np.array(STRENGTHS), settings).mean(), "ideal observer")):
        axes[0].axhline(height, color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        axes[0].text(len(history), height + 0.03, label, color="0.4", ha="right", va="center")
    axes[0].set(xlabel="update", ylabel="share of right answers", ylim=(0.45, 0.9), xlim=(0, len(history)))
    leans = np.sort([sign * s for s in STRENGTHS for sign in (-1, 1)])
    for c, name in enumerate(CONTEXTS):
        for s, (signal, color) in enumerate((("motion", "tab:blue"), ("colour", "tab:orange"))):
            axes[1 + c].plot(leans, says_right[c, s], "o-", color=color, markersize=4)
            axes[1 + c].text(
                leans[-1], says_right[c, s, -1] - (0.12 if s == c else 0.04), signal, color=color, ha="right", va="top"
            )
        axes[1 + c].plot(leans, ideal(leans, settings), color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        axes[1 + c].text(leans[-1], 0.03, "dashed: an ideal observer", color="0.4", ha="right")
        axes[1 + c].set(title=name, xlabel="how far a signal leans to the right", ylim=(0, 1), ylabel="says right")
    limit = np.quantile(np.abs(weights), 0.98)
    image = axes[3].imshow(weights, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes[3].set(title="recurrent weights", xlabel="to unit", ylabel="from unit")
    figure.colorbar(image, ax=axes[3], shrink=0.8)
    for axis in axes[:3]:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main(settings: argparse.Namespace) -> None:
    """Trains, tests, draws."""
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    cell = RateCell(settings.units, round(settings.excitatory * settings.units), settings.leak, settings.state_noise)
    params, history = train(cell, settings)
    says_right = test(cell, params, settings)
    print('\nhow often the network says "right", by how far a signal leans to the right')
    leans = np.sort([sign * s for s in STRENGTHS for sign in (-1, 1)])
    print(" " * 24 + "".join(f"{lean:>8}" for lean in leans))
    for c, name in enumerate(CONTEXTS):
        for s, signal in enumerate(("motion", "colour")):
            print(f"{name:15} {signal:8}" + "".join(f"{share:8.2f}" for share in says_right[c, s]))
    draw(out / "rate_network.png", history, says_right, np.asarray(cell.weights(params["cell"])), settings)


if __name__ == "__main__":
    main(parser.parse_args())
