"""An encoder and a decoder with attention learn to read dates in many spellings, in two minutes on two CPU cores.

    python examples/dates.py
    python examples/dates.py --read "the third of March, nineteen ninety-eight"    reads yours too, after training

"Tuesday, 3rd of March 1998", "3/3/1998", "Mar 3, 1998" and "the third of March, nineteen ninety-eight" are all 1998-03-03,
while "3/4/1998" is in April or in March: the two best hypotheses of a beam search are its two readings.

A bidirectional GRU reads the characters. A GRU with attention (Luong et al., 2015) writes the date in ISO 8601. At every step
it looks at all characters of the spelling. Days of the test set are in no training example.

The parts are TF1's `tf.contrib.seq2seq`: AttentionWrapper and BasicDecoder; TrainingHelper for training, GreedyEmbeddingHelper
and BeamSearchDecoder for reading. What the decoder looks at, the encoder's outputs, is a part of its params, so the gradient
reaches the encoder.

Writes dates.png to out/dates/: how training went, and where the decoder looks while it writes.

To try next: add a spelling of your own; put BahdanauAttention in the place of LuongAttention; write words from digits.
"""

import argparse
import calendar
import datetime
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import seq2seq

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--out", default="out/dates", help="where the picture goes")
parser.add_argument("--units", type=int, default=128, help="H of the decoder; each direction of the encoder has half of it")
parser.add_argument("--embedding", type=int, default=32, help="size of a character's vector")
parser.add_argument("--beams", type=int, nargs="+", default=[2, 5], help="widths of the beam search, beside greedy reading")
parser.add_argument("--updates", type=int, default=1000, help="steps of Adam")
parser.add_argument("--batch", type=int, default=64, help="B, spellings an update")
parser.add_argument("--learning-rate", type=float, default=3e-3, help="at its start; it falls to zero")
parser.add_argument("--dropout", type=float, default=0.1, help="share of the decoder's inputs that is dropped in training")
parser.add_argument("--test", type=int, default=1000, help="spellings of the test set")
parser.add_argument("--seed", type=int, default=0, help="of params and spellings")
parser.add_argument("--read", help="a spelling of yours, read after training")

# ---- spellings

MONTHS, DAYS = list(calendar.month_name)[1:], list(calendar.day_name)
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *TEENS]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS["twelve"] = "twelfth"


def in_words(number: int) -> str:
    """Of 1 to 99."""
    if number < 20:
        return ONES[number - 1]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones - 1]}" if ones else "")


def ordinal_in_words(number: int) -> str:
    """Of 1 to 31: "twenty-first"."""
    *front, last = in_words(number).split("-")
    last = ORDINALS.get(last, last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return "-".join([*front, last])


def year_in_words(year: int) -> str:
    """Of 1950 to 2049: "nineteen oh four", "two thousand and four"."""
    century, rest = divmod(year, 100)
    if year >= 2000 and rest < 10:
        return "two thousand" + (f" and {in_words(rest)}" if rest else "")
    return f"{in_words(century)} {in_words(rest) if rest > 9 else 'hundred' if rest == 0 else f'oh {in_words(rest)}'}"


def ordinal(number: int) -> str:
    """Of 1 to 31: "21st"."""
    return f"{number}{'th' if number in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


SPELLINGS = [
    lambda d: f"{d.day}/{d.month}/{d.year}",
    lambda d: f"{d.month}/{d.day}/{d.year}",  # as in the United States: some dates have two readings
    lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1][:3]} {d.day}, {d.year}",
    lambda d: f"{MONTHS[d.month - 1]} {ordinal(d.day)}, {d.year}",
    lambda d: f"{DAYS[d.weekday()]}, {ordinal(d.day)} of {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{DAYS[d.weekday()][:3]} {d.day:02} {MONTHS[d.month - 1][:3]} {d.year}",
    lambda d: f"{d.year}, {MONTHS[d.month - 1]} {d.day}",
    lambda d: f"{MONTHS[d.month - 1]} the {ordinal_in_words(d.day)}, {d.year}",
    lambda d: f"the {ordinal_in_words(d.day)} of {MONTHS[d.month - 1]}, {year_in_words(d.year)}",
]

END, START = 0, 1  # ids; the characters follow
FIRST_DAY, ALL_DAYS = datetime.date(1950, 1, 1).toordinal(), 36_525
ISO_LENGTH = len("1998-03-03") + 1  # with the end


class Pairs(NamedTuple):
    """B spellings and their dates, as ids."""

    spellings: Any  # [B, S], END in the padding
    lengths: Any  # [B]
    dates: Any  # [B, 11], END last


