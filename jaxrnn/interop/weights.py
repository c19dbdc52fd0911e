"""What the weights of every framework go through on their way in and out.

A framework is a table of layouts, one for each type of cell that it has; a layout is two functions, each the other's
inverse. `Framework` does the rest for all of them alike. The names and shapes that a framework has for a cell are what
`write` makes of the params of `cell.init`, so no layout states them or checks them.

To add a framework, write one file like `torch.py`: the layouts, a `Framework`, and the two public functions. Weights that
are nested there are flattened to names first.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxrnn import check
from jaxrnn.activation import tanh
from jaxrnn.cell import Params
from jaxrnn.cells.dropout import DropoutWrapper
from jaxrnn.cells.wrappers import ResidualWrapper
from jaxrnn.cells.zoneout import ZoneoutWrapper
from jaxrnn.interop.arrays import Take, Weights
from jaxrnn.interop.shapes import Shape, input_size, shapes_of

# What a framework's cells often have no other values of: see `Layout.only`.
TANH = (None, tanh, jnp.tanh, lax.tanh)
NO_EXTRAS = {"use_peepholes": (False,), "cell_clip": (None,), "proj_clip": (None,)}
UNPROJECTED = {**NO_EXTRAS, "num_proj": (None,)}

_WITHOUT_PARAMS = (DropoutWrapper, ResidualWrapper, ZoneoutWrapper)


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
      layouts: type of cell -> Layout; `tuple` is a pair of cells, one for each direction. The wrappers that have no params
        in any framework need none.
      separator: what stands between a scope and a name.
      spell: a given name -> as `write` spells it.
      optional: which names may be missing, all together, and are zeros then.
    """

    name: str
    layouts: Mapping[type, Layout]
    separator: str
    spell: Callable[[str], str] = str
    optional: Callable[[str], bool] = lambda name: False

    # ---- what a layout calls for the cells inside its own

    def read(self, cell: Any, take: Take) -> Params:
        """Params of a cell from its arrays."""
        cell, layout = self.find(cell)
        return layout.read(cell, take)

    def write(self, cell: Any, params: Params) -> Weights:
        """Arrays of a cell by their names, from its params."""
        cell, layout = self.find(cell)
        return layout.write(cell, params)

    def find(self, cell: Any) -> tuple[Any, Layout]:
        """The cell that has the params, inside the wrappers that have none, and its layout."""
        while type(cell) in _WITHOUT_PARAMS:
            cell = cell.cell
        layout = self.layouts.get(type(cell))
        if layout is None:
            known = ", ".join(kind.__name__ for kind in self.layouts if kind is not tuple)
            raise TypeError(
                f"{self.name}: expected a cell that the framework has too ({known}; DropoutWrapper, ResidualWrapper "
                f"and ZoneoutWrapper around them), got {check.name_of(cell)}. Convert its parts by themselves."
            )
        for field, values in layout.only.items():
            value = getattr(cell, field)
            if value not in values:
                raise ValueError(
                    f"{self.name}: expected a {type(cell).__name__} with {field}={_show(values[0])}, got {field}="
                    f"{_show(value)}, which the framework does not have. Use {field}={_show(values[0])}."
                )
        return cell, layout

    # ---- what the public functions call

    def from_weights(self, cell: Any, weights: Mapping[str, Any]) -> Params:
        """Params from `weights`, which must be this cell's: all of them and no others, under one scope or none."""
        where = f"from_{self.name}"
        cell = self._checked(where, cell)
        if not isinstance(weights, Mapping):
            raise TypeError(f"{where}: expected a mapping of names to arrays, got {check.describe(weights)}.")
        shapes = _weight_shapes(self, cell)
        keys = self.keys(where, cell, weights)
        arrays = {name: _array(where, key, weights[key]) for name, key in keys.items()}
        size = input_size(shapes, arrays)
        for name, array in arrays.items():
            _check_shape(where, keys[name], shapes[name], size, array)
        dtype = next(iter(arrays.values())).dtype
        zeros = {name: np.zeros(shapes[name].base, dtype) for name in shapes.keys() - keys.keys()}
        return self.read(cell, {**arrays, **zeros}.__getitem__)

    def to_weights(self, cell: Any, params: Params) -> Weights:
        """Numpy arrays of their own (but tracers stay tracers), under the names of `write`."""
        cell = self._checked(f"to_{self.name}", cell)
        if isinstance(cell, tuple):
            check.pair(params, "params")
        for one, its_params in zip(cell, params, strict=True) if isinstance(cell, tuple) else [(cell, params)]:
            check.param_tree(one, its_params, input_size(_param_shapes(one), _by_path(its_params)) or _input_multiple(one))
        return _own(self.write(cell, jax.tree.map(_off_device, params)))

    def names(self, where: str, cell: Any) -> list[str]:
        """The names of a cell's arrays, in the order of `write`."""
        return list(_weight_shapes(self, self._checked(where, cell)))

    def _checked(self, where: str, cell: Any) -> Any:
        """The cell; a pair of cells as a tuple."""
        cell = tuple(cell) if isinstance(cell, list) else cell
        if isinstance(cell, tuple):
            check.pair(cell, f"{where}: cell")
        for one in cell if isinstance(cell, tuple) else [cell]:
            check.is_cell(one, where)
            self.find(one)
        _weight_shapes(self, cell)  # finds the cells inside
        return cell

    # ---- names

    def keys(self, where: str, cell: Any, weights: Mapping[str, Any]) -> dict[str, str]:
        """Name of `write` -> key of `weights`, for those that are there; an error if others are, or if they must be there."""
        names = _weight_shapes(self, cell)
        spelled = {self.spell(key): key for key in weights}
        scope = self._scope(where, names, spelled)
        elsewhere = outside(names, self.separator)
        full = {name: _found(elsewhere[name], spelled, self.separator) if name in elsewhere else scope + name for name in names}
        keys = {name: spelled[full[name]] for name in names if full[name] in spelled}
        extra = [key for key in weights if key not in keys.values()]
        missing = [name for name in names if name not in keys]
        optional = [name for name in names if self.optional(name)]
        if set(optional) <= set(missing):
            missing = [name for name in missing if name not in optional]
        if missing or extra:
            lacks = f" Missing: {_quoted(missing)}." if missing else ""
            has = f" Left over: {_quoted(extra)}." if extra else ""
            raise ValueError(
                f"{where}: the names are not those of {check.name_of(cell)}.{lacks}{has} Pass all of this cell's weights and "
                "nothing else, and see that the cell is built like the one they come from."
            )
        return keys

    def _scope(self, where: str, names: Mapping[str, Any], spelled: Mapping[str, str]) -> str:
        """What stands in front of the names."""
        scopes = {}
        for name in spelled:
            ends = [end for end in names if (self.separator + name).endswith(self.separator + end)]
            if ends:
                scopes[name.removesuffix(max(ends, key=len))] = None
        if len(scopes) > 1:
            raise ValueError(
                f"{where}: expected the weights of one cell, got weights under {_quoted(scopes)}. Choose by the name's "
                "beginning: {k: v for k, v in weights.items() if k.startswith(...)}."
            )
        return next(iter(scopes), "")


