"""The contract of a cell, as one call: for our own cells and for yours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import check
from jaxrnn.engine.masking import select_rows
from jaxrnn.keys import as_step_key, call_cell, step_key
from jaxrnn.runners.dynamic import dynamic_rnn
from jaxrnn.runners.static import static_rnn

_B, _T, _D = 4, 7, 3
_LENGTHS = np.array([5, 0, 7, 2], np.int32)
_MODES = ("save", "recompute", "offload")  # to a cell "recursive" is "recompute"


def check_cell(
    cell: Any,
    *,
    input_size: int = _D,
    params: Any | None = None,
    inputs: Any | None = None,
    initial_state: Any | None = None,
    key: jax.Array | None = None,
) -> None:
    """Checks that a cell keeps the contract of the runners, in float64 on a small problem (some 20 s).

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
        want = _value_and_grads(_by_hand, problem, reverse=False)
        _check_finite_differences(problem, want)
        _check_rows(problem)
        _check_runners(problem, want)
        _check_padding(problem)
        _check_vmap(problem)
        _check_dtypes(problem)
        _check_traces(problem)


@dataclasses.dataclass(frozen=True)
class _Problem:
    """A cell with arguments: `point` is (params, inputs, initial state)."""

    cell: Any
    point: tuple
    key: jax.Array | None


def _problem(cell, input_size, params, inputs, initial_state, key) -> _Problem:
    rng = np.random.default_rng(0)
    if params is None:
        params = cell.init(jax.random.key(0), input_size, jnp.float64)
    if inputs is None:
        inputs = rng.standard_normal((_B, _T, input_size))
    if initial_state is None:
        initial_state = jax.tree.map(lambda s: rng.standard_normal(s.shape) / 2, cell.initial_state(_B, jnp.float64))
    return _Problem(cell, _cast((params, inputs, initial_state), jnp.float64), key)


# ---- the three ways to run


def _by_hand(problem, point, lengths, reverse):
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
        key = None if problem.key is None else step_key(problem.key, t)
        output, new = call_cell(problem.cell, params, x, select_rows(valid, state, start), as_step_key(key))
        outputs[t] = select_rows(valid, output, jax.tree.map(jnp.zeros_like, output))
        state = select_rows(valid, new, state)
    return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), state


def _static(problem, point, lengths, reverse):
    params, inputs, state = point
    steps = [jax.tree.map(lambda leaf: leaf[:, t], inputs) for t in range(_T)]  # noqa: B023
    options = {"sequence_length": lengths, "reverse": reverse, "key": problem.key}
    outputs, state = static_rnn(problem.cell, params, steps, initial_state=state, **options)
    return jax.tree.map(lambda *steps: jnp.stack(steps, 1), *outputs), state


def _dynamic(memory: str) -> Callable:
    def run(problem, point, lengths, reverse):
        params, inputs, state = point
        options = {"sequence_length": lengths, "reverse": reverse, "key": problem.key}
        return dynamic_rnn(problem.cell, params, inputs, initial_state=state, memory=memory, chunk_size=3, **options)

    return run


def _loss(result: Any) -> jax.Array:
    """A scalar in which every output and every part of the state has a weight of its own."""
    rng = np.random.default_rng(1)
    leaves = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.asarray(sum((leaf * rng.standard_normal(leaf.shape).astype(leaf.dtype)).sum() for leaf in leaves))


def _value_and_grads(runner: Callable, problem: _Problem, reverse: bool, lengths: np.ndarray = _LENGTHS) -> tuple:
    """((outputs, state), gradients with respect to the floating leaves of the point)."""

    @jax.jit
    def run(floating, lengths):
        def loss(floating):
            result = runner(problem, _merge(floating, problem.point), lengths, reverse)
            return _loss(result), result

        return jax.grad(loss, has_aux=True)(floating)

    grads, result = run(_floating(problem.point), lengths)
    return result, grads


# ---- the properties