class Letters:
    """Characters as ids."""

    def __init__(self) -> None:
        days = [datetime.date.fromordinal(FIRST_DAY + day) for day in range(0, ALL_DAYS, 13)]
        texts = [spell(day) for day in days for spell in SPELLINGS]
        self.letters = sorted(set("".join(texts)) | set("-0123456789"))
        self.longest = max(map(len, texts)) + 2
        self.size = START + 1 + len(self.letters)
        self._ids = {letter: START + 1 + i for i, letter in enumerate(self.letters)}

    def pairs(self, texts: list[str], dates: list[str]) -> Pairs:
        """Padded to the longest spelling that there is; letters that no spelling has are left out."""
        ids = [[self._ids[letter] for letter in text if letter in self._ids][: self.longest] for text in texts]
        spellings = np.array([row + [END] * (self.longest - len(row)) for row in ids], np.int32)
        written = np.array([[self._ids[letter] for letter in date] + [END] for date in dates], np.int32)
        return Pairs(spellings, np.array(list(map(len, ids)), np.int32), written)

    def text(self, ids: Any) -> str:
        """What ids say, to their end."""
        return "".join(self.letters[i - START - 1] if i > START else "?" for i in np.asarray(ids) if i != END)

    def draw(self, days: np.ndarray, rng: np.random.Generator, count: int) -> Pairs:
        """Some of the days, each spelt at random."""
        drawn = [datetime.date.fromordinal(FIRST_DAY + int(day)) for day in rng.choice(days, count)]
        texts = [SPELLINGS[rng.integers(len(SPELLINGS))](day) for day in drawn]
        return self.pairs(texts, [day.isoformat() for day in drawn])


# ---- the network


