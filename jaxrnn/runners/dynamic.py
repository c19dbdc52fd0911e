"""The runner that loops: one compiled loop over chunks of K steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxrnn import check
from jaxrnn import memory as memory_modes
from jaxrnn.chunk import run_chunk
from jaxrnn.keys import fold_in
from jaxrnn.lengths import Steps, zero_padding
from jaxrnn.runners.jit import jit_by_value
from jaxrnn.runners.start import Struct, first_state, key_struct


def dynamic_rnn(
    cell: Any,
    params: Any,
    inputs: Any,
    *,
    sequence_length: ArrayLike | None = None,
    initial_state: Any | None = None,
    dtype: Any | None = None,
    time_major: bool = False,
    swap_memory: bool = False,
    memory: str | Callable = "save",
    chunk_size: int | None = None,
    reverse: bool = False,
    resets: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Runs a cell over a sequence in one loop; TF1's `tf.nn.dynamic_rnn`.

    What it means, for one row of the batch:

        for t in range(T):                                  # from T - 1 down to 0 if reverse
            if t >= length: outputs[t] = zeros; continue    # and the state stays as it is
            if resets[t]: state = initial_state
            outputs[t], state = cell(params, inputs[t], state, key=step_key(key, t))

    Forward and reverse mode, `jax.hessian`, `jax.vmap` over any argument and `jax.checkpoint` around it all work; only second
    derivatives of an offloaded run do not, for JAX cannot differentiate what lies on the host again.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      params: the cell's params.
      inputs: an array or a pytree of arrays `[B, T, ...]`, or `[T, B, ...]` if time_major.
      sequence_length: integers `[B]`. At `t >= length` the output is zeros and the state is copied through; what the
        padding holds, NaN too, reaches no value and no gradient. Chunks past the longest row are not run (but under
        "offload" they are). Lengths out of [0, T] are an error where they can be seen and are clipped under jit.
      initial_state: a pytree of arrays `[B, ...]`; None is the cell's own, zeros.
      dtype: the initial state's dtype if none is given; None is the dtype of params and inputs.
      time_major: whether time is the first axis of inputs, resets and outputs. States are always `[B, ...]`.
      swap_memory: the same as `memory="offload"`, under TF1's name.
      memory: where the states that the backward pass needs live. It changes no value and no gradient.
        "save": on the device, every step. "recompute": the first state of every chunk only; one more forward pass.
        "recursive": nested, so that memory grows with log T; one more forward pass a level. "offload": in the host's
        memory, every step (on a CPU there is no other memory, and it is "save"). Or a `jax.checkpoint` policy, which can
        choose the names `jaxrnn.memory.GATES`, `OUTPUTS` (what a stack's layer hands on) and, for plain functions,
        `STATES`.
      chunk_size: K, steps a chunk, 1 or more; None chooses. A divisor of T saves the compilation of a rest.
      reverse: whether to run from the last step to the first. Outputs stay at their inputs' places.
      resets: booleans laid out as the inputs, `[B, T]`: start again from the initial state before that step.
      key: a PRNG key, for cells that draw something; nothing is drawn without it. (A threefry key, JAX's default: other
        generators draw otherwise under the vmap over a chunk's steps, so that other runners see other masks.)

    Returns:
      `(outputs, state)`: outputs laid out as the inputs, and the last state `[B, ...]`, which is the state after the last
      valid step of each row (of the first, if reverse).

    Raises:
      TypeError, ValueError: if an argument does not fit; the text says what was expected, what came and what to do.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.LSTMCell(num_units=5)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> inputs = jnp.ones((4, 7, 3))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, sequence_length=jnp.array([7, 3, 0, 5]))
      >>> outputs.shape, state.h.shape
      ((4, 7, 5), (4, 5))
    """
    check.is_cell(cell, "dynamic_rnn")
    check.memory(memory, swap_memory, memory_modes.MODES)
    check.chunk_size(chunk_size)
    inputs = check.arrays(inputs, "inputs")
    time, batch = check.sequence(inputs, 0 if time_major else 1)
    layout, shape = ("[T, B]", (time, batch)) if time_major else ("[B, T]", (batch, time))
    sequence_length = check.lengths(sequence_length, batch, time)
    resets = check.resets(resets, shape, layout)
    run = jit_by_value(_run, cell, static=("cell", "dtype", "time_major", "memory", "chunk_size", "reverse"))
    return run(
        cell,
        check.arrays(params, "params"),
        inputs,
        sequence_length,
        initial_state,
        dtype,
        time_major,
        memory_modes.resolve("offload" if swap_memory else memory),
        chunk_size or memory_modes.default_chunk_size(time, batch),
        reverse,
        resets,
        key,
    )


def _run(
    cell,
    params,
    inputs,
    sequence_length,
    initial_state,
    dtype,
    time_major,
    memory,
    chunk_size,
    reverse,
    resets,
    key,
):
    if key is not None:
        check.prng_key(key)
    swap = (lambda tree: tree) if time_major else _swap_batch_and_time
    inputs = swap(inputs)
    one_step = jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), inputs)
    state = first_state(cell, params, one_step, initial_state, dtype, key_struct(key))
    body = _chunk_body(cell, params, state, sequence_length, key, memory, reverse)
    time = jnp.arange(jax.tree.leaves(inputs)[0].shape[0], dtype=jnp.int32)
    xs = (time, inputs, None if resets is None else swap(resets))
    state, outputs = _scan_steps(body, state, xs, chunk_size, memory, reverse)
    return swap(outputs), state


def _swap_batch_and_time(tree):
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def _scan_steps(body, state, xs, chunk_size, memory, reverse):
    """The body over chunks of chunk_size steps, and over what is left of T as one shorter chunk."""

    def chunks(state, xs):
        return memory_modes.scan_chunks(body, state, xs, memory, reverse)

    def rest(state, xs):
        one_chunk = jax.tree.map(lambda leaf: leaf[None], xs)
        state, outputs = memory_modes.scan_chunks(body, state, one_chunk, memory, reverse)
        return state, jax.tree.map(lambda leaf: leaf[0], outputs)

    return memory_modes.split_scan(chunks, rest, state, xs, chunk_size, reverse)


def _chunk_body(cell, params, initial_state, sequence_length, key, memory, reverse):
    """`(state, (t, inputs, resets)) -> (state, outputs)` for one chunk, leaves `[K, ...]`."""
    flip = (lambda tree: jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)) if reverse else (lambda tree: tree)

    def run(state, chunk):
        time, inputs, resets = flip(chunk)
        valid = None if sequence_length is None else time[:, None] < sequence_length[None]
        steps = Steps(
            valid=valid,
            reset=resets if resets is None or valid is None else resets & valid,
            step_key=None if key is None else jax.vmap(fold_in, (None, 0))(key, time),
            run_key=key,
            start=None if resets is None else initial_state,
            keep=memory.keep,
        )
        outputs, state = run_chunk(cell, params, zero_padding(steps.valid, inputs), state, steps)
        return state, flip(zero_padding(steps.valid, outputs))

    def run_or_skip(state, chunk):
        outputs = jax.eval_shape(run, state, chunk)[1]
        skip = lambda state, chunk: (state, jax.tree.map(lambda o: jnp.zeros(o.shape, o.dtype), outputs))
        return lax.cond(chunk[0][0] < longest, run, skip, state, chunk)

    if sequence_length is None or not memory.skip:
        return run
    longest = jnp.max(sequence_length, initial=0)
    return run_or_skip
