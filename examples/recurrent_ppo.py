"""Recurrent PPO: a GRU learns by reinforcement to remember which way to turn, in half a minute on two CPU cores.

    python examples/recurrent_ppo.py
    python examples/recurrent_ppo.py --length 30 --rollout 128 --updates 200    a longer corridor, in a minute and a half
    python examples/recurrent_ppo.py --rollout 8 --updates 800    gradients end short of the cue: some seeds learn, and late

A T-maze (after Bakker, 2001). An agent stands at the start of a corridor and sees a cue, left or right. From the next step
on the cue is gone, and all of the corridor looks the same. At the junction at its end the agent has to turn to the side that
the cue showed: that earns 1, the other side 0. Both end the episode, and so do 4 N steps. The optimum is a mean return
of 1. Without a memory the turn is a toss of a coin, and no policy is better than 1/2.

Policy and value function are one cell, a GRU with a linear layer on top. It acts step by step. It learns by PPO (Schulman et
al., 2017), where `dynamic_rnn` runs it over whole rollouts: from the state in which the rollout began, with a reset where an
episode begins. Beside it the same cell is trained without a memory, reset at every step. All seeds of both are one program.

Writes mean_returns.png to out/recurrent_ppo/.
"""

import argparse
import functools
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
parser.add_argument("--out", default="out/recurrent_ppo", help="where the picture goes")
parser.add_argument("--length", type=int, default=10, help="N, steps from the cue to the junction")
parser.add_argument("--updates", type=int, default=100, help="rollouts, and learning from each")
parser.add_argument("--environments", type=int, default=64, help="B, side by side")
parser.add_argument("--rollout", type=int, default=64, help="T, steps in each environment before each update")
parser.add_argument("--units", type=int, default=32, help="H, of the GRU")
parser.add_argument("--epochs", type=int, default=4, help="passes over a rollout")
parser.add_argument("--minibatches", type=int, default=4, help="in a pass; each has its share of the environments")
parser.add_argument("--learning-rate", type=float, default=1e-3, help="at its start; it falls to zero")
parser.add_argument("--discount", type=float, default=0.99, help="gamma, of rewards to come")
parser.add_argument("--trace", type=float, default=0.95, help="lambda, of generalised advantage estimation")
parser.add_argument("--clip", type=float, default=0.2, help="epsilon, how far an importance ratio counts")
parser.add_argument("--entropy", type=float, default=0.01, help="weight of the entropy bonus")
parser.add_argument("--seeds", type=int, default=4, help="runs with a memory, and as many without")
parser.add_argument("--seed", type=int, default=0, help="the first of them")

OPTIMUM, CHANCE = 1.0, 0.5  # mean returns: of the best policy, and of the best one without a memory
FORWARD, LEFT, RIGHT = range(3)
ACTIONS, SIGHTS = 3, 4  # sights: cue left, cue right, corridor, junction


# ---- the mazes


class Maze(NamedTuple):
    """B mazes and the agents in them, integers `[B]`."""

    place: jax.Array  # steps from the start; the junction is at N
    cue: jax.Array  # LEFT or RIGHT
    clock: jax.Array  # steps since the episode began


def new_mazes(key: jax.Array, batch: int) -> Maze:
    """Agents at the start, with cues drawn at random."""
    start = jnp.zeros(batch, jnp.int32)
    return Maze(start, jax.random.randint(key, (batch,), LEFT, RIGHT + 1), start)


def look(maze: Maze, length: int) -> jax.Array:
    """What the agents see, one-hot `[B, 4]`: the cue in an episode's first step and never again."""
    sight = jnp.where(maze.place == length, 3, 2)
    return jax.nn.one_hot(jnp.where(maze.clock == 0, maze.cue - LEFT, sight), SIGHTS)


def move(maze: Maze, action: jax.Array, key: jax.Array, length: int) -> tuple[Maze, jax.Array, jax.Array]:
    """The mazes after a step, its rewards and whether it ended an episode: if so, a new one has begun.

    A turn within the corridor and a step forward at the junction bump into a wall: time passes, and that is all.
    """
    at_junction, ahead, clock = maze.place == length, action == FORWARD, maze.clock + 1
    turned = at_junction & ~ahead
    done = turned | (clock == 4 * length)
    moved = Maze(jnp.minimum(maze.place + ahead, length), maze.cue, clock)
    fresh = new_mazes(key, len(action))
    maze = jax.tree.map(lambda old, new: jnp.where(done, new, old), moved, fresh)
    return maze, jnp.float32(turned & (action == moved.cue)), done


# ---- acting


class Acting(NamedTuple):
    """Where the agents are, between two steps and between two rollouts."""

    maze: Maze
    state: Any  # the cell's, leaves [B, H]
    done: jax.Array  # [B], whether the step before ended an episode: then the state is not yet reset


