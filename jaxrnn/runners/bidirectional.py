"""Two cells, one for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.keys import fold_in
from jaxrnn.memory.plan import Memory
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.runners.parallel import Parallel
from jaxrnn.runners.static import static_rnn
from jaxrnn.typing import Cell, Inputs, State


def bidirectional_dynamic_rnn(
    cell_fw: Cell,
    cell_bw: Cell,
    params: tuple[Any, Any],
    inputs: Inputs,
    *,
    sequence_length: ArrayLike | None = None,
    initial_state_fw: State | None = None,
    initial_state_bw: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    swap_memory: bool = False,
    memory: Memory = "save",
    chunk_size: int | None = None,
    parallel: Parallel = None,
    resets: ArrayLike | None = None,
    reset_state_fw: State | None = None,
    reset_state_bw: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Runs one cell forward and one backward over the same sequence (Schuster and Paliwal, 1997); TF1's
    `tf.nn.bidirectional_dynamic_rnn`.

    The backward cell starts at each row's last valid step and ends at t = 0. Both outputs stand at their inputs' places and
    are zeros in the padding; they are not concatenated.

    Args:
      cell_fw, cell_bw: the cells, as for `dynamic_rnn`.
      params: `(params_fw, params_bw)`.
      inputs: as for `dynamic_rnn`, `[B, T, ...]`.
      initial_state_fw, initial_state_bw: pytrees of arrays `[B, ...]`; None is the cell's own, zeros.
      resets: booleans `[B, T]`, True at the first step of an episode; the backward cell starts again at each one's last.
      reset_state_fw, reset_state_bw: the states at resets, leaves `[B, ...]`; None is the cell's own, zeros.
      mask: booleans `[B, T]`, False where a step is left out, as for `dynamic_rnn`.
      key: a PRNG key; the forward cell runs with `jax.random.fold_in(key, 0)`, the backward one with `fold_in(key, 1)`.
      memory: as for `dynamic_rnn`, for both directions, which share a budget in bytes half and half; a pair `(forward,
        backward)` is one for each, such as two plans.
      sequence_length, dtype, time_major, swap_memory, chunk_size, parallel: as for `dynamic_rnn`, for both directions.

    Returns:
      `((outputs_fw, outputs_bw), (state_fw, state_bw))`.

    Raises:
      TypeError, ValueError: as `dynamic_rnn`, and if params, or a tuple given as memory, is not a pair.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> fw, bw = jaxrnn.LSTMCell(5), jaxrnn.GRUCell(2)
      >>> params = fw.init(jax.random.key(0), 3), bw.init(jax.random.key(1), 3)
      >>> outputs, states = jaxrnn.bidirectional_dynamic_rnn(fw, bw, params, jnp.ones((4, 7, 3)))
      >>> jnp.concatenate(outputs, axis=-1).shape
      (4, 7, 7)
    """
    check.pair(params, "params")
    key_fw, key_bw = _two_keys(key)
    memory_fw, memory_bw = _two_memories(memory)

    def run(cell, params, initial_state, resets, reset_state, key, memory, reverse):
        return dynamic_rnn(
            cell,
            params,
            inputs,
            sequence_length=sequence_length,
            initial_state=initial_state,
            dtype=dtype,
            time_major=time_major,
            swap_memory=swap_memory,
            memory=memory,
            chunk_size=chunk_size,
            parallel=parallel,
            reverse=reverse,
            resets=resets,
            reset_state=reset_state,
            mask=mask,
            key=key,
        )

    outputs_fw, state_fw = run(cell_fw, params[0], initial_state_fw, resets, reset_state_fw, key_fw, memory_fw, False)
    ends = None if resets is None else _episode_ends(resets, sequence_length, axis=0 if time_major else 1)
    outputs_bw, state_bw = run(cell_bw, params[1], initial_state_bw, ends, reset_state_bw, key_bw, memory_bw, True)
    return (outputs_fw, outputs_bw), (state_fw, state_bw)


