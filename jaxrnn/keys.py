"""The random keys of a run: the same masks in every runner, in every memory mode and when stepping by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import check
from jaxrnn.typing import Inputs, Params, State

fold_in = jax.random.fold_in


class StepKey(NamedTuple):
    """What a cell draws from in a step.

    Attributes:
      run: a PRNG key `[]`, shared by all steps of a run; variational masks are drawn from it.
      step: a PRNG key `[]`, the step's own; masks and noise that every step draws anew come from it.
      t: int32 `[]`, the step's position in time; None where a plain key stands for both.
    """

    run: Any
    step: Any
    t: Any = None


def step_key(key: jax.Array, t: int | jax.Array) -> StepKey:
    """The key that a runner with `key=key` gives to the cell at position `t` of the sequence.

    Args:
      key: the PRNG key of the run, shape `[]`.
      t: the step's position in time; a reversed run counts from the sequence's start as well.

    Returns:
      What to pass as `cell(params, inputs, state, key=...)` when stepping by hand. A cell takes a plain key too and uses
      it for both parts: `jax.random.fold_in(key, t)` then gives the runner's masks where no mask is variational, `key`
      itself where all are.

    Raises:
      TypeError: if key is not one PRNG key.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.DropoutWrapper(jaxrnn.GRUCell(2), output_keep_prob=0.5)
      >>> params, state = cell.init(jax.random.key(0), 3), cell.initial_state(1)
      >>> output, state = cell(params, jax.numpy.ones((1, 3)), state, key=jaxrnn.step_key(jax.random.key(1), 0))
    """
    check.prng_key(key)
    return StepKey(key, fold_in(key, t), jnp.asarray(t, jnp.int32))


def as_step_key(key: StepKey | jax.Array | None) -> StepKey | None:
    """`key` as a pair; a plain key stands for both of its parts."""
    return key if key is None or isinstance(key, StepKey) else StepKey(key, key)


def fold_step(key: StepKey | None, data: int) -> StepKey | None:
    """Other keys for a part of a cell, so that no two parts share a mask."""
    return None if key is None else StepKey(fold_in(key.run, data), fold_in(key.step, data), key.t)


def call_cell(cell: Callable, params: Params, inputs: Inputs, state: State, key: StepKey | None) -> tuple[Any, Any]:
    """One step of any cell; a function without an argument `key` draws nothing and is not given one."""
    options = {} if key is None or not takes_key(cell) else {"key": key}
    return check.pair_of_results(cell, cell(params, inputs, state, **options))


def takes_key(function: Callable) -> bool:
    """Whether it has an argument `key`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C has none to look at
        return False
    return "key" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
