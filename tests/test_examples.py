"""Every example as a reader runs it, with tiny settings; and the n-gram models that one of them is judged by."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture
def start(tmp_path):
    """Starts an example as a process of its own, in an environment that has no matplotlib."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    compile_fast = " --xla_backend_optimization_level=0"
    extra = {"PYTHONPATH": paths, "XLA_FLAGS": compile_fast, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}

    def start(name, *options):
        command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, options)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=os.environ | extra, stdout=pipe, stderr=pipe, encoding="utf-8")

    return start


def finish(process):
    """What the process prints until it ends."""
    with process:
        outputs, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return outputs


def interrupt(process):
    """Waits until the process reports some training steps, then presses Ctrl-C; what it says of that."""
    with process:
        while not process.stdout.readline().startswith("["):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=120)[1]


def flags(**options):
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- book.py


def test_the_book(start, tmp_path):
    outputs = finish(start("book.py", *flags(out=tmp_path)))
    assert "matplotlib is not installed" in outputs
    book = json.loads((ROOT / "tests" / "goldens" / "book.json").read_text())
    printed = np.array([[float(y) for y in line.split()[-5:]] for line in outputs.splitlines() if " t = " in line])
    tables = printed.reshape(4, 4, 2, 5)
    table = np.array(book["outputs"])
    padded = table.copy()
    padded[1, 1] = 0
    np.testing.assert_allclose(tables, [table, table, table, padded], atol=1e-6)


def test_the_book_draws(tmp_path):
    pytest.importorskip("matplotlib")
    table = np.linspace(-1, 1, 40).reshape(4, 2, 5)
    load("book").draw(tmp_path / "picture.png", {"one": (table, table), "two": (table, table)})
    assert (tmp_path / "picture.png").stat().st_size > 0


# ---- recurrent_ppo.py


def test_recurrent_ppo(start, tmp_path):
    """The learner's policy is the actor's, over resets and from one rollout to the next."""
    sizes = {"length": 2, "environments": 4, "rollout": 8, "units": 4, "seeds": 2, "minibatches": 2, "epochs": 1}
    outputs = finish(start("recurrent_ppo.py", *flags(out=tmp_path, updates=3, **sizes)))
    assert "update 3/3" in outputs and "matplotlib is not installed" in outputs
    line = next(line for line in outputs.splitlines() if line.startswith("importance ratios"))
    assert float(line.split()[-1]) < 1e-5


@pytest.fixture
def usual_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_mazes(usual_dtypes):
    """Forward to the junction, a bump there, the turn that the cue showed; the wrong turn; too much time."""
    ppo = load("recurrent_ppo")
    start, cues = jnp.zeros(3, jnp.int32), jnp.array([ppo.LEFT, ppo.LEFT, ppo.RIGHT])
    maze = ppo.Maze(start, cues, start)
    seen = lambda: np.argmax(np.asarray(ppo.look(maze, 2)), 1)
    np.testing.assert_array_equal(seen(), [0, 0, 1])
    forward, left = jnp.full(3, ppo.FORWARD), jnp.array([ppo.LEFT, ppo.RIGHT, ppo.FORWARD])
    for actions, sights in ((forward, 2), (forward, 3), (forward, 3)):
        maze, reward, done = ppo.move(maze, actions, jax.random.key(0), 2)
        assert (seen() == sights).all() and not reward.any() and not done.any()
    maze, reward, done = ppo.move(maze, left, jax.random.key(0), 2)
    np.testing.assert_array_equal(reward, [1, 0, 0])
    np.testing.assert_array_equal(done, [True, True, False])
    np.testing.assert_array_equal(maze.clock, [0, 0, 4])
    for _ in range(4):
        maze, _, done = ppo.move(maze, forward, jax.random.key(0), 2)
    assert done[2] and maze.place[2] == maze.clock[2] == 0


# ---- rate_network.py


def test_rate_network(start, tmp_path):
    sizes = {"units": 10, "batch": 8, "updates": 20, "test-trials": 40}
    outputs = finish(start("rate_network.py", *flags(out=tmp_path, **sizes)))
    assert "update    20/20" in outputs and "matplotlib is not installed" in outputs


