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
from jaxrnn.engine.masking import FirstStep
from jaxrnn.engine.scanned import scan_chunks
from jaxrnn.engine.tuning import current
from jaxrnn.jit import jit_by_value
from jaxrnn.memory.modes import MODES, Mode, resolve
from jaxrnn.runners.loop import swap_batch_and_time
from jaxrnn.runners.offload_check import proven
from jaxrnn.runners.problem import problem_of
from jaxrnn.runners.sharding import no_rows, spread, spread_alike
from jaxrnn.runners.start import Struct, first_state, key_struct
from jaxrnn.typing import Cell, Inputs, Params, State


class StreamState(NamedTuple):
    """Where a stream stands between two calls of `truncated_rnn`.

    Attributes:
      state: the state after the last step, leaves `[B, ...]`: what `dynamic_rnn` would go on from.
      start: the state k2 - k1 steps earlier, where the next window's gradient ends.
      inputs: the inputs of those k2 - k1 steps, leaves `[k2 - k1, B, ...]`.
      resets: their resets, `[k2 - k1, B]`, or None if the stream has none.
      time: the steps read so far, int32 `[]`.
    """

    state: State
    start: State
    inputs: Inputs
    resets: Any
    time: Any


def truncated_rnn(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    k1: int,
    k2: int | None = None,
    stream: StreamState | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    memory: str | Callable = "save",
    chunk_size: int | None = None,
    resets: ArrayLike | None = None,
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
      initial_state: the state at the stream's beginning and after resets, a pytree of arrays `[B, ...]`; None is the
        cell's own, zeros.
      dtype: the initial state's dtype if none is given; None is the dtype of params and inputs.
      time_major: whether time is the first axis of inputs, resets and outputs.
      memory: where the states of the windows live: "save", "recompute", "recursive", "offload" or a `jax.checkpoint` policy,
        as for `dynamic_rnn`.
      chunk_size: K, steps a chunk; None chooses.
      resets: booleans laid out as the inputs, `[B, T]`: start again from the initial state before that step. No gradient
        passes a reset.
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
        initial_state=initial_state,
        dtype=dtype,
        time_major=time_major,
        resets=resets,
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
    history = _before(inputs, k2 - k1), jax.tree.map(lambda leaf: jnp.zeros((k2 - k1, *leaf.shape[1:]), bool), resets)
    begin = _begin(initial, *spread(history, rows, axis=1))
    begins, stream = stream is None, begin if stream is None else check.stream(stream, begin)

    # Steps before the stream's beginning are padding, called with the first step's inputs: the state is copied through them.
    batch = piece.time_and_batch[1]
    read = lambda time: spread(jnp.broadcast_to(time[:, None] >= 0, (time.shape[0], batch)), rows, axis=1)
    valid = read if k2 > k1 else None
    first = None if resets is None else FirstStep(None, initial)
    body = chunk_body(piece.cell, piece.params, piece.key, mode, valid, first)

    def steps(state, xs):
        count = xs[0].shape[0]
        size = chunk_size or current().chunk_size(count, batch, mode)
        state, outputs = scan_chunks(body, state, xs, size, mode, reverse=False)
        return outputs, state

    def window(stream, xs):
        inputs, resets = _concatenate((stream.inputs, stream.resets), xs)  # k2 steps
        time = stream.time - (k2 - k1) + jnp.arange(k2, dtype=jnp.int32)
        xs = (time, inputs, resets)
        start = lax.stop_gradient(stream.start)
        if begins:  # windows that reach back to the beginning have a gradient with respect to the initial state
            start = jax.tree.map(lambda i, s: jnp.where(stream.time <= k2 - k1, i, s), initial, start)
        outputs, start = steps(start, jax.tree.map(lambda leaf: leaf[:k1], xs))
        rest = jax.tree.map(lambda leaf: leaf[k1:], xs)
        more, state = steps(start, rest)
        outputs = jax.tree.map(lambda leaf: leaf[k2 - k1 :], _concatenate(outputs, more))
        start, state = lax.stop_gradient((start, state))
        return StreamState(state, start, rest[1], rest[2], stream.time + k1), outputs

    windows = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] // k1, k1, *leaf.shape[1:]), (inputs, resets))
    stream, outputs = lax.scan(window, stream, windows)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * k1, *leaf.shape[2:]), outputs)
    return swap(outputs), lax.stop_gradient(stream)


def _begin(initial, inputs, resets):
    """A stream of which nothing has been read."""
    return StreamState(initial, initial, inputs, resets, jnp.int32(0))


def _before(tree, history):
    """The steps before the stream's beginning, all of them like the first one."""
    first = lambda leaf: leaf[:1] if leaf.shape[0] else jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)
    repeat = lambda leaf: jnp.broadcast_to(without_gradient(first(leaf)), (history, *leaf.shape[1:]))
    return jax.tree.map(repeat, tree)


def _concatenate(a, b):
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), a, b)