def outside(names: Iterable[str], separator: str) -> dict[str, str]:
    """Of those names that have two separators what follows them: it is in no cell's scope, and numbered over all cells."""
    counts, found = Counter(), {}
    for name in names:
        _, two, scoped = name.rpartition(2 * separator)
        if two:
            scope, _, rest = scoped.partition(separator)
            scope = re.sub(r"_\d+$", "", scope)
            found[name] = f"{scope}_{counts[scope]}{separator}{rest}" if counts[scope] else f"{scope}{separator}{rest}"
            counts[scope] += 1
    return found


def _found(name: str, spelled: Iterable[str], separator: str) -> str:
    """The given name that ends with this one."""
    return next((given for given in spelled if (separator + given).endswith(separator + name)), name)


# ---- shapes


@functools.lru_cache(maxsize=256)
def _weight_shapes(framework: Framework, cell: Any) -> dict[str, Shape]:
    return shapes_of(lambda size: framework.write(cell, _init(cell, size)), _input_multiple(cell))


@functools.lru_cache(maxsize=256)
def _param_shapes(cell: Any) -> dict[str, Shape]:
    return shapes_of(lambda size: _by_path(_init(cell, size)), _input_multiple(cell))


def _init(cell: Any, size: int) -> Params:
    return tuple(_init(one, size) for one in cell) if isinstance(cell, tuple) else cell.init(jax.random.key(0), size)


def _input_multiple(cell: Any) -> int:
    """What the input size of a cell, or of the pair of cells, is a multiple of, whichever cell inside reads the inputs."""
    inner = cell if isinstance(cell, tuple) else getattr(cell, "inner_cells", ())
    return math.lcm(getattr(cell, "input_multiple", 1), *map(_input_multiple, inner))


def _by_path(params: Params) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _check_shape(where: str, key: str, shape: Shape, size: int | None, array: Any) -> None:
    want = shape.at(size)
    if array.shape != want:
        for_size = f" for inputs of size {size}" if size and any(shape.slope) else ""
        raise ValueError(
            f"{where}: expected {key!r} of shape {want or shape}{for_size}, got shape {array.shape}. Are these the weights of "
            "another cell, or of one with other sizes?"
        )


# ---- arrays


def _array(where: str, key: str, value: Any) -> Any:
    """A floating array: JAX's as it is, any other as a copy, since its owner may go on to train it."""
    if not isinstance(value, jax.Array):
        try:
            value = np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
        except TypeError as error:
            raise TypeError(
                f"{where}: expected {key!r} to be an array that numpy can hold, got {check.describe(value)}. Convert it, a "
                "torch tensor in bfloat16 with .float()."
            ) from error
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(
            f"{where}: expected {key!r} to be a floating array, got {check.describe(value)}. Pass the values of weights."
        )
    return value


def _off_device(array: Any) -> Any:
    return array if isinstance(array, Tracer) else np.asarray(array)


def _own(weights: Weights) -> Weights:
    # What torch.from_numpy gets should be contiguous, writable and nobody else's.
    return {name: a if isinstance(a, Tracer) else np.array(a, order="C") for name, a in weights.items()}


def _quoted(names: Any) -> str:
    return ", ".join(map(repr, names))


def _show(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)
