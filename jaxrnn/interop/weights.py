"""What the weights of every framework go through on their way in and out.

A framework is a table of layouts, one for each type of cell that it has; a layout is two functions, each the other's
inverse. `Framework` does the rest for all of them alike. The names and shapes that a framework has for a cell are what
`write` makes of `cell.init`'s params, so no layout states them, and none needs a check.

To add a framework, write one file like `torch.py`: the layouts, a `Framework`, and the two public functions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import check
from jaxrnn.cells.dropout import DropoutWrapper
from jaxrnn.cells.wrappers import ResidualWrapper

Params = Any  # as in jaxrnn.cell
Weights = dict[str, Any]  # a framework's names -> arrays
Take = Callable[[str], Any]  # a name -> its array


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a framework stores one type of cell.

    Attributes:
      read: `(cell, take) -> params`, where `take(name)` is the array of that name.
      write: `(cell, params) -> {name: array}`, its inverse.
      only: field of the cell -> the values of it that the framework has; fields that are not named may be anything.
    """

    read: Callable[[Any, Take], Params]
    write: Callable[[Any, Params], Weights]
    only: Mapping[str, tuple] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Framework:
    """A framework's layouts, and how it spells names.

    Attributes:
      name: as in `from_<name>`, `to_<name>`.
      layouts: type of cell -> Layout; `tuple` is a pair of cells, one for each direction. Wrappers without params need none.
      separator: what stands between a scope and a name.
      spell: a given name -> as `write` spells it.
      optional: how the names begin that may be missing, all together, and are zeros then.
    """

    name: str
    layouts: Mapping[type, Layout]
    separator: str
    spell: Callable[[str], str] = str
    optional: str | None = None

    # ---- what a layout calls for the cells inside its own

    def find(self, cell: Any) -> tuple[Any, Layout]:
        """The cell that has the params, without the wrappers that have none, and its layout."""
        while type(cell) in (DropoutWrapper, ResidualWrapper):
            cell = cell.cell
        layout = self.layouts.get(type(cell))
        if layout is None:
            known = ", ".join(kind.__name__ for kind in self.layouts if kind is not tuple)
            raise TypeError(
                f"{self.name}: expected a cell that the framework has too ({known}, or one of these in a DropoutWrapper or "
                f"ResidualWrapper), got {check.name_of(cell)}. Convert the cells inside it by themselves."
            )
        for field, values in layout.only.items():
            value = getattr(cell, field)
            if value not in values:
                raise ValueError(
                    f"{self.name}: expected a {type(cell).__name__} with {field}={_show(values[0])}, got {field}="
                    f"{_show(value)}, which the framework does not have. Use {field}={_show(values[0])}."
                )
        return cell, layout

    def read(self, cell: Any, take: Take) -> Params:
        cell, layout = self.find(cell)
        return layout.read(cell, take)

    def write(self, cell: Any, params: Params) -> Weights:
        cell, layout = self.find(cell)
        return layout.write(cell, params)

    # ---- what the public functions call

    def from_weights(self, cell: Any, weights: Mapping[str, Any]) -> Params:
        """Params from `weights`, which must be this cell's: all of them and no others, under one scope or none."""
        where = f"from_{self.name}"
        cell = self._checked(where, cell)
        if not isinstance(weights, Mapping):
            raise TypeError(f"{where}: expected a mapping of names to arrays, got {check.describe(weights)}.")
        shapes = _shapes_of_weights(self, cell)
        keys = self._keys(where, cell, shapes, weights)
        arrays = {name: _array(where, key, weights[key]) for name, key in keys.items()}
        size = _input_size(shapes, arrays)
        for name, array in arrays.items():
            _check_shape(where, keys[name], shapes[name], size, array)
        dtype = next(iter(arrays.values())).dtype
        zeros = {name: np.zeros(shapes[name].base, dtype) for name in shapes.keys() - keys.keys()}
        return self.read(cell, {**arrays, **zeros}.__getitem__)

    def to_weights(self, cell: Any, params: Params) -> Weights:
        """Plain arrays that are nobody else's (tracers stay tracers), under the names of `write`."""
        cell = self._checked(f"to_{self.name}", cell)
        if isinstance(cell, tuple):
            check.pair(params, "params")
        for one, its_params in zip(cell, params, strict=True) if isinstance(cell, tuple) else [(cell, params)]:
            check.param_tree(one, its_params, _input_size(_shapes_of_params(one), _by_path(its_params)) or 1)
        weights = self.write(cell, params)
        return {name: a if isinstance(a, jax.core.Tracer) else np.array(a, order="C") for name, a in weights.items()}

    # ----

    def _checked(self, where: str, cell: Any) -> Any:
        """The cell, a pair of cells as a tuple."""
        cell = tuple(cell) if isinstance(cell, list) else cell
        if isinstance(cell, tuple):
            check.pair(cell, f"{where}: cell")
        for one in cell if isinstance(cell, tuple) else [cell]:
            check.is_cell(one, where)
            self.find(one)
        return cell

    def _keys(self, where: str, cell: Any, names: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, str]:
        """Name of `write` -> key of `weights`."""
        spelled = {self.spell(key): key for key in weights}
        scope = self._scope(where, names, spelled)
        keys = {name.removeprefix(scope): key for name, key in spelled.items()}
        missing = sorted(names.keys() - keys.keys())
        if all(name in missing for name in names if self._is_optional(name)):
            missing = [name for name in missing if not self._is_optional(name)]
        extra = sorted(keys[name] for name in keys.keys() - names.keys())
        if missing or extra:
            lacks = f" Missing: {_quoted(missing)}." if missing else ""
            has = f" Left over: {_quoted(extra)}." if extra else ""
            raise ValueError(
                f"{where}: the names are not those of {check.name_of(cell)}.{lacks}{has} Pass all of this cell's weights and "
                "nothing else, and see that the cell is built like the one they come from."
            )
        return keys

    def _scope(self, where: str, names: Mapping[str, Any], spelled: Mapping[str, str]) -> str:
        """What stands in front of the known names."""
        scopes = {}
        for name in spelled:
            known = [tail for tail in names if (self.separator + name).endswith(self.separator + tail)]
            if known:
                scopes[name.removesuffix(max(known, key=len))] = None
        if len(scopes) > 1:
            raise ValueError(
                f"{where}: expected the weights of one cell, got weights under {_quoted(scopes)}. Choose by name: "
                f"{{k: v for k, v in weights.items() if k.startswith({next(iter(scopes))!r})}}."
            )
        return next(iter(scopes), "")

    def _is_optional(self, name: str) -> bool:
        return self.optional is not None and name.startswith(self.optional)


