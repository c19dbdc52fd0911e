"""A character-level language model: an LSTM learns to write English, letter by letter, in two minutes on two CPU cores.

    python examples/char_lm.py                       on the documentation text that every Python carries
    python examples/char_lm.py --text book.txt       on a text of yours
    python examples/char_lm.py --resume              goes on where Ctrl-C stopped it, to the same numbers
    python examples/char_lm.py --resume --temperature 1    after the end: a bolder sample of the same model

The model reads the text as B parallel streams. A training step takes the next K characters of each and hands the LSTM's
state on to the next step (truncated back-propagation through time), so the model remembers further back than gradients
flow. It is judged by its bits per character on the last tenth of the text, which it does not train on, beside n-gram models.

Writes checkpoint.npz, sample.txt and learning_curve.png to out/char_lm/.
"""

import argparse
import functools
import json
import os
import pathlib
import signal
import sys
import threading
import time
from pydoc_data.topics import topics
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
parser.add_argument("--text", help="a text file in UTF-8, instead of Python's documentation")
parser.add_argument("--out", default="out/char_lm", help="where the results go")
parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, with its settings")
parser.add_argument("--steps", type=int, default=1500, help="training steps")
parser.add_argument("--batch", type=int, default=16, help="B, parallel streams")
parser.add_argument("--window", type=int, default=64, help="K, characters a stream and step")
parser.add_argument("--units", type=int, default=320, help="H, in each LSTM layer")
parser.add_argument("--layers", type=int, default=1, help="LSTM layers")
parser.add_argument("--embedding", type=int, default=64, help="size of a character's embedding")
parser.add_argument("--learning-rate", type=float, default=1.6e-2, help="at its peak; a warm-up first, then a cosine to 0")
parser.add_argument("--evaluations", type=int, default=15, help="held-out evaluations, and checkpoints, in the run")
parser.add_argument("--seed", type=int, default=0, help="of the first params and of the sample")
parser.add_argument("--prompt", default="The ", help="what the sample begins with")
parser.add_argument("--sample", type=int, default=700, help="characters to sample")
parser.add_argument("--temperature", type=float, default=0.6, help="of the sample: 1 is the model's own, towards 0 is greedy")

HELD_OUT_STREAMS = 8  # streams of the held-out text: few, since each begins without a memory


# ---- the text


def read_text(path: str | None) -> str:
    """The file's text; or Python's documentation, in which a paragraph that several topics share is taken once."""
    if path:
        return pathlib.Path(path).read_text(encoding="utf-8")
    paragraphs = "\n\n".join(topics[name].strip() for name in sorted(topics)).split("\n\n")
    return "\n\n".join(dict.fromkeys(paragraphs))


def windows(text: jax.Array, step: jax.Array, batch: int, window: int) -> tuple[jax.Array, jax.Array]:
    """A step's characters and the characters to predict, both `[B, K]`.

    The streams start at the B parts of the text and read on for ever, into the next part and from the text's end to its
    start: where they are follows from the step alone, and their states are never reset.
    """
    starts = jnp.arange(batch) * (len(text) // batch)
    positions = starts[:, None] + step * window + jnp.arange(window + 1)
    characters = text[positions % len(text)]
    return characters[:, :-1], characters[:, 1:]


# ---- the model


def make_cell(classes: int, units: int, layers: int, embedding: int) -> jaxrnn.RNNCell:
    """The whole model as one cell, from a character's id to the logits of the next one."""
    lstm = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(units)] * layers)
    return jaxrnn.OutputProjectionWrapper(jaxrnn.EmbeddingWrapper(lstm, classes, embedding), classes)


