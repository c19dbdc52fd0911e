"""The runner that loops: one compiled loop over chunks of K steps."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike, DTypeLike

from jaxrnn import check
from jaxrnn.jit import jit_by_value
from jaxrnn.memory.modes import MODES, Mode
from jaxrnn.memory.plan import Memory, Plan
from jaxrnn.runners.loop import run
from jaxrnn.runners.parallel import Parallel, parallel_in_time
from jaxrnn.runners.plans import mode_and_chunk_size
from jaxrnn.runners.problem import problem_of
from jaxrnn.typing import Cell, Inputs, Outputs, Params, State


def dynamic_rnn(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    sequence_length: ArrayLike | None = None,
    initial_state: State | None = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    swap_memory: bool = False,
    memory: Memory = "save",
    chunk_size: int | None = None,
    parallel: Parallel = None,
    reverse: bool = False,
    resets: ArrayLike | None = None,
    reset_state: State | None = None,
    mask: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> tuple[Outputs, State]:
    """Runs a cell over a sequence in one loop; TF1's `tf.nn.dynamic_rnn`.

    What it means, for one row of the batch:

        for t in range(T):                                  # from T - 1 down to 0 if reverse
            if t >= length: outputs[t] = zeros; continue    # and the state stays as it is
            if resets[t]: state = reset_state
            if not mask[t]: outputs[t] = zeros; continue
            outputs[t], state = cell(params, inputs[t], state, key=step_key(key, t))

    One sequence is a batch of one, `inputs[None]`. Several batch axes, or params of several nets, are a `jax.vmap` of the run.

    Forward and reverse mode, `jax.hessian`, `jax.vmap` over any argument and `jax.checkpoint` around it all work; only second
    derivatives of an offloaded run do not, for JAX cannot differentiate what lies on the host again.

    `jax.export` makes one program for every B and T (`jax.export.symbolic_shape("b, t, 3")`), gradients included. Where T is
    symbolic chunks have one step; where a T such as `64*n` is known to be made of larger ones, chunk_size=64 makes training
    faster. "recursive" is one level then, and no bytes can be counted.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`. Outside `jax.jit` a function is
        traced at every call, for it may read what has changed; an equal program is compiled once.
      params: the cell's params.
      inputs: an array or a pytree of arrays `[B, T, ...]`, or `[T, B, ...]` if time_major; for jaxrnn's cells floating
        (integer ids need an `EmbeddingWrapper`, other integers a conversion; none is made here). Inputs in the host's memory
        (placed there by a sharding with memory_kind "pinned_host", or `jaxrnn.memory.to_host`) stay there: a block of the
        outermost loop at a time (one chunk, but under "recursive") is brought in, forward and backward, and the outputs, and
        the gradient, live there too. That needs time_major, and loops that come out even: a chunk_size that divides T.
      sequence_length: integers `[B]`. At `t >= length` the output is zeros and the state is copied through; what the
        padding holds, NaN too, reaches no value and no gradient: there the cell is called with its row's first inputs and
        state, so that what is finite at all valid steps has a finite gradient. Chunks past the longest row are not run (but
        under "offload" they are), and on a CPU most rows that have ended are left out. Lengths out of [0, T] are an error
        where they can be seen and are clipped under jit.
      initial_state: a pytree of arrays `[B, ...]`; None is the cell's own, zeros. Plain tuples and lists will do, `(c, h)`
        for an `LSTMStateTuple`.
      dtype: the initial state's floating dtype if none is given; None is the dtype of params and inputs.
      time_major: whether time is the first axis of inputs, resets and outputs. States are always `[B, ...]`.
      swap_memory: the same as `memory="offload"`, under TF1's name.
      memory: where the states that the backward pass needs live. It changes no value and no gradient.
        "save": on the device, every step. "recompute": the first state of every chunk only; one more forward pass.
        "recursive": nested, so that the states kept grow with log T; one more forward pass a level (`jaxrnn.memory.recursive`
        sets the levels). "offload": in the host's memory, every step, or of a plain function the first state of every chunk.
        It is tried on a small problem first and becomes "recompute", with a warning, where gradients are wrong or nothing is
        moved; a CPU has no other memory, and the states stay. An int: a budget in bytes of temporary device memory, of which
        the planner makes the best (`jaxrnn.plan_memory`; under `jax.vmap` it is for one example); a `jaxrnn.memory.Plan`; or a
        `jax.checkpoint` policy, which can choose the names `jaxrnn.memory.GATES`, `OUTPUTS` (what a stack's layer hands on)
        and, for plain functions, `STATES`.
      chunk_size: K, steps a chunk, 1 or more; None chooses. A divisor of T saves the compilation of a rest; of a symbolic
        T it has to be one.
      parallel: "newton" solves all steps of a chunk at once by Newton's method over time, in place of a loop over them, to the
        same values and gradients; `jaxrnn.Newton` has its options, and `jaxrnn.newton_report` says what happened. A cell that
        forgets takes some tens of iterations. Of a cell that is chaotic the steps are run one by one in the end. It is for
        cells in four functions, and what is made of such ones, on a GPU or a TPU: a CPU is slower with it. `chunk_size` says
        how many steps are solved at once (None is up to 1024), and `memory` what is kept between the chunks.
      reverse: whether to run from the last step to the first. Outputs stay at their inputs' places.
      resets: booleans laid out as the inputs, `[B, T]`: start again from `reset_state` before that step.
      reset_state: the state at resets, a pytree of arrays `[B, ...]` like the initial state; None is the cell's own, zeros. It
        is not the `initial_state`, which is often a carry from the piece before. A plain function that is given resets needs
        it.
      mask: booleans laid out as the inputs, `[B, T]`, False where a step is left out: left padding, and holes. There the
        output is zeros and the state is copied through, as past a row's length, and with `sequence_length` both hold. A reset
        at such a step counts for the next one that is run.
      key: a PRNG key, for cells that draw something; nothing is drawn without it. (A threefry key, JAX's default: other
        generators draw otherwise under the vmap over a chunk's steps, so that other runners see other masks.)

    Returns:
      `(outputs, state)`: outputs laid out as the inputs (`[T]` of a scalar that belongs to no row), and the last state
      `[B, ...]`, which is the state after the last valid step of each row (of the first, if reverse).

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
    swap_memory = check.flag("swap_memory", swap_memory)
    check.memory(memory, swap_memory, MODES, (Mode, Plan))
    check.chunk_size(chunk_size)
    problem = problem_of(
        "dynamic_rnn",
        cell,
        params,
        inputs,
        sequence_length=sequence_length,
        initial_state=initial_state,
        dtype=dtype,
        time_major=time_major,
        reverse=reverse,
        resets=resets,
        reset_state=reset_state,
        mask=mask,
        key=key,
    )
    with parallel_in_time(parallel, problem, chunk_size):
        mode, chunk_size = mode_and_chunk_size(problem, "offload" if swap_memory else memory, chunk_size)
        return jit_by_value(run, cell, static=("mode", "chunk_size"))(problem, mode=mode, chunk_size=chunk_size)