def test_rates_and_trials(usual_dtypes):
    """The equation with noise, by numpy; Dale's law; trials whose answer is that of the signal that counts."""
    example = load("rate_network")
    cell, key = example.RateCell(6, 4, leak=0.3, noise=0.2), jax.random.key(1)
    params = cell.init(jax.random.key(0), 4)
    weights = np.asarray(cell.weights(params), np.float64)
    assert (weights[:4] >= 0).all() and (weights[4:] <= 0).all()
    trials = example.new_trials(jax.random.key(2), 5, 1.0)
    rates, _ = jaxrnn.dynamic_rnn(cell, params, trials.inputs, key=key)
    x, kernel = np.zeros((5, 6)), np.asarray(params["kernel"], np.float64)
    for t in range(example.TIME):
        noise = jax.random.normal(jaxrnn.step_key(key, t).step, (5, 6))
        x = 0.7 * x + 0.3 * (np.maximum(x, 0) @ weights + trials.inputs[:, t] @ kernel) + 0.2 * 0.6**0.5 * np.asarray(noise)
        np.testing.assert_allclose(rates[:, t], np.maximum(x, 0), rtol=1e-4, atol=1e-4)
    counted = np.where(trials.context == 0, trials.lean[:, 0], trials.lean[:, 1])
    np.testing.assert_array_equal(trials.answer, counted > 0)
    np.testing.assert_array_equal(trials.inputs[:, 0, 2:].argmax(-1), trials.context)
    assert not trials.inputs[:, : example.REST, :2].any()


# ---- dates.py


def test_dates(start, tmp_path):
    sizes = {"units": 8, "embedding": 4, "updates": 10, "batch": 4, "test": 6, "beams": 2}
    outputs = finish(start("dates.py", *flags(out=tmp_path, read="March 3, 1998", **sizes)))
    assert "update    10/10" in outputs and "2 beams" in outputs and "matplotlib is not installed" in outputs
    assert "March 3, 1998  " in outputs


# ---- digits.py


def test_digits(start, tmp_path):
    sizes = {"units": 4, "size": 6, "batch": 4, "test": 10, "updates": 2}
    outputs = finish(start("digits.py", *flags(out=tmp_path, **sizes), "--cells", "lru", "lstm"))
    assert "lru      update     2/2" in outputs and "lstm     update     2/2" in outputs
    assert "matplotlib is not installed" in outputs


def test_drawn_digits():
    """Dark along a stroke, whose width is that of the formula, and light elsewhere."""
    digits = load("digits")
    images = digits.draw(np.random.default_rng(0), 40, 16)
    assert images.pixels.shape == (40, 16, 16) and set(images.digits) == set(range(10))
    ink = images.pixels.mean((1, 2))
    assert ((ink > 0.05) & (ink < 0.5)).all()
    steady = type("Steady", (), {"uniform": lambda self, a, b, n=None: (a + b) / 2, "normal": lambda self, *args: 0.0})()
    seven = digits.one_digit(steady, np.array(digits.STROKES[7]), 64)
    assert seven[12, 22:42].min() > 0.8 > 0.1 > seven[20:, :18].max()


def test_spellings():
    dates = load("dates")
    day = dates.datetime.date(2001, 12, 23)
    assert [spell(day) for spell in dates.SPELLINGS] == [
        "23/12/2001", "12/23/2001", "23.12.2001", "23 December 2001", "Dec 23, 2001", "December 23rd, 2001",
        "Sunday, 23rd of December 2001", "Sun 23 Dec 2001", "2001, December 23", "December the twenty-third, 2001",
        "the twenty-third of December, two thousand and one",
    ]  # fmt: skip
    assert [dates.ordinal_in_words(n) for n in (1, 2, 5, 8, 9, 12, 20, 31)] == [
        "first", "second", "fifth", "eighth", "ninth", "twelfth", "twentieth", "thirty-first",
    ]  # fmt: skip
    years = ["nineteen oh four", "two thousand", "twenty ten", "nineteen hundred", "twenty forty-nine"]
    assert [dates.year_in_words(n) for n in (1904, 2000, 2010, 1900, 2049)] == years
    assert [dates.ordinal(n) for n in (1, 2, 3, 11, 12, 13, 22)] == ["1st", "2nd", "3rd", "11th", "12th", "13th", "22nd"]


