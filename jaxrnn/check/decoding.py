"""What decodes: decoders, helpers, and what they return."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxrnn.check.basics import by_path, describe
from jaxrnn.check.runs import lengths, numbers


def decoder(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise TypeError(
            f"dynamic_decode: expected a decoder, got {describe(given)}. Make one of a cell: jaxrnn.seq2seq.BasicDecoder(cell)."
        )


def helper(who: str, given: Any) -> None:
    methods = "initialize", "sample", "next_inputs"
    if isinstance(given, type) or not all(callable(getattr(given, method, None)) for method in methods):
        raise TypeError(
            f"{who}: expected a helper with {', '.join(methods)}, got {describe(given)}. Make one, such as "
            "jaxrnn.seq2seq.TrainingHelper(inputs, sequence_length)."
        )
    if jax.tree_util.all_leaves([given]):
        raise TypeError(
            f"{type(given).__name__}: expected a helper that is a pytree, got one that JAX does not know. Make it a frozen "
            "dataclass and register it with jax.tree_util.register_dataclass."
        )


def helper_of_kind(who: str, given: Any, kind: type) -> None:
    if type(given) is not kind:
        raise TypeError(f"{who}: expected a {kind.__name__} as its helper, got {describe(given)}.")


def maximum_iterations(count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(
            f"maximum_iterations: expected an int, got {describe(count)}. XLA's arrays are of fixed sizes: it is the T of the "
            "outputs."
        )
    if count < 0:
        raise ValueError(f"maximum_iterations: expected 0 or more, got {count}.")


def functions_of(helper: Any, *names: str) -> None:
    for name in names:
        if not callable(getattr(helper, name)):
            raise TypeError(
                f"{type(helper).__name__}: expected {name} to be a function, got {describe(getattr(helper, name))}."
            )


def some_lengths(who: str, given: Any, batch: Any, time: Any) -> jax.Array:
    """Lengths that have to be given, int32 `[B]`."""
    vector = lengths(given, batch, time)
    if vector is None:
        raise TypeError(
            f"{who}: expected sequence_length to be integers [B], got None. Give T for rows that end with the inputs."
        )
    return vector


def same_inputs(who: str, own: Any, true: Any) -> Any:
    """What is read of the outputs, if it is like the true inputs of a step."""
    told = lambda tree: jax.tree.map(describe, tree)
    if told(own) != told(true):
        raise ValueError(
            f"{who}: expected inputs made of the outputs to be {told(true)}, as the inputs of a step, got {told(own)}. Make "
            "them so by its next_inputs_fn or its embedding."
        )
    return own


def started(who: str, result: Any) -> tuple:
    """What a helper's `initialize` returns."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        got = f"{len(result)} things" if isinstance(result, (tuple, list)) else describe(result)
        raise TypeError(f"{who}: expected initialize to return the pair (finished, inputs), got {got}.")
    return tuple(result)


def went_on(who: str, result: Any) -> tuple:
    """What a helper's `next_inputs` returns."""
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        got = f"{len(result)} things" if isinstance(result, (tuple, list)) else describe(result)
        raise TypeError(f"{who}: expected next_inputs to return (finished, next_inputs, next_state), got {got}.")
    return tuple(result)


def rows_finished(who: str, flags: Any, batch: Any) -> None:
    if getattr(flags, "dtype", None) != jnp.bool_ or flags.shape != (batch,):
        raise TypeError(f"{who}: expected finished to be bool[{batch}], one for each row of inputs, got {describe(flags)}.")


def later_step(who: str, before: tuple, after: tuple) -> None:
    """What goes round, `(finished, inputs, state)`, is what it was at the start but for the numbers."""
    for what, a, b in zip(("finished", "the next inputs", "the next state"), before, after, strict=True):
        if jax.tree.structure(a) != jax.tree.structure(b):
            raise ValueError(
                f"{who}: expected {what} to have the structure that they start with, {jax.tree.structure(a)}, got "
                f"{jax.tree.structure(b)}. All steps return the same but for the numbers."
            )
        for (path, x), (_, y) in zip(by_path(a), by_path(b), strict=True):
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                raise ValueError(
                    f"{who}: expected {what}{path} to be {describe(x)}, as at the start, got {describe(y)}. All steps "
                    "return the same but for the numbers."
                )


def logits(who: str, outputs: Any, ids: Any = None) -> None:
    """One array `[B, V]`; `ids` is how many can be read, where that is known."""
    if not hasattr(outputs, "shape") or outputs.ndim != 2 or not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise TypeError(
            f"{who}: expected the outputs to be logits, one floating array [B, V], got {describe(outputs)}. Give the decoder "
            "an output_layer that makes them."
        )
    if ids is not None and outputs.shape[-1] > ids:
        raise ValueError(
            f"{who}: expected logits [B, V] with V <= {ids}, one for each row of the embedding, got {describe(outputs)}."
        )


def embedding(who: str, given: Any) -> None:
    if not callable(given) and (getattr(given, "ndim", None) != 2 or not jnp.issubdtype(given.dtype, jnp.floating)):
        raise TypeError(
            f"{who}: expected embedding to be a matrix [V, E] of floating numbers or a function of ids, got {describe(given)}."
        )


def token(who: str, name: str, given: Any, layout: str = "one integer", rank: int = 0) -> Any:
    """Ids of words, in NumPy where they can be seen."""
    given = numbers(f"{who}: {name}", given, layout)
    if not np.issubdtype(given.dtype, np.integer) or given.ndim != rank:
        raise TypeError(f"{who}: expected {name} to be {layout}, got {describe(given)}.")
    return given


