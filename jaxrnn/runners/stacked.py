"""Layers of two directions, each of which reads both outputs of the layer below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.keys import fold_in
from jaxrnn.memory.plan import Memory
from jaxrnn.runners.bidirectional import bidirectional_dynamic_rnn
from jaxrnn.runners.parallel import Parallel
from jaxrnn.typing import Inputs


def stack_bidirectional_dynamic_rnn(
    cells_fw: Sequence[Any],
    cells_bw: Sequence[Any],
    params: Sequence[tuple[Any, Any]],
    inputs: Inputs,
    *,
    initial_states_fw: Sequence[Any] | None = None,
    initial_states_bw: Sequence[Any] | None = None,
    sequence_length: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    swap_memory: bool = False,
    memory: Memory = "save",
    chunk_size: int | None = None,
    parallel: Parallel = None,
    resets: ArrayLike | None = None,
    reset_states_fw: Sequence[Any] | None = None,
    reset_states_bw: Sequence[Any] | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """Runs layers of two directions over a sequence; TF1's `tf.contrib.rnn.stack_bidirectional_dynamic_rnn`.

    A layer reads the outputs of both directions of the layer below, side by side, so that each sees the past and the future
    (Graves et al., 2013). `bidirectional_dynamic_rnn` with a `MultiRNNCell` for each direction is another network: there the
    directions do not meet before the end.

    Args:
      cells_fw, cells_bw: lists of L cells, the lowest first. Those of layer i > 0 read inputs `[B, H_fw + H_bw]`, the
        outputs of layer i - 1.
      params: a list of L pairs `(params_fw, params_bw)`.
      inputs: as for `dynamic_rnn`, `[B, T, ...]`.
      initial_states_fw, initial_states_bw: lists of L states, pytrees of arrays `[B, ...]`, or None for the cell's own,
        zeros; None is that for every layer.
      reset_states_fw, reset_states_bw: the same of the states at resets.
      key: a PRNG key; layer i runs with `jax.random.fold_in(key, i)`.
      memory: as for `dynamic_rnn`, for every layer; a budget in bytes is shared evenly by the layers.
      sequence_length, dtype, time_major, swap_memory, chunk_size, parallel, resets, mask: as for
        `bidirectional_dynamic_rnn`, for every layer.

    Returns:
      `(outputs, states_fw, states_bw)`: of the top layer both outputs, concatenated, `[B, T, H_fw + H_bw]`; tuples of the L
      last states of each direction.

    Raises:
      TypeError, ValueError: as `bidirectional_dynamic_rnn`, and if the lists are not equally long.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cells_fw = [jaxrnn.LSTMCell(5), jaxrnn.LSTMCell(4)]
      >>> cells_bw = [jaxrnn.GRUCell(2), jaxrnn.GRUCell(3)]
      >>> keys = jax.random.split(jax.random.key(0), (2, 2))
      >>> params = [(fw.init(k[0], d), bw.init(k[1], d)) for fw, bw, k, d in zip(cells_fw, cells_bw, keys, (3, 7))]
      >>> inputs = jnp.ones((4, 6, 3))
      >>> outputs, states_fw, states_bw = jaxrnn.stack_bidirectional_dynamic_rnn(cells_fw, cells_bw, params, inputs)
      >>> outputs.shape, states_fw[1].h.shape, states_bw[1].shape
      ((4, 6, 7), (4, 4), (4, 3))
    """
    states = {
        "initial_states_fw": initial_states_fw,
        "initial_states_bw": initial_states_bw,
        "reset_states_fw": reset_states_fw,
        "reset_states_bw": reset_states_bw,
    }
    given = {name: value for name, value in states.items() if value is not None}
    check.layers(cells_fw=cells_fw, cells_bw=cells_bw, params=params, **given)
    if key is not None:
        check.prng_key(key)
    count = len(cells_fw)
    none = [None] * count
    layers = zip(cells_fw, cells_bw, params, *(given.get(name, none) for name in states), strict=True)
    memory = check.share(memory, count) if check.is_budget(memory) else memory
    last_states = []
    for i, (cell_fw, cell_bw, layer_params, state_fw, state_bw, reset_fw, reset_bw) in enumerate(layers):
        both, ends = bidirectional_dynamic_rnn(
            cell_fw,
            cell_bw,
            layer_params,
            inputs,
            sequence_length=sequence_length,
            initial_state_fw=state_fw,
            initial_state_bw=state_bw,
            dtype=dtype,
            time_major=time_major,
            swap_memory=swap_memory,
            memory=memory,
            chunk_size=chunk_size,
            parallel=parallel,
            resets=resets,
            reset_state_fw=reset_fw,
            reset_state_bw=reset_bw,
            mask=mask,
            key=None if key is None else fold_in(key, i),
        )
        inputs = jax.tree.map(lambda fw, bw: jnp.concatenate([fw, bw], axis=-1), *both)
        last_states.append(ends)
    states_fw, states_bw = zip(*last_states, strict=True)
    return inputs, states_fw, states_bw
