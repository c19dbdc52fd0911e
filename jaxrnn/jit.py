"""Compilation outside a caller's own `jax.jit`: by the value of the cell, or by the program that it makes.

What a cell does has to be told before a compiled program is used again. A cell of frozen hyperparameters is told by these, and
is not traced again. A function may read what changes (a global, a default, what it closes over), so a run with one is traced at
every call; but the program that this gives is compiled once.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import sys
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxrnn.engine.tuning import Tuning, current

_PROGRAMS = 256  # the latest ones that are kept
_OURS = ("jax", "jaxlib", "jaxrnn", "numpy", "builtins")


def jit_by_value(run: Callable, cell: Any, static: tuple[str, ...]) -> Callable:
    """`run(*arrays, **values)` compiled, with the values named in `static`; outside a trace it is not compiled again.

    Args:
      run: a function of pytrees of arrays, and of values.
      cell: all of what is run that may be a function, a pytree or a tuple of these.
      static: the names of the values.
    """
    value = value_of(cell)
    return functools.partial(_by_program, run) if value is None else _jitted(run, static, value, current())


@functools.lru_cache(maxsize=4096)
def _jitted(run: Callable, static: tuple[str, ...], value: Hashable, tuning: Tuning) -> Callable:
    of_this_value = lambda *args, **values: run(*args, **values)  # JAX keeps traces by function, and compares the rest by ==
    return jax.jit(of_this_value, static_argnames=static, inline=True)


# ---- by value


def remembered(function: Callable) -> Callable:
    """`function(cell, *args)`, its results kept by the value of the cell, JAX's width of a number and the tuning."""

    @functools.lru_cache(maxsize=1024)
    def kept(keyed, x64, tuning, *args):
        return function(keyed.cell, *args)

    def look_up(cell, *args):
        value = value_of(cell)
        if value is None or not all(isinstance(arg, Hashable) for arg in args):
            return function(cell, *args)
        return kept(_Keyed(value, cell), jax.config.jax_enable_x64, current(), *args)

    return look_up


@dataclasses.dataclass(frozen=True)
class _Keyed:
    value: Hashable
    cell: Any = dataclasses.field(compare=False)


def value_of(part: Any) -> Hashable | None:
    """What is equal for two cells if and only if they do the same, now and later; None if that cannot be told.

    Python's equality is not enough: 1 == 1.0 == True, 0.0 == -0.0, and `np.dtype("float64") == None`.
    """
    kind = type(part)
    if part is None or isinstance(part, (bool, int, str, bytes, type)):
        return kind, part
    if isinstance(part, (float, complex)):
        return kind, repr(part)
    if isinstance(part, np.generic):
        return kind, part.tobytes()
    if isinstance(part, np.dtype):
        return kind, part.str, part.name
    if isinstance(part, enum.Enum):
        return kind, part.name
    if isinstance(part, (tuple, frozenset)):
        return _of_parts(kind, tuple(part))
    if isinstance(part, functools.partial):
        return _of_parts(kind, (part.func, part.args, tuple(sorted(part.keywords.items()))))
    if _is_frozen(part):
        return _of_parts(kind, tuple(getattr(part, field.name) for field in dataclasses.fields(part)))
    return (kind, part) if callable(part) and _is_importable(part) else None


def _of_parts(kind, parts):
    values = [value_of(part) for part in parts]
    return None if None in values else (kind, *values)


def _is_frozen(part: Any) -> bool:
    parameters = getattr(type(part), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def _is_importable(function: Any) -> bool:
    """Whether it is one of JAX's functions, or of ours, under its own name: these read nothing that changes."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", getattr(function, "__name__", ""))
    return str(module).split(".")[0] in _OURS and getattr(sys.modules.get(str(module)), name, None) is function


# ---- by program


def _by_program(run: Callable, *arrays: Any, **values: Any) -> Any:
    """`run(*arrays, **values)`, traced, and compiled if no equal program has been."""
    leaves, structure = jax.tree.flatten(arrays)
    within_a_trace = any(isinstance(leaf, jax.core.Tracer) for leaf in (*leaves, jnp.asarray(0)))
    if within_a_trace or jax.config.jax_disable_jit:
        return run(*arrays, **values)
    seen = []

    def flat(*leaves):
        results, result_structure = jax.tree.flatten(run(*jax.tree.unflatten(structure, leaves), **values))
        seen.append(result_structure)
        return results

    closed = jax.make_jaxpr(flat)(*leaves)
    if any(isinstance(const, jax.core.Tracer) for const in closed.consts):
        return run(*arrays, **values)
    evaluate = jax.jit(lambda consts, leaves: jax.core.eval_jaxpr(closed.jaxpr, consts, *leaves))
    program = _program(evaluate.lower(closed.consts, leaves), (*closed.consts, *leaves))
    return jax.tree.unflatten(seen[0], program(closed.consts, leaves))


_compiled: dict[tuple, Any] = {}


def _program(lowered: Any, arrays: tuple) -> Any:
    """The compiled program; the one that was compiled before, if its text is the same."""
    text = lowered.as_text()
    if "callback" in text:  # a program's text does not say which Python function it calls
        return lowered.compile()
    places = tuple(getattr(array, "sharding", None) for array in arrays)
    key = hashlib.sha256(text.encode()).digest(), places
    program = _compiled.pop(key, None) or lowered.compile()
    _compiled[key] = program  # now the latest
    while len(_compiled) > _PROGRAMS:
        del _compiled[next(iter(_compiled))]
    return program