def tokens(who: str, start: Any, end: Any, count: Any) -> tuple[jax.Array, jax.Array]:
    """Start tokens `[B]` and an end token `[]`, int32, below `count` where that and they can be seen."""
    given = {"start_tokens": token(who, "start_tokens", start, "integers [B]", 1), "end_token": token(who, "end_token", end)}
    for name, ids in given.items():
        if not isinstance(ids, jax.core.Tracer) and ids.size:
            values = np.asarray(ids)
            if values.min() < 0 or (count is not None and values.max() >= count):
                below = "the vocabulary's size" if count is None else count
                raise ValueError(
                    f"{who}: expected {name} to be from 0 and below {below}, got values from {values.min()} to {values.max()}."
                )
    start, end = (jnp.asarray(ids, jnp.int32) for ids in given.values())
    return start, end


def sampling_probability(who: str, given: Any, batch: Any) -> jax.Array:
    """One number, or one a row, in [0, 1] where it can be seen; as `[B]`."""
    given = numbers(f"{who}: sampling_probability", given, "numbers")
    if given.shape not in ((), (batch,)):
        raise ValueError(
            f"{who}: expected sampling_probability to be one number or one for each of the {batch} rows, got {describe(given)}."
        )
    if not isinstance(given, jax.core.Tracer):
        values = np.asarray(given)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"{who}: expected sampling_probability to be in [0, 1], got values from {values.min()} to {values.max()}. It "
                "is the probability to read what the model itself gave."
            )
    return jnp.broadcast_to(jnp.asarray(given).astype(jax.dtypes.canonicalize_dtype(float)), (batch,))


def temperature(who: str, given: Any) -> None:
    given = numbers(f"{who}: softmax_temperature", given, "numbers")
    if given.shape != ():
        raise ValueError(f"{who}: expected softmax_temperature to be one number, got {describe(given)}.")
    if not isinstance(given, jax.core.Tracer) and not np.asarray(given) > 0:
        raise ValueError(f"{who}: expected softmax_temperature to be above 0, got {given}. At 0 it is GreedyEmbeddingHelper.")


def draws_from(who: str, key: Any) -> Any:
    if key is None:
        raise ValueError(f"{who}: expected a key, got None. It draws: call dynamic_decode(..., key=jax.random.key(seed)).")
    return key


def two_parts(who: str, params: Any) -> None:
    if not isinstance(params, dict) or not {"cell", "output_layer"} <= params.keys():
        got = f"a dict of {', '.join(map(repr, params))}" if isinstance(params, dict) else describe(params)
        raise TypeError(
            f"{who}: expected params {{'cell': ..., 'output_layer': ...}}, for there is an output_layer, got {got}. Without "
            "an output_layer params are the cell's."
        )


def not_imputed(who: str) -> None:
    raise ValueError(
        f"{who}: expected impute_finished=False, got True. Beams change places, and what a finished one has stays as it is."
    )


def some_attention(who: str, states: list) -> None:
    if not states:
        raise ValueError(
            f"{who}: expected a state with alignments beside a coverage_penalty_weight, got none. Wrap the cell in an "
            "AttentionWrapper, or leave the weight at 0.0."
        )


def beams(who: str, state: Any, batch: Any, width: int) -> None:
    """Leaves `[B K, ...]`."""
    for path, leaf in by_path(state):
        if leaf.ndim and leaf.shape[0] != batch * width:
            raise ValueError(
                f"{who}: expected initial_state{path} to have {batch} x {width} = {batch * width} rows, one for each beam, got "
                f"{describe(leaf)}. Make them with jaxrnn.seq2seq.tile_batch(initial_state, {width})."
            )


def repeats(count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"tile_batch: expected multiplier to be an int, got {describe(count)}.")
    if count < 1:
        raise ValueError(f"tile_batch: expected multiplier to be at least 1, got {count}.")


def tree_of_beams(step_ids: Any, parent_ids: Any, ends: Any) -> None:
    for name, ids in (("step_ids", step_ids), ("parent_ids", parent_ids)):
        if ids.ndim != 3 or not jnp.issubdtype(ids.dtype, jnp.integer):
            raise TypeError(f"gather_tree: expected {name} to be integers [T, B, K], got {describe(ids)}.")
    if parent_ids.shape != step_ids.shape:
        raise ValueError(
            f"gather_tree: expected parent_ids of the shape of step_ids, {step_ids.shape}, got shape {parent_ids.shape}."
        )
    if ends.shape != step_ids.shape[1:2] or not jnp.issubdtype(ends.dtype, jnp.integer):
        raise TypeError(
            f"gather_tree: expected max_sequence_lengths to be integers [B] with B = {step_ids.shape[1]}, got {describe(ends)}."
        )


def sequence_of_logits(logits: Any, targets: Any, weights: Any) -> None:
    if logits.ndim != 3 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"sequence_loss: expected logits to be floating [B, T, V], got {describe(logits)}.")
    if targets.shape != logits.shape[:2] or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(
            f"sequence_loss: expected targets to be integers [B, T] = {list(logits.shape[:2])}, got {describe(targets)}."
        )
    if weights.shape != logits.shape[:2] or not jnp.issubdtype(weights.dtype, jnp.floating):
        raise TypeError(
            f"sequence_loss: expected weights to be floating [B, T] = {list(logits.shape[:2])}, got {describe(weights)}."
        )


def one_of_two(across: str, average: bool, over: str, summed: bool) -> None:
    if average and summed:
        raise ValueError(
            f"sequence_loss: expected one of {across} and {over}, got both. Pass {across}=False beside {over}=True."
        )


def loss_of_each(losses: Any, count: int) -> Any:
    if getattr(losses, "shape", None) != (count,):
        raise ValueError(f"sequence_loss: expected softmax_loss_function to return [B T] = [{count}], got {describe(losses)}.")
    return losses
