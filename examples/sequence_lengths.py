"""Sequences of different lengths: a bidirectional GRU tells what kind of thing a name in Python's library stands for.

    python examples/sequence_lengths.py               less than a minute on two CPU cores
    python examples/sequence_lengths.py --keep 1      without dropout: a lower loss, held-out names told no better

The data are the names that the standard library's sources define: classes, constants, functions and variables. Written in
small letters and without underscores ("dictreader", "maxlinesize", "getservbyname") their kind has to be read from the
letters and their order. They are 3 to some 50 letters long, so they come as a padded tensor and a vector of lengths.

Writes accuracy_by_length.png to out/sequence_lengths/.
"""

import argparse
import collections
import functools
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--out", default="out/sequence_lengths", help="where the picture goes")
parser.add_argument("--epochs", type=int, default=8, help="passes over the training names")
parser.add_argument("--batch", type=int, default=64, help="B, names in a batch")
parser.add_argument("--units", type=int, default=64, help="H, in each direction")
parser.add_argument("--embedding", type=int, default=32, help="D, size of a letter's embedding")
parser.add_argument("--keep", type=float, default=0.8, help="probability to keep an element of an embedding, in training")
parser.add_argument("--learning-rate", type=float, default=5e-3, help="at its start; it falls to zero")
parser.add_argument("--names", type=int, help="take only so many names")
parser.add_argument("--seed", type=int, default=0, help="of everything random")

DEFINITIONS = {
    "class": r"^\s*class (\w+)",
    "constant": r"^\s*([A-Z][A-Z0-9_]+) = ",
    "function": r"^\s*(?:async )?def (\w+)",
    "variable": r"^\s+([a-z][a-z0-9_]*) = ",
}
KINDS = list(DEFINITIONS)
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


# ---- the data