def static_bidirectional_rnn(
    cell_fw: Cell,
    cell_bw: Cell,
    params: tuple[Any, Any],
    inputs: Sequence[Any],
    *,
    sequence_length: ArrayLike | None = None,
    initial_state_fw: State | None = None,
    initial_state_bw: State | None = None,
    dtype: DTypeLike | None = None,
    resets: ArrayLike | None = None,
    reset_state_fw: State | None = None,
    reset_state_bw: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[list[Any], Any, Any]:
    """`bidirectional_dynamic_rnn`, unrolled over a list of T steps; TF1's `tf.nn.static_bidirectional_rnn`.

    Args:
      cell_fw, cell_bw: the cells, as for `static_rnn`.
      params: `(params_fw, params_bw)`.
      inputs: a list of T steps `[B, ...]`.
      sequence_length: integers `[B]`.
      initial_state_fw, initial_state_bw: pytrees of arrays `[B, ...]`; None is the cell's own, zeros.
      dtype: as for `static_rnn`.
      resets, reset_state_fw, reset_state_bw, mask: as for `bidirectional_dynamic_rnn`.
      key: a PRNG key, used as `bidirectional_dynamic_rnn` uses it.

    Returns:
      `(outputs, state_fw, state_bw)`, TF1's three results: outputs is a list of T, each the forward and the backward output
      concatenated, `[B, H_fw + H_bw]`.

    Raises:
      TypeError, ValueError: as `static_rnn`, and if params is not a pair.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> fw, bw = jaxrnn.LSTMCell(5), jaxrnn.GRUCell(2)
      >>> params = fw.init(jax.random.key(0), 3), bw.init(jax.random.key(1), 3)
      >>> outputs, state_fw, state_bw = jaxrnn.static_bidirectional_rnn(fw, bw, params, [jnp.ones((4, 3))] * 7)
      >>> len(outputs), outputs[0].shape
      (7, (4, 7))
    """
    check.pair(params, "params")
    key_fw, key_bw = _two_keys(key)

    def run(cell, params, initial_state, resets, reset_state, key, reverse):
        return static_rnn(
            cell,
            params,
            inputs,
            sequence_length=sequence_length,
            initial_state=initial_state,
            dtype=dtype,
            reverse=reverse,
            resets=resets,
            reset_state=reset_state,
            mask=mask,
            key=key,
        )

    fw, state_fw = run(cell_fw, params[0], initial_state_fw, resets, reset_state_fw, key_fw, False)
    ends = None if resets is None else _episode_ends(resets, sequence_length, axis=1)
    bw, state_bw = run(cell_bw, params[1], initial_state_bw, ends, reset_state_bw, key_bw, True)
    outputs = [jax.tree.map(lambda f, b: jnp.concatenate([f, b], axis=1), *pair) for pair in zip(fw, bw, strict=True)]
    return outputs, state_fw, state_bw


def _two_memories(memory):
    """The memory of each direction; of a budget, half."""
    if isinstance(memory, (tuple, list)):
        check.pair(memory, "memory")
        return memory
    return [check.share(memory, 2) if check.is_budget(memory) else memory] * 2


def _two_keys(key):
    if key is None:
        return None, None
    check.prng_key(key)
    return fold_in(key, 0), fold_in(key, 1)


def _episode_ends(resets: ArrayLike, lengths: ArrayLike | None, axis: int) -> Any:
    """True at each episode's last step: where the next step of the row starts another one."""
    resets = jnp.asarray(resets)
    if resets.ndim != 2 or not resets.size or resets.dtype != bool:
        return resets  # the runner says what is wrong with it
    if lengths is not None:
        times = jnp.expand_dims(jnp.arange(resets.shape[axis], dtype=jnp.int32), 1 - axis)
        resets &= times < jnp.expand_dims(jnp.asarray(lengths).astype(jnp.int32), axis)
    return jnp.roll(resets, -1, axis).at[(slice(None),) * axis + (-1,)].set(False)