# ---- sequence_lengths.py


def test_sequence_lengths(start, tmp_path):
    outputs = finish(start("sequence_lengths.py", *flags(out=tmp_path, names=400, epochs=1, units=8, embedding=4)))
    changes = [float(line.split()[-1]) for line in outputs.splitlines() if line.startswith("  with ")]
    assert changes == [0.0, 0.0]
    assert "always function" in outputs
    assert "matplotlib is not installed" in outputs


def test_sequence_lengths_draws(tmp_path):
    pytest.importorskip("matplotlib")
    lengths = np.array([3, 4, 9, 30])
    load("sequence_lengths").draw(tmp_path / "picture.png", lengths, dict.fromkeys("abc", lengths > 3))
    assert (tmp_path / "picture.png").stat().st_size > 0


# ---- char_lm.py


@pytest.fixture
def text(tmp_path):
    """A text of a few thousand characters, real words in an order that never repeats."""
    words = (EXAMPLES / "char_lm.py").read_text().split()
    order = np.random.default_rng(0).integers(len(words), size=2500)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words[i] for i in order), encoding="utf-8")
    return path


def tiny(text, out):
    sizes = {"steps": 600, "batch": 2, "window": 8, "units": 8, "embedding": 4, "evaluations": 30, "sample": 40}
    return flags(text=text, out=out, prompt="a", **sizes)


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "settings"}


def test_char_lm_goes_on_to_the_same_numbers_after_ctrl_c(start, text, tmp_path):
    outputs = finish(start("char_lm.py", *tiny(text, tmp_path / "whole")))
    assert "LSTM" in outputs
    assert "3-gram" in outputs

    message = interrupt(start("char_lm.py", *tiny(text, tmp_path / "parts")))
    stopped = arrays(tmp_path / "parts" / "checkpoint.npz")
    assert 0 < stopped[".step"] < 600
    assert f"stopped after step {stopped['.step']}" in message

    finish(start("char_lm.py", "--out", tmp_path / "parts", "--resume"))
    whole, parts = arrays(tmp_path / "whole" / "checkpoint.npz"), arrays(tmp_path / "parts" / "checkpoint.npz")
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)
    assert (tmp_path / "parts" / "sample.txt").read_text() == (tmp_path / "whole" / "sample.txt").read_text()


def test_char_lm_draws(tmp_path):
    pytest.importorskip("matplotlib")
    history = {"losses": [5.0, 4.0, 3.5, 3.0], "held_out": [(2, 4.5), (4, 3.5)]}
    load("char_lm").draw(tmp_path / "picture.png", history, [4.5, 3.2, 3.1])
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_the_ngram_models_are_distributions():
    random, classes, longest = np.random.default_rng(0), 5, 4
    text = np.minimum(random.geometric(0.4, size=300), classes) - 1
    contexts = random.integers(classes, size=(50, longest - 1))  # most of them unseen at the longest
    queries = np.array([[*context, c] for context in contexts for c in range(classes)])
    for p in load("char_lm").kneser_ney(text, queries, classes):
        assert p.min() > 0
        np.testing.assert_allclose(p.reshape(50, classes).sum(axis=1), 1, rtol=1e-12)


def test_the_ngram_models_are_kneser_neys():
    """By counting, on a text short enough to count by hand."""
    text, classes = np.array([0, 1, 0, 1, 2, 0, 1, 0]), 3
    unigram, bigram = load("char_lm").kneser_ney(text, np.array([[0, 1]]), classes)
    # Counts 4, 3, 1: one character was seen once, none twice; d = 2/3.
    own = 3 - 2 / 3
    np.testing.assert_allclose(unigram, (own + 2 / 3 * 3 / 3) / 8)
    # Bigrams 01 x 3, 10 x 2, 12, 20: two seen once, one twice; d = 3/6. 0 is followed by 1 alone, three times.
    # 1 has one character before it, 0 has two, 2 has one: two counts of one and one of two; d = 3/6.
    lower = (1 - 1 / 2 + 1 / 2 * 3 / 3) / 4
    np.testing.assert_allclose(bigram, (3 - 1 / 2 + 1 / 2 * 1 * lower) / 3)
