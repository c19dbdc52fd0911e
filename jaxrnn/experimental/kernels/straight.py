"""A step as a straight line of products and elementwise operations, which is what the compilers of kernels take.

They cannot cut and glue arrays at will: Triton splits an array into equal parts only and joins hardly any, and knows no
`optimization_barrier`. Cells do both, as their gates lie side by side in one block of columns. The step's jaxpr is rewritten
until it is straight:

    inlined     calls and custom rules give way to what they call
    columns     glued blocks stay in parts:     [a | b] @ [U; V] = a @ U + b @ V        split(x @ [U | V]) = x @ U, x @ V
    hoisted     what the weights alone decide, such as the parts above, is computed in front of the kernel
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

_CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "remat2", "checkpoint"}
_IDENTITIES = {"optimization_barrier", "name"}
_WIDE = {"cos", "div", "erf", "exp", "exp2", "expm1", "integer_pow", "log", "log1p", "logistic", "pow", "rsqrt", "sin", "sqrt"}
_WIDE |= {"tan", "tanh"}
_ELEMENTWISE = {"abs", "add", "and", "clamp", "convert_element_type", "copy", "eq", "ge", "gt", "le", "lt", "max"}
_ELEMENTWISE |= {"min", "mul", "ne", "neg", "not", "or", "select_n", "sign", "square", "sub", "xor", *_WIDE}


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight step.

    Attributes:
      weights: the arrays that it reads beside its arguments.
      run: `(weights, argument leaves) -> result leaves`, some of them maybe `Columns`.
      results: the shapes of its results, as the step's own pytree.
    """

    weights: list[jax.Array]
    run: Callable
    results: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Columns:
    """An array in parts along its last axis."""

    parts: list[jax.Array]

    @property
    def ndim(self) -> int:
        return self.parts[0].ndim

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(part.shape[-1] for part in self.parts)


def parts_of(array: Any) -> list[jax.Array]:
    """The parts of `Columns`; an array is one."""
    return array.parts if isinstance(array, Columns) else [array]


def columns_of(array: Any) -> Iterator[tuple[slice, jax.Array]]:
    """Its parts, and which columns they are."""
    start = 0
    for part in parts_of(array):
        yield slice(start, start + part.shape[-1]), part
        start += part.shape[-1]


def whole(array: Any) -> jax.Array:
    """Its parts side by side."""
    parts = parts_of(array)
    return parts[0] if len(parts) == 1 else lax.concatenate(parts, parts[0].ndim - 1)


def straighten(step: Callable, *args: Any) -> Line:
    """`step` at arguments of these shapes. What it closes over are its weights."""
    leaves = jax.tree.leaves(args)
    closed, results = jax.make_jaxpr(step, return_shape=True)(*args)
    closed, _ = _rewritten(_inlined, closed, leaves)
    closed, tree = _rewritten(_in_columns, closed, leaves)
    known = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    equations = _hoisted(_needed(closed.jaxpr), known)
    read = {v for eqn in equations for v in _variables(eqn.invars)} | {*_variables(closed.jaxpr.outvars)}
    used = [v for v in known if v in read]

    def run(weights, leaves):
        env = dict(zip([*used, *closed.jaxpr.invars], [*weights, *leaves], strict=True))
        return jax.tree.unflatten(tree, _evaluate(bind, equations, closed.jaxpr.outvars, env))

    return Line([known[v] for v in used], run, results)


def _rewritten(rule: Callable, closed: Any, leaves: list) -> tuple[Any, Any]:
    """`closed` with every equation as `rule` has it, and its results' tree."""
    jaxpr = closed.jaxpr
    users = collections.defaultdict(list)
    for eqn in jaxpr.eqns:
        for v in _variables(eqn.invars):
            users[v].append(eqn)

    def run(*leaves):
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *leaves], strict=True))
        return _evaluate(functools.partial(rule, users), jaxpr.eqns, jaxpr.outvars, env)

    rewritten, shapes = jax.make_jaxpr(run, return_shape=True)(*leaves)
    return rewritten, jax.tree.structure(shapes)