def _check_runners(problem, want):
    for reverse in (False, True):
        want = _value_and_grads(_by_hand, problem, True) if reverse else want
        for name, runner in {"static_rnn": _static, **{f"memory={mode!r}": _dynamic(mode) for mode in _MODES}}.items():
            got = _value_and_grads(runner, problem, reverse)
            _close(got, want, 1e-9, f"{name}, reverse={reverse}: not what stepping by hand gives")


def _check_finite_differences(problem, want, eps=1e-5):
    point = _floating(problem.point)
    loss = jax.jit(lambda p: _loss(_by_hand(problem, _merge(p, problem.point), _LENGTHS, False)))
    rng = np.random.default_rng(2)
    for k, grad in enumerate(want[1]):
        move = rng.standard_normal(point[k].shape)
        at = lambda h: loss([*point[:k], point[k] + h * move, *point[k + 1 :]])  # noqa: B023
        slope = (8 * (at(eps) - at(-eps)) - (at(2 * eps) - at(-2 * eps))) / (12 * eps)
        _close(np.vdot(grad, move), slope, 1e-5, f"gradient {k} of (params, inputs, state): not the finite difference")


def _check_padding(problem):
    params, inputs, state = problem.point
    padded = np.arange(_T) >= _LENGTHS[:, None]

    def spoil(leaf):
        return select_rows(padded, jnp.full_like(leaf, jnp.nan), leaf) if _is_floating(leaf) else leaf

    spoilt = dataclasses.replace(problem, point=(params, jax.tree.map(spoil, inputs), state))
    for name, runner in (("static_rnn", _static), ("dynamic_rnn", _dynamic("save"))):
        got = _value_and_grads(runner, spoilt, False)
        _close(got, _value_and_grads(runner, problem, False), 0, f"{name}: NaN in the padding reaches the result")


def _check_rows(problem):
    if problem.key is not None:
        return  # the masks belong to the places in the batch
    params, inputs, state = problem.point
    chosen = np.array([2, 0, 0, 1])
    rows = lambda tree: jax.tree.map(lambda leaf: leaf[chosen] if leaf.ndim else leaf, tree)
    run = jax.jit(lambda point, lengths: _dynamic("save")(problem, point, lengths, False))
    got = run((params, rows(inputs), rows(state)), _LENGTHS[chosen])
    _close(got, rows(run(problem.point, _LENGTHS)), 1e-9, "the rows of the batch are not independent")


def _check_vmap(problem):
    other = jax.tree.map(lambda leaf: leaf * 0.9 if _is_floating(leaf) else leaf, problem.point)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), problem.point, other)

    def run(point, key):
        return _dynamic("save")(dataclasses.replace(problem, key=key), point, _LENGTHS, False)

    if problem.key is None:
        got = jax.jit(jax.vmap(lambda point: run(point, None)))(both)
        want = [run(point, None) for point in (problem.point, other)]
    else:
        keys = jax.random.split(problem.key)
        got, want = jax.jit(jax.vmap(run))(both, keys), [run(problem.point, keys[0]), run(other, keys[1])]
    _close(got, jax.tree.map(lambda a, b: jnp.stack([a, b]), *want), 1e-9, "jax.vmap: not one run after the other")


def _check_dtypes(problem):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
        point = _cast(problem.point, dtype)
        result = jax.eval_shape(lambda p: _dynamic("save")(problem, p, _LENGTHS, False), point)
        for before, after in zip(jax.tree.leaves(point[2]), jax.tree.leaves(result[1]), strict=True):
            assert (before.shape, before.dtype) == (after.shape, after.dtype), (
                f"{jnp.dtype(dtype)}: the state goes from {before.dtype}{before.shape} to {after.dtype}{after.shape}"
            )


def _check_traces(problem):
    with jax.checking_leaks():
        jax.eval_shape(lambda point: _dynamic("save")(problem, point, _LENGTHS, False), problem.point)
    cell: Any = problem.cell
    if dataclasses.is_dataclass(cell):
        twin = type(cell)(**{f.name: getattr(cell, f.name) for f in dataclasses.fields(cell)})
        assert (twin, hash(twin)) == (cell, hash(cell)), "two cells built alike are not equal"


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