def make_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW with clipped gradients; the rate warms up, then falls to zero along a cosine."""
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(50, steps // 2), steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=0.1))


class Training(NamedTuple):
    """All that a training step changes, and so all that a checkpoint has to hold."""

    params: Any
    opt_state: Any
    carry: Any  # the LSTM's state after the last window, leaves [B, H]
    step: jax.Array


def bits_per_character(params, carry, inputs, targets, cell):
    """A window's mean loss in bits, and the LSTM's state after it."""
    logits, carry = jaxrnn.dynamic_rnn(cell, params, inputs, initial_state=carry)
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean() / jnp.log(2), carry


@functools.partial(jax.jit, static_argnames=("cell", "optimizer", "batch", "window"), donate_argnames="training")
def train_step(training: Training, text: jax.Array, *, cell, optimizer, batch, window) -> tuple[Training, jax.Array]:
    """One step of truncated back-propagation through time; also its loss, in bits per character."""
    params, opt_state, carry, step = training
    inputs, targets = windows(text, step, batch, window)
    value_and_grad = jax.value_and_grad(bits_per_character, has_aux=True)
    (loss, carry), grads = value_and_grad(params, carry, inputs, targets, cell)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return Training(optax.apply_updates(params, updates), opt_state, carry, step + 1), loss


@functools.partial(jax.jit, static_argnames=("cell", "batch", "window"))
def evaluate(params: Any, text: jax.Array, *, cell, batch, window) -> jax.Array:
    """Bits per character of a whole text, read as in training: in streams, the state carried from window to window."""

    def next_window(carry, step):
        loss, carry = bits_per_character(params, carry, *windows(text, step, batch, window), cell)
        return carry, loss

    steps = jnp.arange((len(text) - 1) // batch // window)
    return lax.scan(next_window, cell.initial_state(batch), steps)[1].mean()


@functools.partial(jax.jit, static_argnames=("cell", "length"))
def sample(params: Any, prompt: jax.Array, key: jax.Array, temperature: float, *, cell, length) -> jax.Array:
    """How the prompt goes on: the runner reads the prompt; then each character drawn is the next input of the cell."""

    def next_character(carry, key):
        logits, state = carry
        character = jax.random.categorical(key, logits / temperature)
        return cell(params, character, state), character

    logits, state = jaxrnn.dynamic_rnn(cell, params, prompt[None])
    return lax.scan(next_character, (logits[:, -1], state), jax.random.split(key, length))[1][:, 0]


# ---- what it is compared with


def kneser_ney(text: np.ndarray, queries: np.ndarray, classes: int) -> list[np.ndarray]:
    """n-gram models with interpolated Kneser-Ney smoothing (Chen and Goodman, 1999), for n = 1, ..., N.

        p_n(c | h) = max(count(h c) - d, 0) / count(h) + d types(h) / count(h) q_{n-1}(c | h')

    h is the n - 1 characters before c, h' the same without the first one, types(h) the number of different characters
    seen after h. The lower order q_{n-1} has the same form, but counts in how many different contexts its grams were seen,
    not how often; q_0 is uniform. Each order has its own discount d.

    Args:
      text: the training text, ids `[M]` below `classes`.
      queries: `[Q, N]`, in each row a character to predict, last, and the N - 1 before it.
      classes: the number of different characters.

    Returns:
      N arrays `[Q]`: the probability of the queries' last characters under p_n.
    """

    def codes(grams):
        return grams @ classes ** np.arange(grams.shape[1], dtype=np.int64)[::-1]

    def grams(n):
        return codes(np.lib.stride_tricks.sliding_window_view(text, n))

    def lookup(keys, values, query):
        at = np.minimum(np.searchsorted(keys, query), len(keys) - 1)
        return np.where(keys[at] == query, values[at], 0)

    def interpolate(lower, query, keys, counts):
        once, twice = np.sum(counts == 1), np.sum(counts == 2)
        discount = (once + 1) / (once + 2 * twice + 2)  # Ney's estimate, kept within (0, 1)
        contexts, first, types = np.unique(keys // classes, return_index=True, return_counts=True)
        total = lookup(contexts, np.add.reduceat(counts, first), query // classes)
        own = np.maximum(lookup(keys, counts, query) - discount, 0)
        passed_down = discount * lookup(contexts, types, query // classes)
        return np.where(total > 0, (own + passed_down * lower) / np.maximum(total, 1), lower)

    probabilities, lower = [], np.full(len(queries), 1 / classes)
    for n in range(1, queries.shape[1] + 1):
        query = codes(queries[:, -n:])
        probabilities.append(interpolate(lower, query, *np.unique(grams(n), return_counts=True)))
        preceded = np.unique(grams(n + 1)) % classes**n  # each n-gram once for every different character seen before it
        lower = interpolate(lower, query, *np.unique(preceded, return_counts=True))
    return probabilities


def ngram_bits(ids: np.ndarray, held_out_from: int, classes: int, longest: int = 6) -> list[float]:
    """The n-gram models' bits per character on the held-out text, for n = 1, ..., longest."""
    longest = min(longest, int(62 / np.log2(classes)) - 1)  # the code of a gram one longer has to fit an int64
    queries = np.lib.stride_tricks.sliding_window_view(ids[held_out_from - longest + 1 :], longest)
    return [float(-np.log2(p).mean()) for p in kneser_ney(ids[:held_out_from], queries, classes)]


# ---- checkpoints, progress, the picture


def save(path: pathlib.Path, training: Training, settings: dict, history: dict) -> None:
    """One npz file, no pickles. It takes the last one's place when it is whole."""
    leaves = {jax.tree_util.keystr(place): leaf for place, leaf in jax.tree_util.tree_leaves_with_path(training)}
    arrays = {name: np.array(values) for name, values in history.items()}
    np.savez(path.with_name("unfinished.npz"), settings=json.dumps(settings), **arrays, **leaves)
    os.replace(path.with_name("unfinished.npz"), path)


def restore(path: pathlib.Path, training: Training) -> tuple[Training, dict]:
    """`training` with the checkpoint's arrays, and the history of the run so far."""

    def stored(place, leaf):
        array = file.get(jax.tree_util.keystr(place))
        if array is None or array.shape != leaf.shape:
            sys.exit(f"{path} is of another model, batch or text: look at {jax.tree_util.keystr(place)}.")
        return jnp.asarray(array)

    with np.load(path) as file:
        history = {name: file[name].tolist() for name in ("losses", "held_out")}
        return jax.tree_util.tree_map_with_path(stored, training), history


def draw(path: pathlib.Path, history: dict, ngrams: list[float]) -> None:
    """The learning curve, with a line for each n-gram model."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    losses, (steps, held_out) = history["losses"], np.array(history["held_out"]).T
    starts = np.array([0, *steps[:-1]])
    training = [np.mean(losses[int(a) : int(b)]) for a, b in zip(starts, steps, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.plot(np.arange(1, len(losses) + 1), losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.plot((starts + steps) / 2, training, color="tab:blue")
    axes.plot(steps, held_out, color="tab:red", linewidth=2)
    labels = [(training[-1], "LSTM, training", "tab:blue"), (held_out[-1], "LSTM, held-out", "tab:red")]
    for n, bits in enumerate(ngrams, 1):
        axes.axhline(bits, color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        labels.append((bits, f"{n}-gram", "0.4"))
    height = 0.0
    for bits, label, color in sorted(labels):
        height = max(bits, height * 1.06)  # the labels of lines that are close stand one above the other
        axes.text(steps[-1] * 1.01, height, f"{bits:.2f}  {label}", color=color, va="center")
    ticks = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7]
    axes.set(xlabel="training step", ylabel="bits per character", xlim=(0, steps[-1]), yscale="log")
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(0.9 * min(*training, *held_out), 1.05 * max(losses))
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def report(step: int, steps: int, history: dict, speed: float, left: float, keep: bool) -> None:
    """The progress bar: one line that is written over or, where that cannot be, a new one when there is news to keep."""
    over = sys.stdout.isatty()
    if over or keep:
        bar = "#" * (20 * step // steps)
        held_out = f"{history['held_out'][-1][1]:.3f}" if history["held_out"] else "-----"
        bits = f"bits per character: {np.mean(history['losses'][-10:]):.3f} training, {held_out} held out"
        clock = f"{speed / 1000:4.1f}k characters/s  {int(left) // 60}:{int(left) % 60:02} left "
        end = "" if over and step < steps else "\n"
        print(f"{chr(13) * over}[{bar:.<20}] {step:>{len(str(steps))}}/{steps}  {bits}  {clock}", end=end, flush=True)


# ---- the run


def train(training: Training, history: dict, train_text, held_out_text, cell, optimizer, settings) -> Training:
    """Runs the steps that are left; evaluates and saves now and then, and when Ctrl-C stops it."""
    checkpoint, steps, first = pathlib.Path(settings.out) / "checkpoint.npz", settings.steps, int(training.step) + 1
    evaluate_every, losses, began = max(1, steps // settings.evaluations), history["losses"], time.perf_counter()
    stop = threading.Event()  # a step gives its arrays away: a checkpoint has to wait for its end
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    for step in range(first, steps + 1):
        training, loss = train_step(
            training, train_text, cell=cell, optimizer=optimizer, batch=settings.batch, window=settings.window
        )
        losses.append(loss)
        if step == first:
            loss.block_until_ready()
            began = time.perf_counter()  # what came before was mostly compilation
        news = step % evaluate_every == 0 or step == steps
        if news:
            bits = evaluate(training.params, held_out_text, cell=cell, batch=HELD_OUT_STREAMS, window=settings.window)
            history["held_out"].append((step, float(bits)))
        if news or stop.is_set():
            save(checkpoint, training, vars(settings), history)
        if stop.is_set():
            sys.exit(f"\nstopped after step {step}; --resume goes on from there")
        if step > first and (news or step % 10 == 0):
            losses[-10:] = map(float, losses[-10:])
            seconds = (time.perf_counter() - began) / (step - first)
            report(step, steps, history, settings.batch * settings.window / seconds, (steps - step) * seconds, news)
    signal.signal(signal.SIGINT, before)
    return training


def main(settings: argparse.Namespace) -> None:
    """Reads, counts, trains, writes."""
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    text = read_text(settings.text)
    if not settings.prompt or set(settings.prompt) - set(text):
        sys.exit("The prompt needs at least one character, and only such as the text has.")
    vocabulary, ids = np.unique(list(text), return_inverse=True)
    classes, held_out_from = len(vocabulary), len(ids) * 9 // 10
    if len(ids) - held_out_from < HELD_OUT_STREAMS * settings.window:
        sys.exit(f"The text is too short: a tenth of it has to fill {HELD_OUT_STREAMS} windows.")
    train_text = jnp.asarray(ids[:held_out_from], jnp.int32)
    held_out_text = jnp.asarray(ids[held_out_from - 1 :], jnp.int32)  # from the character before the first to predict
    print(f"text: {len(ids)} characters, {classes} different ones, the last {len(ids) - held_out_from} held out")
    ngrams = ngram_bits(ids, held_out_from, classes)
    print("bits per character of n-gram models: " + ", ".join(f"{n}: {bits:.3f}" for n, bits in enumerate(ngrams, 1)))

    cell = make_cell(classes, settings.units, settings.layers, settings.embedding)
    optimizer = make_optimizer(settings.learning_rate, settings.steps)
    model_key, sample_key = jax.random.split(jax.random.key(settings.seed))
    params = cell.init(model_key, None)
    print(f"model: {settings.layers} x {settings.units} units, {sum(p.size for p in jax.tree.leaves(params))} parameters")
    training = Training(params, optimizer.init(params), cell.initial_state(settings.batch), jnp.int32(0))
    history = {"losses": [], "held_out": []}
    if settings.resume:
        training, history = restore(out / "checkpoint.npz", training)
    training = train(training, history, train_text, held_out_text, cell, optimizer, settings)

    prompt = jnp.asarray(np.searchsorted(vocabulary, list(settings.prompt)), jnp.int32)
    written = sample(training.params, prompt, sample_key, settings.temperature, cell=cell, length=settings.sample)
    paragraph = settings.prompt + "".join(vocabulary[np.asarray(written)])
    (out / "sample.txt").write_text(paragraph + "\n", encoding="utf-8")
    print(f"\n{paragraph}\n\nheld-out bits per character")
    for n, bits in enumerate(ngrams, 1):
        print(f"  {n}-gram  {bits:.3f}")
    print(f"  LSTM    {history['held_out'][-1][1]:.3f}\n")
    draw(out / "learning_curve.png", history, ngrams)


if __name__ == "__main__":
    options = parser.parse_args()
    if options.resume:
        with np.load(pathlib.Path(options.out) / "checkpoint.npz") as file:
            parser.set_defaults(**json.loads(str(file["settings"])))
        options = parser.parse_args()
    main(options)