def _evaluate(rule: Callable, equations: Iterable, outvars: list, env: dict) -> list:
    read = lambda v: v.val if isinstance(v, Literal) else env[v]
    for eqn in equations:
        env.update(zip(eqn.outvars, rule(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in outvars]


def bind(eqn: Any, values: Iterable) -> list:
    """The equation's results."""
    result = eqn.primitive.bind(*map(whole, values), **eqn.params)
    return result if eqn.primitive.multiple_results else [result]


def _variables(atoms):
    return [v for v in atoms if not isinstance(v, Literal)]


# ---- the rules


def _inlined(users, eqn, values):
    name, params = eqn.primitive.name, eqn.params
    if name in _IDENTITIES:
        return values
    if name == "add_any":
        return [lax.add(*values)]
    if name in _WIDE:
        return _in_float32(eqn, values)
    if name not in _CALLS:
        return bind(eqn, values)
    inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
    jaxpr, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))
    return _evaluate(functools.partial(_inlined, users), jaxpr.eqns, jaxpr.outvars, env)


def _in_float32(eqn, values):
    """What Triton knows of no shorter numbers, and other compilers compute like this too."""
    short = lambda value: jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize < 4
    results = bind(eqn, [lax.convert_element_type(v, jnp.float32) if short(v) else v for v in values])
    return [lax.convert_element_type(r, v.aval.dtype) for r, v in zip(results, eqn.outvars, strict=True)]


def _in_columns(users, eqn, values):
    name, params = eqn.primitive.name, eqn.params
    glued = [value for value in values if isinstance(value, Columns)]
    if name == "concatenate" and params["dimension"] == values[0].ndim - 1:
        return [Columns([part for value in values for part in parts_of(value)])]
    if name == "split" and glued and params["axis"] == values[0].ndim - 1 and params["sizes"] == values[0].sizes:
        return values[0].parts
    if name == "dot_general":
        return [_product(users, eqn, *values)]
    if name in _ELEMENTWISE and glued:
        return [Columns([bind(eqn, parts)[0] for parts in zip(*(_cut(v, glued[0].sizes) for v in values), strict=True)])]
    return bind(eqn, values)


def _product(users, eqn, x, matrix):
    """A product whose block of columns is in parts, or whose result is only split; any other as it is."""
    (x_axes, matrix_axes), batch = eqn.params["dimension_numbers"]
    if isinstance(matrix, Columns) or matrix.ndim != 2 or batch != ((), ()) or x_axes != (x.ndim - 1,):
        return bind(eqn, [x, matrix])[0]
    (rows,) = matrix_axes
    blocks = _cut(matrix, _sizes_wanted(users[eqn.outvars[0]]) or (matrix.shape[1 - rows],), 1 - rows)
    sizes = tuple(part.shape[-1] for part in parts_of(x))
    product = lambda block: [bind(eqn, pair)[0] for pair in zip(parts_of(x), _cut(block, sizes, rows), strict=True)]
    sums = [functools.reduce(lax.add, product(block)) for block in blocks]
    return sums[0] if len(sums) == 1 else Columns(sums)


def _sizes_wanted(users):
    """The sizes that a block is split into along its last axis, if it has no other use."""
    split = len(users) == 1 and users[0].primitive.name == "split"
    return users[0].params["sizes"] if split and users[0].params["axis"] == users[0].invars[0].aval.ndim - 1 else None


def _cut(array, sizes, axis=None):
    """`array` in parts of these sizes; a scalar is in each of them."""
    if len(sizes) == 1 or not getattr(array, "ndim", 0):
        return [array] * len(sizes)
    if isinstance(array, Columns) and array.sizes == sizes:
        return array.parts
    array = whole(array)
    return lax.split(array, sizes, axis=array.ndim - 1 if axis is None else axis)


# ---- what is left of it


def _needed(jaxpr):
    """The equations that the results come from."""
    live, needed = {*_variables(jaxpr.outvars)}, []
    for eqn in reversed(jaxpr.eqns):
        if live.intersection(eqn.outvars):
            needed.append(eqn)
            live.update(_variables(eqn.invars))
    return needed[::-1]


def _hoisted(equations, known):
    """The equations that are left to a step, if those of `known` alone are done now and added to it.

    Those that make more of it than there was, such as a bias for every row, stay: the memory on chip is small.
    """
    left = []
    for eqn in equations:
        reads = _variables(eqn.invars)
        grows = sum(v.aval.size for v in eqn.outvars) > sum(v.aval.size for v in reads)
        if reads and all(v in known for v in reads) and not grows:
            values = [v.val if isinstance(v, Literal) else known[v] for v in eqn.invars]
            known.update(zip(eqn.outvars, bind(eqn, values), strict=True))
        else:
            left.append(eqn)
    return left