# ---- tools for layouts, on numpy arrays and on JAX's, tracers too


def join(parts: Sequence[Any], axis: int = -1) -> Any:
    """The parts, one after the other along an axis."""
    return _numpy_of(*parts).concatenate(parts, axis)


def split(array: Any, count: int, axis: int = -1) -> list[Any]:
    """`count` equal parts along an axis."""
    return _numpy_of(array).split(array, count, axis)


def zeros_like(array: Any) -> Any:
    return _numpy_of(array).zeros_like(array)


def reorder(array: Any, have: str, want: str, axis: int = -1) -> Any:
    """The gates' blocks in another order, one letter a gate: `reorder(kernel, "ijfo", "ifjo")`."""
    blocks = dict(zip(have, split(array, len(have), axis), strict=True))
    return join([blocks[gate] for gate in want], axis)


def inside(scope: str, take: Take) -> Take:
    """`take` for the names under `scope`."""
    return lambda name: take(scope + name)


def under(scope: str, weights: Weights) -> Weights:
    """`weights`, with `scope` in front of the names."""
    return {scope + name: array for name, array in weights.items()}


def _numpy_of(*arrays: Any) -> Any:
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


# ---- shapes, whose only unknown is the input size D


class _Shape(NamedTuple):
    """A shape as a function of D."""

    base: tuple[int, ...]  # for D = 0
    slope: tuple[int, ...]  # 1 for an axis that grows with D, else 0

    def at(self, size: int | None) -> tuple[int, ...] | None:
        """The shape for inputs of that size; None if it depends on a size that is not known."""
        if size is None and any(self.slope):
            return None
        return tuple(b + s * (size or 0) for b, s in zip(self.base, self.slope, strict=True))

    def size(self, shape: tuple[int, ...]) -> int | None:
        """The D of a given shape, if there is one."""
        if len(shape) != len(self.base) or not any(self.slope):
            return None
        axis = self.slope.index(1)
        size = shape[axis] - self.base[axis]
        return size if size > 0 and self.at(size) == shape else None

    def __str__(self) -> str:
        axes = [("D + " if s and b else "D" if s else "") + (f"{b}" if b or not s else "") for b, s in zip(*self, strict=True)]
        return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


@functools.lru_cache(maxsize=256)
def _shapes_of_weights(framework: Framework, cell: Any) -> dict[str, _Shape]:
    return _shapes(lambda size: framework.write(cell, _init(cell, size)))


@functools.lru_cache(maxsize=256)
def _shapes_of_params(cell: Any) -> dict[str, _Shape]:
    return _shapes(lambda size: _by_path(_init(cell, size)))


def _shapes(make: Callable[[int], Weights]) -> dict[str, _Shape]:
    one, two = (jax.eval_shape(functools.partial(make, size)) for size in (1, 2))
    pairs = {name: list(zip(one[name].shape, two[name].shape, strict=True)) for name in one}
    return {name: _Shape(tuple(2 * a - b for a, b in pair), tuple(b - a for a, b in pair)) for name, pair in pairs.items()}


def _init(cell: Any, input_size: int) -> Params:
    if isinstance(cell, tuple):
        return tuple(_init(one, input_size) for one in cell)
    return cell.init(jax.random.key(0), input_size)


def _by_path(params: Params) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _input_size(shapes: Mapping[str, _Shape], arrays: Mapping[str, Any]) -> int | None:
    """The D of the first array that tells it."""
    sizes = (shapes[name].size(np.shape(arrays[name])) for name in shapes if name in arrays)
    return next((size for size in sizes if size), None)


def _check_shape(where: str, key: str, shape: _Shape, size: int | None, array: Any) -> None:
    want = shape.at(size)
    if array.shape != want:
        for_size = f" for inputs of size {size}" if size and any(shape.slope) else ""
        raise ValueError(
            f"{where}: expected {key!r} of shape {want or shape}{for_size}, got shape {array.shape}. Are these the weights of "
            "another cell, or of one with other sizes?"
        )


# ---- what a caller passed


def _array(where: str, key: str, value: Any) -> Any:
    """A floating array that nobody else writes to: numpy's, or JAX's as it is."""
    if not isinstance(value, jax.Array):
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        value = np.array(value)
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(f"{where}: expected {key!r} to be a floating array, got {check.describe(value)}. Pass its values.")
    return value


def _quoted(names: Any) -> str:
    return ", ".join(map(repr, names))


def _show(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)
