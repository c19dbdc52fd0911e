"""Pages 385 to 387 of "Hands-On Machine Learning with Scikit-Learn & TensorFlow" (A. Géron, 2017), in jaxrnn, in seconds.

    python examples/book.py

Chapter 14 introduces TensorFlow 1's RNN functions on one mini-batch: 4 instances, 2 time steps, 3 inputs, 5 neurons. Each
section of `main` quotes the book's call, makes the same call in jaxrnn, and prints the result and how far it is from the
book's.

To try next: change `seq_length` to [2, 0, 2, 2]. Both outputs of instance 1 become zeros, and the check against the book fails,
as it should. The same functions on real data, and training: sequence_lengths.py, then char_lm.py.

Writes outputs.png to out/book/: jaxrnn's outputs as colours, with the book's numbers on them.
"""

# The variables have the book's names.
# ruff: noqa: N806

import argparse
import pathlib

import jax.numpy as jnp
import numpy as np

import jaxrnn

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--out", default="out/book", help="where the picture goes")

X_batch = np.array(
    [  # t = 0      t = 1
        [[0, 1, 2], [9, 8, 7]],  # instance 0
        [[3, 4, 5], [0, 0, 0]],  # instance 1
        [[6, 7, 8], [6, 5, 4]],  # instance 2
        [[9, 0, 1], [3, 2, 1]],  # instance 3
    ],
    np.float32,
)

# What the book prints for it. Its weights were drawn at random and are not in the book: the ones below were solved from
# these outputs, with a bias of zero.
BOOK = np.array(
    [
        [
            [-0.29645720, 0.82874775, -0.34216955, -0.75720584, 0.19011548],
            [0.51955646, 1.00000000, 0.99999022, -0.99984968, -0.24616946],
        ],
        [
            [-0.12842922, 0.99981797, 0.84704727, -0.99570125, 0.38665548],
            [-0.70553327, -0.11918639, 0.48885304, 0.08917919, -0.26579669],
        ],
        [
            [0.04731077, 0.99999976, 0.99330056, -0.99993300, 0.55339795],
            [-0.32477224, 0.99996376, 0.99933046, -0.99711186, 0.10981458],
        ],
        [
            [0.70323634, 0.99309105, 0.99909431, -0.85363263, 0.74721080],
            [-0.43738723, 0.91517633, 0.97817528, -0.91763324, 0.11047263],
        ],
    ]
)

params = {
    "kernel": jnp.array(
        [
            [0.12381351, 0.28042118, 0.47403532, -0.09732852, 0.08459545],
            [0.17566293, 0.56708144, 0.47658042, -0.20276364, -0.21804487],
            [-0.24064693, 0.30852156, -0.41656407, -0.39343474, 0.20525093],
        ]
    ),
    "recurrent_kernel": jnp.array(
        [
            [0.16769703, -0.55307409, -0.11107900, -0.40949486, 0.15410787],
            [-0.05661051, 0.00422860, 0.54108928, 0.26603464, -0.45610144],
            [-0.39646988, -0.17769223, -0.48888529, -0.29510782, 0.40476975],
            [0.26199466, -0.07209494, -0.40755034, -0.19100702, 0.27790226],
            [-0.52604713, -0.30074737, -0.03205418, -0.43805467, 0.35515693],
        ]
    ),
    "bias": jnp.zeros(5),
}


def show(heading, outputs, states, book_outputs, book_states):
    """Prints outputs `[4, 2, 5]` and final states `[4, 5]`, and how far both are from the book's."""
    print(f"\n{heading}")
    for i in range(4):
        for t in range(2):
            label = f"instance {i}" if t == 0 else ""
            print(f"  {label:12}t = {t}  " + " ".join(f"{y:12.8f}" for y in outputs[i, t]))
    difference = max(np.abs(outputs - book_outputs).max(), np.abs(states - book_states).max())
    print(f"  largest difference from the book: {difference:.1e}")
    assert difference < 1e-6


