"""What the real TensorFlow 1.15 finds by beam search, `beam.npz`, and its gather_tree. See tf115.py for how to run it.

Under `<case>/`: what it reads, `embedding`, `initial`, for attention `memory`, and `variables/<name>`; what each step selects,
`scores`, `words`, `parents` [B, T, K]; what it gives, `predicted_ids`, `log_probs`, `finished`, `lengths`.
tests/seq2seq/beams.py has the same decoders in jaxrnn.
"""

import zlib

import numpy as np
import tensorflow as tf
from tf115 import FOLDER

s2s = tf.contrib.seq2seq
B, K, T, E, H, A, M, DM = 3, 3, 8, 3, 5, 2, 4, 6
MEMORY_LENGTHS = np.array([4, 2, 3], np.int32)
END = 0
CASES = {
    "beam": {},
    "beam_length_penalty": {"length_penalty_weight": 1.0},
    "beam_length_penalty_small": {"length_penalty_weight": 0.3},
    "beam_no_end": {"end_bias": -30.0},
    "beam_small_vocabulary": {"words": 2, "beam_width": 5, "end_bias": 0.0},
    "beam_attention": {"attention": "luong"},
    "beam_coverage": {"attention": "luong", "coverage_penalty_weight": 0.4, "length_penalty_weight": 0.6},
    "beam_coverage_monotonic": {"attention": "monotonic", "coverage_penalty_weight": 0.4},
}


def cell_of(attention, memory, width):
    gru = tf.nn.rnn_cell.GRUCell(H)
    if attention is None:
        return gru
    memory, lengths = s2s.tile_batch(memory, width), s2s.tile_batch(MEMORY_LENGTHS, width)
    if attention == "luong":
        mechanism = s2s.LuongAttention(H, memory, lengths)
    else:
        mechanism = s2s.LuongMonotonicAttention(H, memory, lengths, mode="parallel")
    return s2s.AttentionWrapper(gru, mechanism, attention_layer_size=A)


def search(arrays, words=7, end_bias=1.0, attention=None, beam_width=K, **options):
    cell = cell_of(attention, tf.constant(arrays["memory"]) if attention else None, beam_width)
    initial = s2s.tile_batch(tf.constant(arrays["initial"]), beam_width)
    if attention:
        initial = cell.zero_state(B * beam_width, tf.float32).clone(cell_state=initial)
    decoder = s2s.BeamSearchDecoder(
        cell,
        tf.constant(arrays["embedding"]),
        np.arange(B, dtype=np.int32) % (words - 1) + 1,
        END,
        initial,
        beam_width,
        output_layer=tf.layers.Dense(words),
        **options,
    )
    return s2s.dynamic_decode(decoder, maximum_iterations=T)[:2]


def make(case, options):
    rng = np.random.RandomState(zlib.crc32(case.encode()) % 2**32)
    uniform = lambda shape, limit: rng.uniform(-limit, limit, shape).astype(np.float32)
    words = options.get("words", 7)
    arrays = {"embedding": uniform((words, E), 1.5), "initial": uniform((B, H), 0.8)}
    if "attention" in options:
        arrays["memory"] = uniform((B, M, DM), 1.0)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs, state = search(arrays, **options)
        for variable in sorted(tf.global_variables(), key=lambda v: v.op.name):
            value = uniform(tuple(variable.shape.as_list()), 1.2)
            if variable.op.name.endswith("dense/bias"):
                value[END] += options.get("end_bias", 1.0)
            arrays["variables/" + variable.op.name] = value
            session.run(variable.assign(value))
        selected = outputs.beam_search_decoder_output
        results = session.run(
            {
                "scores": selected.scores,
                "words": selected.predicted_ids,
                "parents": selected.parent_ids,
                "predicted_ids": outputs.predicted_ids,
                "log_probs": state.log_probs,
                "finished": state.finished,
                "lengths": state.lengths,
            }
        )
    print(case, results["words"].shape, results["lengths"].tolist(), results["log_probs"][0])
    return dict(arrays, **results)


def tree():
    """gather_tree of random parents."""
    rng = np.random.RandomState(3)
    steps, batch, width = 6, 4, 3
    arrays = {
        "step_ids": rng.randint(1, 6, (steps, batch, width)).astype(np.int32),
        "parent_ids": rng.randint(0, width, (steps, batch, width)).astype(np.int32),
        "max_sequence_lengths": np.array([6, 0, 3, 9], np.int32),
    }
    with tf.Session() as session:
        found = {"end_%d" % end: session.run(s2s.gather_tree(end_token=end, **arrays)) for end in (1, 5)}
    return dict(arrays, **found)


if __name__ == "__main__":
    results = {"gather_tree/" + key: value for key, value in tree().items()}
    for case, options in CASES.items():
        results.update({case + "/" + key: value for key, value in make(case, options).items()})
    np.savez_compressed(str(FOLDER / "beam.npz"), **results)
