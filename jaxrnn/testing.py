"""The contract of a cell, as one call: for our own cells and for yours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import check
from jaxrnn.engine.masking import advance, select_rows
from jaxrnn.keys import as_step_key, call_cell, step_key
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.runners.static import static_rnn
from jaxrnn.typing import Cell, Inputs, MemoryName, Params, State

_B, _T, _D = 4, 7, 3
_LENGTHS = np.array([5, 0, 7, 2], np.int32)
_MODES: tuple[MemoryName, ...] = ("save", "recompute", "offload")  # to a cell "recursive" is "recompute"


def check_cell(
    cell: Cell,
    *,
    input_size: int = _D,
    params: Params | None = None,
    inputs: Inputs | None = None,
    initial_state: State | None = None,
    key: jax.Array | None = None,
) -> None:
    """Checks that a cell keeps the contract of the runners, in float64 on a small problem (some 10 s).

    - `static_rnn`, `dynamic_rnn` in the memory modes with a chunk that does not divide T, and stepping by hand agree, with
      lengths that mix 0 and T, forward and in reverse: outputs, states, and gradients with respect to params, inputs and
      initial state;
    - the gradients are the finite differences of stepping by hand;
    - NaN in the padding changes nothing, value or gradient;
    - no row of the batch looks at another: other neighbours, or another place, change nothing;
    - `jax.vmap` over params, inputs and states, and over keys, equals one run after the other;
    - the state keeps its dtype and shape in float32, bfloat16 and float64;
    - nothing is leaked out of a trace, and (a cell that is a value) an equal cell is not traced again.

    Args:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      input_size: D of the inputs that are made if none are given.
      params: the cell's params; None takes `cell.init`.
      inputs: an array or pytree `[4, 7, ...]`; None makes random ones `[4, 7, D]`.
      initial_state: a pytree `[4, ...]`; None makes a random one like `cell.initial_state(4)`.
      key: a PRNG key for cells that draw something; None draws nothing.

    Raises:
      AssertionError: with the property that does not hold, and by how much.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.testing.check_cell(jaxrnn.BasicRNNCell(2))
    """
    if key is not None:
        check.prng_key(key)
    with jax.enable_x64(True):
        problem = _problem(cell, input_size, params, inputs, initial_state, key)
        by_hand, programs = _programs(cell, reverse=False)
        _check_finite_differences(problem, by_hand)
        _check_rows(problem, programs["memory='save'"])
        _check_runners(problem, by_hand, programs, "forward")
        _check_runners(problem, *_programs(cell, reverse=True), "reverse")
        _check_padding(problem, programs)
        _check_vmap(problem, programs["memory='save'"])
        _check_dtypes(cell, problem)
        _check_traces(cell, problem)


class _Problem(NamedTuple):
    """What a cell is run with: `point` is (params, inputs, initial state)."""

    point: tuple
    lengths: np.ndarray
    key: jax.Array | None


def _problem(cell, input_size, params, inputs, initial_state, key) -> _Problem:
    rng = np.random.default_rng(0)
    if params is None:
        params = cell.init(jax.random.key(0), input_size, jnp.float64)
    if inputs is None:
        inputs = rng.standard_normal((_B, _T, input_size))
    if initial_state is None:
        initial_state = jax.tree.map(lambda s: rng.standard_normal(s.shape) / 2, cell.initial_state(_B, jnp.float64))
    return _Problem(_cast((params, inputs, initial_state), jnp.float64), _LENGTHS, key)


# ---- the three ways to run


def _by_hand(cell, point, lengths, key, reverse):
    """A Python loop of cell calls: what the runners should give. Padded steps are called with what a row begins with, or of a
    row without steps the longest one."""
    params, inputs, state = point
    outputs = [None] * _T
    row = jnp.where(lengths > 0, jnp.arange(_B), jnp.argmax(lengths))
    begin = jnp.maximum(lengths - 1, 0) if reverse else jnp.zeros_like(lengths)
    first = jax.tree.map(lambda leaf: leaf[row, begin[row]], inputs)
    start = jax.tree.map(lambda leaf: leaf[row] if leaf.ndim else leaf, state)
    for t in range(_T)[:: -1 if reverse else 1]:
        valid = t < lengths
        x = select_rows(valid, jax.tree.map(lambda leaf: leaf[:, t], inputs), first)  # noqa: B023
        keys = None if key is None else as_step_key(step_key(key, t))
        output, new = call_cell(cell, params, x, select_rows(valid, state, start), keys)
        outputs[t] = select_rows(valid, output, jax.tree.map(jnp.zeros_like, output))
        state = advance(valid, new, state)
    return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), state


def _static(cell, point, lengths, key, reverse):
    params, inputs, state = point
    steps = [jax.tree.map(lambda leaf: leaf[:, t], inputs) for t in range(_T)]  # noqa: B023
    options = {"sequence_length": lengths, "reverse": reverse, "key": key}
    outputs, state = static_rnn(cell, params, steps, initial_state=state, **options)
    return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), state


def _dynamic(memory: MemoryName) -> Callable:
    def run(cell, point, lengths, key, reverse):
        params, inputs, state = point
        options = {"sequence_length": lengths, "reverse": reverse, "key": key}
        return dynamic_rnn(cell, params, inputs, initial_state=state, memory=memory, chunk_size=3, **options)

    return run


_RUNNERS = {"static_rnn": _static, **{f"memory={mode!r}": _dynamic(mode) for mode in _MODES}}


def _programs(cell: Cell, reverse: bool) -> tuple[Callable, dict[str, Callable]]:
    """That of stepping by hand, and those of the runners by their names."""
    return _program(_by_hand, cell, reverse), {name: _program(runner, cell, reverse) for name, runner in _RUNNERS.items()}


def _loss(result: Any) -> jax.Array:
    """A scalar in which every output and every part of the state has a weight of its own."""
    rng = np.random.default_rng(1)
    leaves = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.asarray(sum((leaf * rng.standard_normal(leaf.shape).astype(leaf.dtype)).sum() for leaf in leaves))


def _program(runner: Callable, cell: Cell, reverse: bool) -> Callable:
    """`(point, lengths, key) -> (loss, (outputs, state), gradients with respect to the floating leaves of the point)`."""

    @jax.jit
    def run(point, lengths, key):
        def loss(floating):
            result = runner(cell, _merge(floating, point), lengths, key, reverse)
            return _loss(result), result

        (value, result), grads = jax.value_and_grad(loss, has_aux=True)(_floating(point))
        return value, result, grads

    return run


# ---- the properties


def _check_runners(problem, by_hand, programs, direction):
    _, *want = by_hand(*problem)
    for name, program in programs.items():
        _, *got = program(*problem)
        _close(got, want, 1e-9, f"{name}, {direction}: not what stepping by hand gives")


def _check_finite_differences(problem, by_hand, eps=1e-5):
    point = _floating(problem.point)
    rng = np.random.default_rng(2)
    for k, grad in enumerate(by_hand(*problem)[2]):
        move = rng.standard_normal(point[k].shape)

        def at(h):
            moved = _merge([*point[:k], point[k] + h * move, *point[k + 1 :]], problem.point)  # noqa: B023
            return by_hand(*problem._replace(point=moved))[0]

        slope = (8 * (at(eps) - at(-eps)) - (at(2 * eps) - at(-2 * eps))) / (12 * eps)
        _close(np.vdot(grad, move), slope, 1e-5, f"gradient {k} of (params, inputs, state): not the finite difference")


def _check_padding(problem, programs):
    params, inputs, state = problem.point
    padded = np.arange(_T) >= _LENGTHS[:, None]

    def spoil(leaf):
        return select_rows(padded, jnp.full_like(leaf, jnp.nan), leaf) if _is_floating(leaf) else leaf

    spoilt = problem._replace(point=(params, jax.tree.map(spoil, inputs), state))
    for name, program in programs.items():
        _close(program(*spoilt), program(*problem), 0, f"{name}: NaN in the padding reaches the result")


def _check_rows(problem, program):
    if problem.key is not None:
        return  # the masks belong to the places in the batch
    params, inputs, state = problem.point
    chosen = np.array([2, 0, 0, 1])
    rows = lambda tree: jax.tree.map(lambda leaf: leaf[chosen] if leaf.ndim else leaf, tree)
    got = program((params, rows(inputs), rows(state)), _LENGTHS[chosen], None)[1]
    _close(got, rows(program(*problem)[1]), 1e-9, "the rows of the batch are not independent")


def _check_vmap(problem, program):
    other = jax.tree.map(lambda leaf: leaf * 0.9 if _is_floating(leaf) else leaf, problem.point)
    keys = (None, None) if problem.key is None else jax.random.split(problem.key)
    runs = [problem._replace(point=point, key=key) for point, key in zip((problem.point, other), keys, strict=True)]
    stack = lambda *trees: jax.tree.map(lambda a, b: jnp.stack([a, b]), *trees)
    point, _, key = stack(*runs)
    got = jax.jit(jax.vmap(program, in_axes=(0, None, 0)))(point, _LENGTHS, key)
    _close(got, stack(*(program(*run) for run in runs)), 1e-9, "jax.vmap: not one run after the other")


def _check_dtypes(cell, problem):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
        point = _cast(problem.point, dtype)
        _, state = _shapes(cell, problem._replace(point=point))
        for before, after in zip(jax.tree.leaves(point[2]), jax.tree.leaves(state), strict=True):
            assert (before.shape, before.dtype) == (after.shape, after.dtype), (
                f"{jnp.dtype(dtype)}: the state goes from {before.dtype}{before.shape} to {after.dtype}{after.shape}"
            )


def _check_traces(cell, problem):
    with jax.checking_leaks():
        _shapes(cell, problem)
    if dataclasses.is_dataclass(cell) and not isinstance(cell, type):
        twin = dataclasses.replace(cell)
        assert (twin, hash(twin)) == (cell, hash(cell)), "two cells built alike are not equal"


def _shapes(cell, problem):
    """`(outputs, state)` of a run, traced alone."""
    return jax.eval_shape(lambda point: _dynamic("save")(cell, point, problem.lengths, problem.key, False), problem.point)


# ---- trees


def _is_floating(leaf):
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if _is_floating(leaf) else None), tree)


def _floating(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if _is_floating(leaf)]


def _merge(floating, tree):
    """`tree` with its floating leaves replaced."""
    values = iter(floating)
    return jax.tree.map(lambda leaf: next(values) if _is_floating(leaf) else leaf, tree)


def _close(got, want, tolerance, message):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0)
        assert worst <= tolerance, f"{message}: differs by {worst:.3g}, more than {tolerance:.3g}"