def draw(path, panels):
    """A heat map for each title: outputs `[4, 2, 5]` as colours, the numbers that the book has for them as text."""
    try:
        import matplotlib
    except ImportError:
        print(f"\nno {path.name}: matplotlib is not installed (pip install 'jaxrnn[examples]')")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(10, 4.5), sharey=True, layout="constrained")
    for axis, (title, (outputs, book_outputs)) in zip(axes, panels.items(), strict=True):
        axis.imshow(np.reshape(outputs, (8, 5)), cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
        for (row, neuron), y in np.ndenumerate(book_outputs.reshape(8, 5)):
            axis.text(neuron, row, f"{y:.2f}", ha="center", va="center")
        for row in (1.5, 3.5, 5.5):
            axis.axhline(row, color="white", linewidth=3)
        axis.set(title=title, xlabel="neuron", xticks=range(5))
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    axes[0].set_yticks(range(8), [f"instance {i}, t = {t}" for i in range(4) for t in range(2)])
    figure.colorbar(axes[0].images[0], ax=axes, shrink=0.8, label="output", boundaries=np.linspace(-1, 1, 99), ticks=[-1, 0, 1])
    figure.savefig(path, dpi=150)
    print(f"\nwrote {path}")


def main(settings):
    """Makes the book's calls, compares, draws."""
    # TF1: basic_cell = tf.contrib.rnn.BasicRNNCell(num_units=n_neurons)
    basic_cell = jaxrnn.BasicRNNCell(num_units=5)
    # A new network's weights come from `params = basic_cell.init(jax.random.key(42), input_size=3)`.

    # TF1: output_seqs, states = tf.contrib.rnn.static_rnn(basic_cell, [X0, X1], dtype=tf.float32)
    #      Y0, Y1 = output_seqs
    X0, X1 = X_batch[:, 0], X_batch[:, 1]
    output_seqs, states = jaxrnn.static_rnn(basic_cell, params, [X0, X1])
    Y0, Y1 = output_seqs
    show("page 385: static_rnn over a list of two inputs, X0 and X1", np.stack([Y0, Y1], 1), states, BOOK, BOOK[:, 1])

    # TF1: X_seqs = tf.unstack(tf.transpose(X, perm=[1, 0, 2]))
    #      output_seqs, states = tf.contrib.rnn.static_rnn(basic_cell, X_seqs, dtype=tf.float32)
    #      outputs = tf.transpose(tf.stack(output_seqs), perm=[1, 0, 2])
    X_seqs = list(jnp.transpose(X_batch, (1, 0, 2)))
    output_seqs, states = jaxrnn.static_rnn(basic_cell, params, X_seqs)
    outputs = jnp.transpose(jnp.stack(output_seqs), (1, 0, 2))
    show("page 386: static_rnn over one tensor, unstacked in time", outputs, states, BOOK, BOOK[:, 1])

    # TF1: outputs, states = tf.nn.dynamic_rnn(basic_cell, X, dtype=tf.float32)
    outputs, states = jaxrnn.dynamic_rnn(basic_cell, params, X_batch)
    show("page 387: dynamic_rnn, one compiled loop", outputs, states, BOOK, BOOK[:, 1])
    panels = {"dynamic_rnn": (outputs, BOOK)}

    # TF1: outputs, states = tf.nn.dynamic_rnn(basic_cell, X, dtype=tf.float32, sequence_length=seq_length)
    # Instance 1 ends after its first step: its second output is zeros, and its final state is its first output.
    seq_length = np.array([2, 1, 2, 2])
    padded, last = BOOK.copy(), BOOK[:, 1].copy()
    padded[1, 1], last[1] = 0, BOOK[1, 0]
    outputs, states = jaxrnn.dynamic_rnn(basic_cell, params, X_batch, sequence_length=seq_length)
    show("page 387: dynamic_rnn with sequence_length = [2, 1, 2, 2]", outputs, states, padded, last)
    print("  final state of instance 1:  " + " ".join(f"{y:12.8f}" for y in states[1]))
    panels["with sequence_length = [2, 1, 2, 2]"] = outputs, padded

    out = pathlib.Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "outputs.png", panels)


if __name__ == "__main__":
    main(parser.parse_args())
