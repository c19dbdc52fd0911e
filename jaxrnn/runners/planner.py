"""The planner: which memory mode to train in, for a budget in bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from jaxrnn import check
from jaxrnn.memory.host import on_host
from jaxrnn.memory.plan import Plan, Plans, first_within
from jaxrnn.runners.plans import plans, shapes
from jaxrnn.runners.problem import problem_of
from jaxrnn.typing import Cell, Inputs, Params


def plan_memory(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    budget: int,
    *,
    loss: str | Callable = "outputs",
    input_gradient: bool = False,
    **options: Any,
) -> Plan:
    """The plan with the least work that trains a cell on a sequence within a budget of memory.

    The compiler counts, on shapes alone, what a training step needs under one plan after the other, until one fits. The order
    is that of `memory_plans`: by forward passes that are run again. A plan takes a fraction of a second, however long the
    sequence. Nothing is allocated. The bytes hold for every cell, loss, version and platform.

    Args:
      cell, params, inputs: as for `dynamic_rnn`, inputs `[B, T, ...]`; arrays, or in their place `jax.ShapeDtypeStruct`. If
        they are sharded, the bytes are those of one device.
      budget: bytes of temporary memory on the device for a training step: what the backward pass needs, the outputs, their
        cotangents and copies. Params, their gradient and the inputs themselves are not in it.
      loss: what reads the result: "outputs" (all of them) or "state" (the last one alone), by the sum of their sines; or your
        own loss, a function `(outputs, state) -> scalar`. The value and the gradient of a loss on all outputs can take an
        array [T, B, H] of its own more or less than the sines do; then give it.
      input_gradient: whether the gradient with respect to the inputs is taken too.
      **options: the other arguments of the `dynamic_rnn` call, as arrays or shapes: sequence_length, initial_state,
        dtype, time_major, chunk_size, reverse, resets, reset_state, mask, key.

    Returns:
      A `jaxrnn.memory.Plan`, for `dynamic_rnn(..., memory=plan)`. `print` shows what it costs.

    Raises:
      TypeError, ValueError: if an argument does not fit, or if the budget is below the least that the work needs, which
        the text says.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.LSTMCell(num_units=64)
      >>> params = cell.init(jax.random.key(0), input_size=8)
      >>> inputs = jax.ShapeDtypeStruct((4, 10_000, 8), jnp.float32)
      >>> plan = jaxrnn.plan_memory(cell, params, inputs, budget=8_000_000, loss="state")
      >>> plan.mode, plan.extra_forwards, plan.device_bytes < 8_000_000
      ('recompute', 1, True)
    """
    check.budget(budget)
    return first_within(budget, _plans(cell, params, inputs, loss, input_gradient, options))


def memory_plans(
    cell: Cell,
    params: Params,
    inputs: Inputs,
    *,
    loss: str | Callable = "outputs",
    input_gradient: bool = False,
    **options: Any,
) -> Plans:
    """All the ways to train a cell on a sequence, and what they cost: what `plan_memory` chooses from.

    Args:
      cell, params, inputs, loss, input_gradient: as for `plan_memory`, inputs `[B, T, ...]`.
      **options: as for `plan_memory`.

    Returns:
      A `jaxrnn.memory.Plans`, the way with the least work first. `print` shows it as a table; `plans.within(budget)` chooses.

    Raises:
      TypeError, ValueError: as `plan_memory`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=64)
      >>> params = cell.init(jax.random.key(0), input_size=8)
      >>> inputs = jax.ShapeDtypeStruct((4, 1000, 8), jnp.float32)
      >>> plans = jaxrnn.memory_plans(cell, params, inputs)
      >>> print("\\n".join(str(plans).splitlines()[:2]))
      cell GRUCell(num_units=64, reset_after=True, activation=None), inputs float32[4, 1000, 8], loss on outputs
      memory     chunk  levels  device  host  extra forward passes
      >>> plans.within(10_000_000).mode
      'save'
    """
    return Plans(tuple(_plans(cell, params, inputs, loss, input_gradient, options)))


def _plans(cell, params, inputs, loss, input_gradient, options):
    """The plans for a problem given as arrays or shapes, checked as `dynamic_rnn` checks it."""
    check.is_cell(cell, "plan_memory")
    input_gradient = check.flag("input_gradient", input_gradient)
    check.options(options, (*_ARRAYS, *_VALUES, "chunk_size"))
    check.chunk_size(options.get("chunk_size"))
    values = {name: options[name] for name in _VALUES if name in options}
    arrays = {"params": params, "inputs": inputs, **{name: options[name] for name in _ARRAYS if name in options}}
    for name, what in (("sequence_length", "integers [B]"), ("resets", "booleans [B, T]"), ("mask", "booleans [B, T]")):
        if arrays.get(name) is not None and not isinstance(arrays[name], jax.ShapeDtypeStruct):
            arrays[name] = check.numbers(name, arrays[name], what)
    if arrays.get("key") is not None:
        check.prng_key(arrays["key"])
    arrays = {name: shapes(check.shaped(tree, name)) for name, tree in arrays.items()}
    problem = jax.eval_shape(lambda arrays: problem_of("dynamic_rnn", cell, **arrays, **values), arrays)
    placed = {name: arrays[name] for name in ("params", "inputs")}
    problem = dataclasses.replace(problem, **placed, streamed=on_host(inputs))
    check.host_layout(problem.streamed, problem.time_major)
    return plans(problem, check.loss(loss), input_gradient, options.get("chunk_size"))


_ARRAYS = ("sequence_length", "initial_state", "resets", "reset_state", "mask", "key")
_VALUES = ("dtype", "time_major", "reverse")