class Network(NamedTuple):
    """Its parts, without params."""

    encoder: Any  # of each direction
    decoder_cell: Any
    output_layer: Any

    @classmethod
    def of(cls, units: int, letters: int, dropout: float) -> "Network":
        """Of H units, which read and write `letters` ids."""
        cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(units), input_keep_prob=1 - dropout)
        mechanism = seq2seq.LuongAttention(units, memory_size=units, scale=True)
        cell = seq2seq.AttentionWrapper(cell, mechanism, attention_layer=seq2seq.Dense(units, jnp.tanh))
        return cls(jaxrnn.GRUCell(units // 2), cell, seq2seq.Dense(letters))

    def init(self, key: jax.Array, embedding_size: int) -> Any:
        """Params."""
        keys = jax.random.split(key, 5)
        letters, units = self.output_layer.units, 2 * self.encoder.num_units
        return {
            "embedding": jax.random.normal(keys[0], (letters, embedding_size)),
            "encoder": tuple(self.encoder.init(k, embedding_size) for k in keys[1:3]),
            "decoder": {
                "cell": self.decoder_cell.init(keys[3], embedding_size),
                "output_layer": self.output_layer.init(keys[4], units),
            },
        }

    def read(self, params: Any, spellings: jax.Array, lengths: jax.Array, beams: int = 1) -> tuple[Any, Any]:
        """The decoder's params with the encoder's outputs as their memory, and its first state; each `beams` times."""
        inputs = params["embedding"][spellings]
        outputs, states = jaxrnn.bidirectional_dynamic_rnn(
            self.encoder, self.encoder, params["encoder"], inputs, sequence_length=lengths
        )
        memory, summary = jnp.concatenate(outputs, -1), jnp.concatenate(states, -1)
        memory, lengths, summary = seq2seq.tile_batch((memory, lengths, summary), beams)
        cell = self.decoder_cell.with_memory(params["decoder"]["cell"], memory, lengths)
        state = self.decoder_cell.zero_state(cell)._replace(cell_state=summary)
        return {**params["decoder"], "cell": cell}, state


def loss_of(params: Any, pairs: Pairs, key: jax.Array, network: Network) -> jax.Array:
    """The cross entropy of every character, where the decoder reads the true one before it."""
    decoder_params, state = network.read(params, pairs.spellings, pairs.lengths)
    before = jnp.pad(pairs.dates[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    helper = seq2seq.TrainingHelper(params["embedding"][before], jnp.full(len(before), ISO_LENGTH))
    decoder = seq2seq.BasicDecoder(network.decoder_cell, network.output_layer)
    outputs, _, _ = seq2seq.dynamic_decode(decoder, decoder_params, helper, state, maximum_iterations=ISO_LENGTH, key=key)
    return seq2seq.sequence_loss(outputs.rnn_output, pairs.dates, jnp.ones(before.shape))


class Written(NamedTuple):
    """What the network reads spellings as, in K hypotheses, the best first."""

    ids: jax.Array  # [B, K, 11]
    log_probs: jax.Array  # [B, K], of all characters together
    alignments: jax.Array  # [B, 11, S], where the first one looked


def write(params: Any, pairs: Pairs, network: Network, beams: int) -> Written:
    """By beam search, or with one beam greedily: the best character of each step."""
    batch = len(pairs.spellings)
    decoder_params, state = network.read(params, pairs.spellings, pairs.lengths, beams)
    helper = seq2seq.GreedyEmbeddingHelper(params["embedding"], jnp.full(batch, START), END)
    if beams > 1:
        decoder = seq2seq.BeamSearchDecoder(network.decoder_cell, beams, network.output_layer)
        outputs, state, _ = seq2seq.dynamic_decode(decoder, decoder_params, helper, state, maximum_iterations=ISO_LENGTH)
        return Written(jnp.swapaxes(outputs.predicted_ids, 1, 2), state.log_probs, outputs.alignments[:, :, 0])
    decoder = seq2seq.BasicDecoder(network.decoder_cell, network.output_layer)
    outputs, _, lengths = seq2seq.dynamic_decode(
        decoder, decoder_params, helper, state, maximum_iterations=ISO_LENGTH, impute_finished=True
    )
    each = jnp.max(jax.nn.log_softmax(outputs.rnn_output), -1)
    within = jnp.arange(ISO_LENGTH) < lengths[:, None]
    return Written(outputs.sample_id[:, None], jnp.sum(jnp.where(within, each, 0), 1)[:, None], outputs.alignments)


# ---- training and test


def train(network: Network, letters: Letters, days: np.ndarray, test: Pairs, settings: Any) -> tuple[Any, list]:
    """The trained params, and for some updates (their number, the loss, the share of the test set that is right)."""
    key, params_key = jax.random.split(jax.random.key(settings.seed))
    params = network.init(params_key, settings.embedding)
    rate = optax.cosine_decay_schedule(settings.learning_rate, settings.updates)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    opt_state, rng = optimizer.init(params), np.random.default_rng(settings.seed)

    @jax.jit
    def update(params, opt_state, pairs, key):
        loss, grads = jax.value_and_grad(loss_of)(params, pairs, key, network)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    history, losses, began = [], [], time.perf_counter()
    report = max(1, settings.updates // 10)
    for i in range(1, settings.updates + 1):
        pairs = letters.draw(days, rng, settings.batch)
        params, opt_state, loss = update(params, opt_state, pairs, jax.random.fold_in(key, i))
        losses.append(loss)
        if i % report == 0 or i == settings.updates:
            right = float((_write(params, test, network=network, beams=1).ids[:, 0] == test.dates).all(1).mean())
            history.append((i, float(jnp.stack(losses).mean()), right))
            losses = []
            seconds = time.perf_counter() - began
            print(
                f"update {i:>5}/{settings.updates}  loss {history[-1][1]:.4f}  right {right:.3f}  {seconds:.0f} s", flush=True
            )
        if i == settings.updates // 10:
            compare(params, test, network, settings.beams)
    return params, history


_write = jax.jit(write, static_argnames=("network", "beams"))


def compare(params: Any, test: Pairs, network: Network, beams: list[int]) -> None:
    """Greedy reading beside beam search."""
    greedy = _write(params, test, network=network, beams=1)
    print("\n           right   right in some hypothesis   more probable than greedy")
    for width in [1, *beams]:
        written = _write(params, test, network=network, beams=width)
        right = (written.ids == test.dates[:, None]).all(-1)
        better = (written.log_probs[:, 0] > greedy.log_probs[:, 0] + 1e-4).mean()
        name = "greedy" if width == 1 else f"{width} beams"
        print(f"{name:8} {right[:, 0].mean():7.3f} {right.any(1).mean():26.3f} {better:27.3f}")
    print(flush=True)


# ---- the picture


def draw(path: pathlib.Path, history: list, letters: Letters, shown: list[tuple[Pairs, Written]]) -> None:
    """Training, and the alignments of some spellings."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 1 + len(shown), figsize=(13, 7), layout="constrained")
    axes[0].plot([i for i, _, _ in history], [right for _, _, right in history], color="tab:blue")
    axes[0].set(xlabel="update", ylabel="share of the test set that is right", ylim=(0, 1.02))
    axes[0].spines[["top", "right"]].set_visible(False)
    for axis, (pairs, written) in zip(axes[1:], shown, strict=True):
        spelling, date = letters.text(pairs.spellings[0]), letters.text(written.ids[0, 0])
        looked = np.asarray(written.alignments[0])[: len(date), : len(spelling)]
        axis.imshow(looked.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.set_xticks(range(len(date)), list(date))
        axis.set_yticks(range(len(spelling)), list(spelling))
        axis.tick_params(length=0)
        axis.xaxis.tick_top()
    figure.suptitle("where the decoder looks (rows: the spelling) while it writes (columns: the date)")
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main(settings: argparse.Namespace) -> None:
    """Trains, compares, reads, draws."""
    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    letters = Letters()
    days = np.random.default_rng(settings.seed + 1).permutation(ALL_DAYS)
    test = letters.draw(days[:2000], np.random.default_rng(settings.seed + 2), settings.test)
    network = Network.of(settings.units, letters.size, settings.dropout)
    params, history = train(network, letters, days[2000:], test, settings)
    compare(params, test, network, settings.beams)

    day = datetime.date(1998, 4, 3)
    texts = [SPELLINGS[-1](day), SPELLINGS[6](day), SPELLINGS[0](day), *([settings.read] if settings.read else [])]
    shown = []
    for text in texts:
        pairs = letters.pairs([text], [day.isoformat()])
        written = _write(params, pairs, network=network, beams=max(settings.beams))
        shown.append((pairs, written))
        readings = zip(written.ids[0, :2], jnp.exp(written.log_probs[0, :2]), strict=True)
        print(f"{text:52}", "   ".join(f"{letters.text(ids)} ({p:.3f})" for ids, p in readings))
    draw(out / "dates.png", history, letters, shown)


if __name__ == "__main__":
    main(parser.parse_args())