class Steps(NamedTuple):
    """A rollout, leaves `[B, T, ...]`."""

    sight: jax.Array
    action: jax.Array
    log_prob: jax.Array  # of the action, when it was drawn
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def policy_and_value(output):
    """The cell's output, as log-probabilities of the actions `[..., 3]` and a value `[...]`."""
    return jax.nn.log_softmax(output[..., :ACTIONS]), output[..., ACTIONS]


def of_action(log_probs, action):
    """The log-probability of each action that was taken."""
    return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def think(cell, params, acting: Acting, forget, settings):
    """A step of the cell: what it sees, its policy and value, its new state. `forget` resets it at every step."""
    own = cell.initial_state(settings.environments)
    again = (acting.done | forget)[:, None]
    state = jax.tree.map(lambda new, old: jnp.where(again, new, old), own, acting.state)
    sight = look(acting.maze, settings.length)
    output, state = cell(params, sight, state)
    return sight, *policy_and_value(output), state


def roll_out(cell, params, acting: Acting, key, forget, settings) -> tuple[Acting, Steps]:
    """T steps of every agent, and where they are then."""

    def step(acting, key):
        act_key, maze_key = jax.random.split(key)
        sight, log_probs, value, state = think(cell, params, acting, forget, settings)
        action = jax.random.categorical(act_key, log_probs)
        maze, reward, done = move(acting.maze, action, maze_key, settings.length)
        return Acting(maze, state, done), Steps(sight, action, of_action(log_probs, action), value, reward, done)

    acting, steps = lax.scan(step, acting, jax.random.split(key, settings.rollout))
    return acting, jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), steps)


def advantages(steps: Steps, last_value: jax.Array, discount: float, trace: float) -> jax.Array:
    """Generalised advantage estimation (Schulman et al., 2016), `[B, T]`: nothing flows back over the end of an episode."""

    def step(carry, item):
        advantage, next_value = carry
        value, reward, done = item
        error = reward + discount * jnp.where(done, 0, next_value) - value
        advantage = error + discount * trace * jnp.where(done, 0, advantage)
        return (advantage, value), advantage

    items = steps.value.T, steps.reward.T, steps.done.T
    return lax.scan(step, (jnp.zeros_like(last_value), last_value), items, reverse=True)[1].T


# ---- learning


class Training(NamedTuple):
    """All that an update changes."""

    params: Any
    opt_state: Any
    acting: Acting
    key: jax.Array


class Batch(NamedTuple):
    """What is learned from, leaves `[B, ...]`: a minibatch is some of its rows, whole rollouts of some environments."""

    steps: Steps
    carry: Any  # the state in which the rollout began
    resets: jax.Array
    advantage: jax.Array


def ppo_loss(params, batch: Batch, cell, settings):
    """The clipped objective, the values' squared error and the entropy; also the largest distance of a ratio from 1."""
    steps, advantage = batch.steps, batch.advantage
    outputs, _ = jaxrnn.dynamic_rnn(cell, params, steps.sight, initial_state=batch.carry, resets=batch.resets)
    log_probs, value = policy_and_value(outputs)
    ratio = jnp.exp(of_action(log_probs, steps.action) - steps.log_prob)
    clipped = jnp.clip(ratio, 1 - settings.clip, 1 + settings.clip)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    objective = jnp.minimum(ratio * scaled, clipped * scaled).mean()
    error = jnp.square(value - (steps.value + advantage)).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return 0.5 * error - objective - settings.entropy * entropy, jnp.abs(ratio - 1).max()


def learn(params, opt_state, batch: Batch, key, cell, optimizer, settings):
    """Some epochs over a rollout; also how far a ratio is from 1 in every step, the first before any was made."""

    def step(carry, rows):
        params, opt_state = carry
        minibatch = jax.tree.map(lambda leaf: leaf[rows], batch)
        grads, distance = jax.grad(ppo_loss, has_aux=True)(params, minibatch, cell, settings)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), distance

    shuffle = lambda key: jax.random.permutation(key, settings.environments).reshape(settings.minibatches, -1)
    rows = jax.vmap(shuffle)(jax.random.split(key, settings.epochs))
    return lax.scan(step, (params, opt_state), rows.reshape(settings.epochs * settings.minibatches, -1))


class News(NamedTuple):
    """What an update reports."""

    earned: jax.Array  # the sum of the rollout's rewards; all of an episode's comes with its end
    ended: jax.Array  # episodes
    distance: jax.Array  # of the first importance ratios from 1: the learner's policy is still the actor's


def update(training: Training, forget, cell, optimizer, settings) -> tuple[Training, News]:
    """A rollout, and what is learned from it."""
    params, opt_state, before, key = training
    key, act_key, learn_key = jax.random.split(key, 3)
    acting, steps = roll_out(cell, params, before, act_key, forget, settings)
    last_value = think(cell, params, acting, forget, settings)[2]
    advantage = advantages(steps, last_value, settings.discount, settings.trace)
    resets = jaxrnn.resets_from_dones(steps.done, before.done) | forget
    batch = Batch(steps, before.state, resets, advantage)
    (params, opt_state), distances = learn(params, opt_state, batch, learn_key, cell, optimizer, settings)
    return Training(params, opt_state, acting, key), News(steps.reward.sum(), steps.done.sum(), distances[0])


