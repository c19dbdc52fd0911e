"""The loop of decoding: a decoder steps until all rows have finished."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.engine.first import FirstStep, first_step
from jaxrnn.engine.masking import fill_padding, select_rows, zero_padding
from jaxrnn.jit import jit_by_value
from jaxrnn.keys import StepKey, step_key
from jaxrnn.memory.host import on_host
from jaxrnn.memory.modes import MODES, Mode, resolve
from jaxrnn.runners.offload_check import proven
from jaxrnn.runners.raw import run_until_finished
from jaxrnn.runners.start import strong
from jaxrnn.typing import Inputs, MemoryName, Outputs, Params, Policy, State, Tree


class Decoder:
    """What `dynamic_decode` steps; TF1's `tf.contrib.seq2seq.Decoder`, as pure functions.

    Write a new one as a frozen dataclass of hyperparameters with these members; what it is conditioned on is in params, in
    the helper, which is a pytree, and in the initial state. Leaves are `[B, ...]` unless it says otherwise.

    - `initialize(params, helper, initial_state) -> (finished, inputs, state)`, finished booleans `[B]`;
    - `step(params, helper, time, inputs, state, key) -> (outputs, state, inputs, finished)`, time an int32 scalar, key a
      `jaxrnn.StepKey` or None, outputs any pytree;
    - `finalize(helper, outputs, state, lengths) -> (outputs, state, lengths)`, outputs `[T, B, ...]`;
    - `tracks_own_finished`: whether what a step says of finished is all that counts; else a row that has finished stays so;
    - `can_impute`: whether finished rows can be held where they are.
    """

    tracks_own_finished = False
    can_impute = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    def initialize(self, params: Params, helper: Any, initial_state: State) -> tuple[jax.Array, Inputs, State]:
        """What the first step is called with, and which rows have finished before it."""
        raise NotImplementedError

    def step(
        self, params: Params, helper: Any, time: jax.Array, inputs: Inputs, state: State, key: StepKey | None
    ) -> tuple[Outputs, State, Inputs, jax.Array]:
        """One step, and what the next one is called with."""
        raise NotImplementedError

    def finalize(self, helper: Any, outputs: Outputs, state: State, lengths: jax.Array) -> tuple[Any, Any, jax.Array]:
        """What `dynamic_decode` returns, of what all steps gave."""
        return outputs, state, lengths


def dynamic_decode(
    decoder: Any,
    params: Params,
    helper: Any,
    initial_state: State,
    *,
    maximum_iterations: int,
    impute_finished: bool = False,
    output_time_major: bool = False,
    swap_memory: bool = False,
    memory: MemoryName | Mode | Policy = "save",
    chunk_size: int | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any, jax.Array]:
    """Decodes until all rows have finished; TF1's `tf.contrib.seq2seq.dynamic_decode`.

    What it means:

        finished, inputs, state = decoder.initialize(params, helper, initial_state);  lengths = 0
        for t in range(maximum_iterations):
            if all(finished): break
            outputs[t], new, inputs, now = decoder.step(params, helper, t, inputs, state, step_key(key, t))
            lengths = where(finished, lengths, t + 1)
            if impute_finished: outputs[t], new = zeros, state in rows that have finished
            state, finished = new, finished | now

    The step at which a row finishes is kept and counted: an end token is in the outputs and in the length. A row that
    maximum_iterations cuts off has that length. Everything is differentiated, in forward and reverse mode, with respect to
    params, initial_state and the arrays of the helper, and goes through `jax.vmap`.

    Args:
      decoder: a `BasicDecoder`, a `BeamSearchDecoder`, or a `Decoder` of your own.
      params: the decoder's params.
      helper: what makes the inputs of a step from the outputs before it, and says when a row has finished; a pytree, so that
        it can be an argument of a jitted function and be differentiated.
      initial_state: the cell's state, `[B, ...]`.
      maximum_iterations: T, the most steps, 0 or more. TF1 can do without; XLA's arrays are of fixed sizes.
      impute_finished: whether finished rows have outputs of zeros and keep their state. Else they go on: what they give past
        their lengths is real numbers, and gradients run through them.
      output_time_major: whether outputs are `[T, B, ...]` in place of `[B, T, ...]`.
      swap_memory, memory, chunk_size: as for `raw_rnn`.
      key: a PRNG key, for helpers and cells that draw something. The cell draws what it would in `dynamic_rnn`.

    Returns:
      `(outputs, state, lengths)`: the outputs of all steps, `[B, T, ...]`, zeros at steps that were not run because all rows
      had finished; the last state; int32 `[B]`, the steps of each row. A decoder may finalize them: see there.

    Raises:
      TypeError, ValueError: if an argument, or what the decoder or the helper returns, does not fit; where `raw_rnn` does.

    Example: the best word of each step is what the next one reads, until it is word 0.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.OutputProjectionWrapper(jaxrnn.GRUCell(num_units=5), output_size=7)
      >>> params, embedding = cell.init(jax.random.key(0), input_size=3), jax.random.normal(jax.random.key(1), (7, 3))
      >>> helper = jaxrnn.seq2seq.GreedyEmbeddingHelper(embedding, start_tokens=jnp.ones(4, int), end_token=0)
      >>> outputs, state, lengths = jaxrnn.seq2seq.dynamic_decode(
      ...     jaxrnn.seq2seq.BasicDecoder(cell), params, helper, cell.initial_state(4), maximum_iterations=10)
      >>> outputs.rnn_output.shape, outputs.sample_id.shape, lengths.shape
      ((4, 10, 7), (4, 10), (4,))
    """
    check.decoder(decoder, Decoder)
    check.automatic_axes("dynamic_decode")
    check.maximum_iterations(maximum_iterations)
    impute_finished = check.flag("impute_finished", impute_finished)
    output_time_major = check.flag("output_time_major", output_time_major)
    swap_memory = check.flag("swap_memory", swap_memory)
    check.mode(memory, MODES, (Mode,))
    check.memory(memory, swap_memory, MODES, (Mode,))
    check.chunk_size(chunk_size)
    check.on_device(params=on_host(params), helper=on_host(helper), initial_state=on_host(initial_state))
    mode = proven(resolve("offload" if swap_memory else memory))
    params = check.arrays(params, "params")
    initial_state = strong(check.arrays(initial_state, "initial_state"))
    if key is not None:
        check.prng_key(key)
    if impute_finished and not decoder.can_impute:
        check.not_imputed(type(decoder).__name__)
    jax.eval_shape(lambda: decoder.initialize(params, helper, initial_state))  # its checks see the helper's numbers
    functions = jax.tree.map(lambda _: None, helper)  # what else there is to know of a helper
    options = {"decoder": decoder, "steps": int(maximum_iterations), "mode": mode, "chunk_size": chunk_size}
    options |= {"impute": impute_finished, "time_major": output_time_major}
    run = jit_by_value(_run, (decoder, functions), static=tuple(options))
    return run(params, helper, initial_state, key, **options)


def _run(params, helper, initial_state, key, *, decoder, steps, impute, time_major, mode, chunk_size):
    finished, inputs, state = _arrays(decoder.initialize(params, helper, initial_state))
    first = first_step(inputs, state, (~finished).astype(jnp.int32)) if impute else None
    who = f"{type(decoder).__name__} with {type(helper).__name__}"
    read, at = helper.by_step(steps) if hasattr(helper, "by_step") else ((), lambda _: helper)

    def step(carry, x):
        """A step that is run. Where they are imputed, finished rows see what a row's first step sees."""
        (finished, inputs, state, lengths), (t, helper) = carry, (x[0], at(x[1]))
        x, s = fill_padding(~finished, FirstStep(inputs, state), first)
        outputs, new, inputs, now = decoder.step(params, helper, t, x, s, None if key is None else step_key(key, t))
        now, inputs, new = _arrays((now, inputs, check.like(state, new)))
        check.later_step(who, carry[:3], (now, inputs, new))
        lengths = jnp.where(finished, lengths, t + 1)
        if impute:
            outputs, new = zero_padding(~finished, outputs), select_rows(~finished, new, state)
        return (now if decoder.tracks_own_finished else finished | now, inputs, new, lengths), outputs

    start = finished, inputs, state, jnp.zeros(finished.shape, jnp.int32)
    xs = jnp.arange(steps, dtype=jnp.int32), read
    (_, _, state, lengths), outputs = run_until_finished(step, start, xs, finished.size, mode, chunk_size)
    outputs, state, lengths = decoder.finalize(helper, outputs, state, lengths)
    batch_major = lambda leaf: jnp.swapaxes(leaf, 0, 1) if leaf.ndim > 1 else leaf
    return outputs if time_major else jax.tree.map(batch_major, outputs), state, lengths


def _arrays(parts: tuple) -> list[Tree]:
    """`(finished, inputs, state)` as arrays with dtypes of their own."""
    names = "finished", "inputs", "state"
    return [strong(check.arrays(part, name)) for part, name in zip(parts, names, strict=True)]