def read_names() -> tuple[list[str], np.ndarray]:
    """The standard library's names and their kinds `[N]`; a name that is of two kinds is left out."""
    library = pathlib.Path(os.__file__).parent
    found = collections.defaultdict(set)
    for path in sorted(library.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"}.isdisjoint(path.relative_to(library).parts):
            source = path.read_text(encoding="utf-8", errors="ignore")
            for kind, definition in DEFINITIONS.items():
                for name in re.findall(definition, source, re.MULTILINE | re.ASCII):
                    found[name.lower().replace("_", "")].add(KINDS.index(kind))
    names = sorted(name for name, kinds in found.items() if len(kinds) == 1 and len(name) > 2)
    return names, np.array([min(found[name]) for name in names])


def pad(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Letters `[N, T]` and lengths `[N]`, T the longest name's."""
    lengths = np.array([len(name) for name in names], np.int32)
    ids = np.zeros((len(names), lengths.max()), np.int32)  # any id will do as padding: it is never looked at
    for row, name in zip(ids, names, strict=True):
        row[: len(name)] = [LETTERS.index(letter) for letter in name]
    return ids, lengths


def batches(random: np.random.Generator, lengths: np.ndarray, size: int) -> np.ndarray:
    """The rows of an epoch's batches `[N // B, B]`, in random order, each of names that are about equally long.

    The runner skips the chunks that are padding in every row: sorted like this an epoch takes two thirds of the time that
    it takes unsorted, and it is still one compiled program.
    """
    rows = random.permutation(len(lengths))[: len(lengths) // size * size]
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return random.permutation(rows.reshape(-1, size))


# ---- the models: the logits [B, 4] of letters [B, T] and lengths [B]


def bag_of_letters(params, ids, lengths, key=None):
    """Logistic regression on how often each letter occurs: all but their order."""
    valid = jnp.arange(ids.shape[1]) < lengths[:, None]
    counts = jnp.sum(jax.nn.one_hot(ids, len(LETTERS)) * valid[:, :, None], axis=1)
    return counts @ params["kernel"] + params["bias"]


def init_gru(cell: jaxrnn.RNNCell, key: jax.Array, embedding: int) -> dict:
    """Embeddings of the letters, a cell for each direction, a linear layer on the two last states."""
    keys = jax.random.split(key, 4)
    return {
        "letters": jax.random.normal(keys[0], (len(LETTERS), embedding)),
        "rnn": (cell.init(keys[1], embedding), cell.init(keys[2], embedding)),
        "kernel": jax.nn.initializers.glorot_uniform()(keys[3], (2 * cell.output_size, len(KINDS))),
        "bias": jnp.zeros(len(KINDS)),
    }


def read_both_ways(cell, params, embedded, lengths, key=None):
    """From embedded letters `[B, T, D]`. A row's last states are those at its own last letter and at its first."""
    _, states = jaxrnn.bidirectional_dynamic_rnn(cell, cell, params["rnn"], embedded, sequence_length=lengths, key=key)
    return jnp.concatenate(states, axis=-1) @ params["kernel"] + params["bias"]


def gru(cell, params, ids, lengths, key=None):
    """The bidirectional GRU on letters; with a key, dropout acts."""
    return read_both_ways(cell, params, params["letters"][ids], lengths, key)


# ---- training


@functools.partial(jax.jit, static_argnames=("model", "optimizer"), donate_argnames=("params", "opt_state"))
def train_step(params, opt_state, ids, lengths, kinds, key, *, model, optimizer):
    """One step of the optimizer on one batch; also its loss."""

    def mean_loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(model(params, ids, lengths, key), kinds).mean()

    loss, grads = jax.value_and_grad(mean_loss)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


def fit(title, model, params, train, held_out, settings):
    """The trained params and the held-out names' kinds by them, `[N]`; prints a line an epoch."""
    ids, lengths, kinds = train
    random, key = np.random.default_rng(settings.seed), jax.random.key(settings.seed)
    steps = settings.epochs * (len(kinds) // settings.batch)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(settings.learning_rate, steps))
    )
    opt_state, predict, told = optimizer.init(params), jax.jit(model), np.zeros_like(held_out[2])
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for rows in batches(random, lengths, settings.batch):
            key, dropout_key = jax.random.split(key)
            batch = ids[rows], lengths[rows], kinds[rows]
            params, opt_state, loss = train_step(params, opt_state, *batch, dropout_key, model=model, optimizer=optimizer)
            losses.append(loss)
        told = np.argmax(predict(params, *held_out[:2]), axis=-1)
        accuracy = np.mean(told == held_out[2])
        print(
            f"{title}: epoch {epoch}/{settings.epochs}  loss {np.mean(losses):.3f}  held-out accuracy {accuracy:.1%}",
            flush=True,
        )
    return params, told


# ---- the results


def show_padding(cell, params, ids, lengths):
    """The same names with garbage in their padding: other letters, then NaN for their embeddings."""
    padding = np.arange(ids.shape[1]) >= lengths[:, None]
    clean = gru(cell, params, ids, lengths)
    garbage = np.where(padding, np.random.default_rng(0).integers(len(LETTERS), size=ids.shape), ids)
    embedded = jnp.where(padding[:, :, None], jnp.nan, params["letters"][ids])
    print(f"\npadding: {padding.mean():.0%} of the held-out tensor; largest change of a logit when it is filled")
    print(f"  with random letters   {jnp.abs(gru(cell, params, garbage, lengths) - clean).max()}")
    print(f"  with NaN              {jnp.abs(read_both_ways(cell, params, embedded, lengths) - clean).max()}")


def draw(path, lengths, right):
    """Accuracy by the names' length, a line for each model: `right` has its booleans `[N]`."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shortest, longest = np.array([3, 6, 9, 12, 15, 19]), ["-5", "-8", "-11", "-14", "-18", "+"]
    place = np.digitize(lengths, shortest) - 1
    groups = np.unique(place)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    curves = {title: [100 * np.mean(hits[place == g]) for g in groups] for title, hits in right.items()}
    height = -100.0
    for title, color in sorted(zip(curves, ["tab:red", "tab:blue", "0.5"], strict=True), key=lambda item: curves[item[0]][-1]):
        axes.plot(groups, curves[title], color=color, marker="o", linewidth=2)
        height = max(curves[title][-1], height + 4)  # the labels of points that are close stand one above the other
        axes.text(groups[-1] + 0.12, height, title, color=color, va="center")
    axes.set_xticks(groups, [f"{shortest[g]}{longest[g]}\n{np.sum(place == g)} names" for g in groups])
    axes.set(xlabel="letters in the name", ylabel="kind told right, % of held-out names", ylim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"\nwrote {path}")


def main(settings):
    """Reads the names, trains both models, compares them."""
    names, kinds = read_names()
    order = np.random.default_rng(settings.seed).permutation(len(names))[: settings.names]
    names, kinds = [names[i] for i in order], kinds[order]
    ids, lengths = pad(names)
    cut = len(names) // 10
    train, held_out = (ids[cut:], lengths[cut:], kinds[cut:]), (ids[:cut], lengths[:cut], kinds[:cut])
    print(f"{len(names)} names of {lengths.min()} to {lengths.max()} letters, {cut} of them held out:", end=" ")
    print(", ".join(f"{share:.0%} {kind}" for kind, share in zip(KINDS, np.bincount(kinds) / len(kinds), strict=True)))

    bag = {"kernel": jnp.zeros((len(LETTERS), len(KINDS))), "bias": jnp.zeros(len(KINDS))}
    _, by_bag = fit("bag of letters", bag_of_letters, bag, train, held_out, settings)
    cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(settings.units), input_keep_prob=settings.keep)
    params = init_gru(cell, jax.random.key(settings.seed), settings.embedding)
    params, by_gru = fit("GRU", functools.partial(gru, cell), params, train, held_out, settings)

    usual = np.bincount(train[2]).argmax()
    right = {
        "GRU": by_gru == held_out[2],
        "bag of letters": by_bag == held_out[2],
        f"always {KINDS[usual]}": held_out[2] == usual,
    }
    print("\nheld-out accuracy")
    for title, hits in right.items():
        print(f"  {title:16}  {np.mean(hits):.1%}")
    print("\nthe GRU on some of these names")
    for name, true, told in zip(names[:12], held_out[2], by_gru, strict=False):
        print(f"  {name:28}  {KINDS[told]:8}  {'' if told == true else f'(wrong: {KINDS[true]})'}")
    show_padding(cell, params, *held_out[:2])
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "accuracy_by_length.png", held_out[1], right)


if __name__ == "__main__":
    main(parser.parse_args())