# ---- the results


def mean_returns(history: list[News]) -> np.ndarray:
    """The mean return of each run's episodes in these updates, `[2, seeds]`: with a memory, and without."""
    earned, ended = (np.sum(part, axis=0).reshape(2, -1) for part in list(zip(*history, strict=True))[:2])
    return np.where(ended > 0, earned / np.maximum(ended, 1), np.nan)


def row(means: np.ndarray) -> str:
    """Some means in a row, one for each seed."""
    return "  ".join(f"{mean:.3f}" for mean in means)


def draw(path: pathlib.Path, returns: np.ndarray) -> None:
    """Mean returns `[updates, 2, seeds]`, a thin line for each seed, beside the optimum and chance."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    updates, _, seeds = returns.shape
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for height, label in ((OPTIMUM, "optimum"), (CHANCE, "chance")):
        axes.axhline(height, color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        axes.text(1.01 * updates, height, label, color="0.4", va="center")
    labels = (f"GRU, {seeds} seeds", "tab:blue", 0.93), ("the same, reset at every step", "tab:red", 0.35)
    for runs, (label, color, height) in zip(returns.swapaxes(0, 1), labels, strict=True):
        axes.plot(np.arange(1, updates + 1), runs, color=color, linewidth=0.8)
        axes.text(updates, height, label, color=color, va="center", ha="right")
    axes.set(xlabel="update", ylabel="mean return of a rollout's episodes", xlim=(0, updates), ylim=(0, 1.05))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


# ---- the run


def init(key, cell, optimizer, settings) -> Training:
    """New params; agents at the start of new mazes."""
    params_key, maze_key, key = jax.random.split(key, 3)
    params, batch = cell.init(params_key, SIGHTS), settings.environments
    acting = Acting(new_mazes(maze_key, batch), cell.initial_state(batch), jnp.ones(batch, bool))
    return Training(params, optimizer.init(params), acting, key)


def train(settings: argparse.Namespace) -> list[News]:
    """Runs all updates of all seeds, with a memory and without; what they reported, leaves `[2 seeds]`."""
    updates, seeds = settings.updates, settings.seeds
    cell = jaxrnn.OutputProjectionWrapper(jaxrnn.GRUCell(settings.units), ACTIONS + 1)
    rate = optax.linear_schedule(settings.learning_rate, 0.0, updates * settings.epochs * settings.minibatches)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate, eps=1e-5))
    parts = {"cell": cell, "optimizer": optimizer, "settings": settings}
    start = jax.jit(jax.vmap(functools.partial(init, **parts)))
    go_on = jax.jit(jax.vmap(functools.partial(update, **parts)), donate_argnums=0)

    keys = jax.vmap(jax.random.key)(settings.seed + jnp.arange(2 * seeds) % seeds)
    forget = jnp.arange(2 * seeds) >= seeds
    training, history, began, speed = start(keys), [], time.perf_counter(), ""
    every, steps = max(1, updates // 10), 2 * seeds * settings.environments * settings.rollout
    for done in range(1, updates + 1):
        training, news = go_on(training, forget)
        history.append(jax.tree.map(np.asarray, news))
        if done == 1:
            print(f"compiled and made the first update in {time.perf_counter() - began:.1f} s", flush=True)
            began = time.perf_counter()
        else:
            speed = f"{(done - 1) * steps / (time.perf_counter() - began) / 1000:.0f}k steps/s"
        if done % every == 0 or done == updates:
            memory, none = map(row, mean_returns(history[-every:]))
            print(f"update {done:>{len(str(updates))}}/{updates}  GRU {memory}  no memory {none}  {speed}", flush=True)
    return history


def main(settings: argparse.Namespace) -> None:
    """Trains, prints, draws."""
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"T-maze of length {settings.length}: mean returns of {settings.seeds} seeds, optimum {OPTIMUM}, chance {CHANCE}")
    history = train(settings)
    last = max(1, settings.updates // 10)
    memory, none = map(row, mean_returns(history[-last:]))
    print(f"\nmean return of the last {last} updates, seed {settings.seed} and on")
    print(f"  GRU                           {memory}\n  the same, reset at each step  {none}")
    print(f"importance ratios of an update's first step: 1, to {max(news.distance.max() for news in history):.1e}")
    draw(out / "mean_returns.png", np.array([mean_returns([news]) for news in history]))


if __name__ == "__main__":
    options = parser.parse_args()
    if options.environments % options.minibatches:
        parser.error("--minibatches has to divide --environments")
    main(options)
