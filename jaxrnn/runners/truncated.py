"""Back-propagation through time that stops after a number of steps: for streams without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.engine.autodiff import without_gradient
from jaxrnn.engine.chunk import chunk_body
from jaxrnn.engine.first import at_first, extent_of, first_step
from jaxrnn.engine.masking import replace_rows
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.tuning import current
from jaxrnn.jit import jit_by_value
from jaxrnn.memory.modes import MODES, Mode, resolve
from jaxrnn.runners.loop import swap_batch_and_time
from jaxrnn.runners.offload_check import proven
from jaxrnn.runners.problem import problem_of
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct, state_at_resets
from jaxrnn.typing import Cell, Inputs, Params, State


class StreamState(NamedTuple):
    """Where a stream stands between two calls of `truncated_rnn`.

    Attributes:
      state: the state after the last step, leaves `[B, ...]`: what `dynamic_rnn` would go on from.
      start: the state k2 - k1 steps earlier, where the next window's gradient ends.
      inputs: the inputs of those k2 - k1 steps, leaves `[k2 - k1, B, ...]`.
      resets: their resets, `[k2 - k1, B]`, or None if the stream has none.
      time: the steps read so far, int32 `[]`.
      mask: which of those k2 - k1 steps are run, `[k2 - k1, B]`, or None if the stream has neither mask nor lengths.
    """

    state: State
    start: State
    inputs: Inputs
    resets: Any
    time: Any
    mask: Any = None


def truncated_rnn(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    k1: int,
    k2: int | None = None,
    stream: StreamState | None = None,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    memory: str | Callable = "save",
    chunk_size: int | None = None,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, StreamState]:
    """Runs a cell over the next piece of a stream; its gradient is truncated back-propagation through time, BPTT(k2; k1).

    The values are those of `dynamic_rnn` on the stream so far. The gradient is taken in windows of k1 steps: what a loss on a
    window's outputs says goes back through k2 steps, the window's own k1 and the k2 - k1 before them, and no further
    (Williams and Peng, 1990). The states in those k2 steps are computed with the params of this call, so params may
    change from call to call:

        for every k1 steps:                                           # one call a window, or several windows in a call
            outputs, stream = truncated_rnn(cell, params, next_inputs, k1=k1, k2=k2, stream=stream)
            ...                                                       # a loss on outputs, its gradient, an update

    A call costs k2/k1 forward passes over its piece. It is compiled once for pieces of one length, and goes inside your own
    `jax.jit` and `jax.grad`. The gradient with respect to the initial state is that of the first call and of the resets.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      params: the cell's params.
      inputs: the next piece of the stream, an array or a pytree of arrays `[B, T, ...]` (`[T, B, ...]` if time_major), T a
        multiple of k1.
      k1: steps a window.
      k2: steps that the gradient goes back from a window's end, k1 or more; None is k1.
      stream: what the call before returned; None begins the stream.
      sequence_length: integers `[B]`, the steps of this piece that each row has; it goes on with the next piece's first step.
      initial_state: the state at the stream's beginning, a pytree of arrays `[B, ...]`; None is the cell's own, zeros.
      dtype: the initial state's dtype if none is given; None is the dtype of params and inputs.
      time_major: whether time is the first axis of inputs, resets and outputs.
      memory: where the states of the windows live: "save", "recompute", "recursive", "offload" or a `jax.checkpoint` policy,
        as for `dynamic_rnn`.
      chunk_size: K, steps a chunk; None chooses.
      resets: booleans laid out as the inputs, `[B, T]`: start again from `reset_state` before that step. No gradient passes a
        reset.
      reset_state: the state at resets, a pytree of arrays `[B, ...]`; None is the cell's own, zeros. A plain function that is
        given resets needs it.
      mask: booleans laid out as the inputs, `[B, T]`, False where a step is left out, as for `dynamic_rnn`. A window's k2 steps
        count those that are left out.
      key: a PRNG key of the whole stream, the same in every call: masks belong to the stream's steps.

    Returns:
      `(outputs, stream)`: outputs laid out as the inputs, and the `StreamState` to go on from, through which no gradient flows.

    Raises:
      TypeError, ValueError: if an argument does not fit; the text says what was expected, what came and what to do.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5)
      >>> params, stream = cell.init(jax.random.key(0), input_size=3), None
      >>> for piece in jnp.ones((3, 4, 20, 3)):  # three pieces of 20 steps, 4 rows
      ...     outputs, stream = jaxrnn.truncated_rnn(cell, params, piece, k1=10, k2=25, stream=stream)
      >>> outputs.shape, stream.state.shape, stream.inputs.shape, int(stream.time)
      ((4, 20, 5), (4, 5), (15, 4, 3), 60)
    """
    check.mode(memory, MODES, (Mode,))
    check.chunk_size(chunk_size)
    k1, k2 = check.truncation(k1, k2)
    piece = problem_of(
        "truncated_rnn",
        cell,
        params,
        inputs,
        sequence_length=sequence_length,
        initial_state=initial_state,
        dtype=dtype,
        time_major=time_major,
        resets=resets,
        reset_state=reset_state,
        mask=mask,
        key=key,
    )
    stream = None if stream is None else check.arrays(check.of_a_stream(stream, StreamState), "stream")
    check.pieces(piece.time_and_batch[0], k1, piece.streamed)
    run = jit_by_value(_run, cell, static=("k1", "k2", "mode", "chunk_size"))
    return run(piece, stream, k1=k1, k2=k2, mode=proven(resolve(memory)), chunk_size=chunk_size)


def _run(piece, stream, k1, k2, mode, chunk_size):
    rows = no_rows(piece)
    piece = spread_alike(piece, rows)
    swap = (lambda tree: tree) if piece.time_major else swap_batch_and_time
    inputs, resets = swap(piece.inputs), None if piece.resets is None else swap(piece.resets)
    one_step = jax.tree.map(lambda leaf: Struct(leaf.shape[1:], leaf.dtype), inputs)
    start = (piece.initial_state, piece.dtype, key_struct(piece.key))
    initial = spread(first_state(piece.cell, piece.params, one_step, *start), rows)
    mask, resets = _steps_of_piece(piece.sequence_length, swap(piece.mask), resets, inputs)
    nowhere = lambda flags: jax.tree.map(lambda leaf: jnp.zeros((k2 - k1, *leaf.shape[1:]), bool), flags)
    history = spread((_before(inputs, k2 - k1), nowhere(resets), nowhere(mask)), rows, axis=1)
    begin = StreamState(initial, initial, history[0], history[1], jnp.int32(0), history[2])
    begins, stream = stream is None, begin if stream is None else check.stream(stream, begin)

    # Steps before the stream's beginning are padding, called with the first step's inputs: the state is copied through them.
    batch, again = piece.time_and_batch[1], None
    read = lambda time: spread(jnp.broadcast_to(time[:, None] >= 0, (time.shape[0], batch)), rows, axis=1)
    valid = (lambda time, _: read(time)) if k2 > k1 else None
    valid = valid if mask is None else lambda _, mask: mask
    if resets is not None:
        again = spread(state_at_resets(piece.cell, initial, piece.reset_state, batch), rows)

    def steps(state, xs, first):
        body = chunk_body(piece.cell, piece.params, piece.key, mode, valid, again, first)
        count = xs[0].shape[0]
        size = chunk_size or current().chunk_size(count, batch, mode)
        state, outputs = scan_chunks(body, state, xs, size, mode, reverse=False)
        return outputs, state

    def window(stream, xs):
        inputs, resets, mask = _concatenate((stream.inputs, stream.resets, stream.mask), xs)  # k2 steps
        time = stream.time - (k2 - k1) + jnp.arange(k2, dtype=jnp.int32)
        xs = time, inputs, resets, mask
        start = lax.stop_gradient(stream.start)
        if begins:  # windows that reach back to the beginning have a gradient with respect to the initial state
            start = jax.tree.map(lambda i, s: jnp.where(stream.time <= k2 - k1, i, s), initial, start)
        first = None if mask is None else _first(inputs, mask, resets, start, again)
        outputs, start = steps(start, jax.tree.map(lambda leaf: leaf[:k1], xs), first)
        rest = jax.tree.map(lambda leaf: leaf[k1:], xs)
        more, state = steps(start, rest, first)
        outputs = jax.tree.map(lambda leaf: leaf[k2 - k1 :], _concatenate(outputs, more))
        start, state = lax.stop_gradient((start, state))
        return StreamState(state, start, rest[1], rest[2], stream.time + k1, rest[3]), outputs

    windows = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] // k1, k1, *leaf.shape[1:]), (inputs, resets, mask))
    stream, outputs = lax.scan(window, stream, windows)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * k1, *leaf.shape[2:]), outputs)
    return swap(outputs), lax.stop_gradient(stream)


def _steps_of_piece(lengths, mask, resets, inputs):
    """Which steps of the piece are run, `[T, B]` or None for all, and its resets; those past a row's length are none."""
    if lengths is None:
        return mask, resets
    within = jnp.arange(jax.tree.leaves(inputs)[0].shape[0], dtype=jnp.int32)[:, None] < lengths[None]
    return within if mask is None else mask & within, None if resets is None else resets & within


def _first(inputs, mask, resets, start, again):
    """What the padded steps of a window are called with: its rows' first steps."""
    extent = extent_of(mask, 0)
    if resets is not None:
        up_to_the_first = jnp.arange(mask.shape[0], dtype=jnp.int32)[:, None] <= jnp.asarray(extent.begins)[None]
        start = replace_rows(jnp.any(resets & up_to_the_first, 0), again, start)
    return first_step(at_first(inputs, extent, 0), start, extent.ends)


def _before(tree, history):
    """The steps before the stream's beginning, all of them like the first one."""
    first = lambda leaf: leaf[:1] if leaf.shape[0] else jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)
    repeat = lambda leaf: jnp.broadcast_to(without_gradient(first(leaf)), (history, *leaf.shape[1:]))
    return jax.tree.map(repeat, tree)


def _concatenate(a, b):
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), a, b)
