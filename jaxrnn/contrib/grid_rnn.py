"""Grids of recurrent cells: the cell of `tf.contrib.grid_rnn`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, split
from jaxrnn.cells.lstm import LSTMCell


@dataclasses.dataclass(frozen=True)
class GridRNNCell(RNNCell):
    """A grid of recurrent cells (Kalchbrenner et al., 2015, arXiv:1507.01526v3, sections 3.2 to 3.4); TF1's
    `tf.contrib.grid_rnn.GridRNNCell`.

    Each of n = num_dims dimensions d has a hidden vector m_d and, if its cell is an LSTM, a memory c_d. In every step:

        m_d, c_d = x_d P_d, x_d Q_d              for d in input_dims; x_d are equal parts of the inputs
        for group in (other dimensions, priority_dims):
            a, b = [m_0; ...; m_{n-2}], m_{n-1}                    for the whole group at once
            m_d', c_d' = cell_d(a, (c_d, b))                       for d in the group; cell_d(a, b) if it has no memory
            m_d' = fn([a; b] W_d + b_d)                            for d in non_recurrent_dims
            m_d = m_d'                                             for d in the group
        output = m_d' for d in output_dims

    As in TF1 the inputs replace the state of their dimension: it is put out and never read. So a grid recurs through the
    dimensions that are no input_dims alone, and one of a single input dimension is not recurrent at all. Each cell's hidden
    state is that of the last dimension.

    Attributes:
      num_units: H.
      num_dims: n.
      input_dims, output_dims, priority_dims, non_recurrent_dims: dimensions from 0, an int or a list; None is none. A
        non-recurrent dimension has no state, so it must be an input dimension.
      tied: whether the recurrent dimensions share their weights, and the non-recurrent ones theirs.
      cell_fn: `num_units -> cell`, a jaxrnn cell in four functions whose state is h or (c, h), each `[B, H]`, and which draws
        nothing; None is `LSTMCell`. TF1's GRUCell is `functools.partial(jaxrnn.GRUCell, reset_after=False)`.
      non_recurrent_fn: fn, elementwise; None is `jax.nn.relu`.
      output_is_tuple: whether the outputs are a tuple, or joined along their last axis.

    Params: `project_m_{d}` P_d, `project_c_{d}` Q_d `[D / inputs, H]` (Glorot uniform; Q_d of LSTMs alone); `cell_{d}`: the
    params of that dimension's cell for inputs `[B, (n-1) H]`, or of a non-recurrent one `{"kernel": W_d [n H, H] (Glorot
    uniform), "bias": b_d [H] (zeros)}`. If tied, `recurrent` and `non_recurrent` in place of all `cell_{d}`.
    State: a tuple of the states of the recurrent dimensions. Output: a tuple of arrays `[B, H]`, or `[B, outputs H]`.

    Raises:
      TypeError: if cell_fn makes no such cell.
      ValueError: if a size is below 1, a dimension is not in the grid, there is no output dimension, or a non-recurrent
        dimension is no input dimension; in `init` and when run, if D cannot be cut into as many parts as there are input
        dimensions.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.GridRNNCell(num_units=5, num_dims=2, input_dims=0, output_dims=[0, 1], priority_dims=0)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> (first, second), state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> first.shape, state[1].c.shape
      ((4, 5), (4, 5))
    """

    num_units: int
    num_dims: int = 1
    input_dims: Any = None
    output_dims: Any = None
    priority_dims: Any = None
    non_recurrent_dims: Any = None
    tied: bool = False
    cell_fn: Callable | None = None
    non_recurrent_fn: Callable | None = None
    output_is_tuple: bool = True

    only_products = False  # of z: LayerNormWrapper is not for it

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_dims=self.num_dims)
        check.flags(self, tied=self.tied, output_is_tuple=self.output_is_tuple)
        check.functions(self, cell_fn=self.cell_fn, non_recurrent_fn=self.non_recurrent_fn)
        check.grid_dims(self)
        check.cell_of_grid(self, self.cell)

    @functools.cached_property
    def cell(self) -> Any:
        """The cell of a recurrent dimension."""
        return (self.cell_fn or LSTMCell)(self.num_units)

    @property
    def recurrent_dims(self) -> tuple[int, ...]:
        """The dimensions that have a state."""
        return tuple(d for d in range(self.num_dims) if d not in self.non_recurrent_dims)

    @property
    def memory_dims(self) -> tuple[int, ...]:
        """The input dimensions that have a memory c."""
        has_memory = len(jax.tree.leaves(self.cell.state_size)) == 2
        return tuple(d for d in self.input_dims if has_memory and d in self.recurrent_dims)

    def part(self, d: int) -> str:
        """The name of a dimension's params."""
        return f"cell_{d}" if not self.tied else "recurrent" if d in self.recurrent_dims else "non_recurrent"

    @property
    def input_multiple(self) -> int:
        """What D is a multiple of."""
        return len(self.input_dims) or 1

    @property
    def state_size(self) -> tuple:
        return (self.cell.state_size,) * len(self.recurrent_dims)

    @property
    def output_size(self) -> Any:
        count = len(self.output_dims)
        return (self.num_units,) * count if self.output_is_tuple else self.num_units * count

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        h, n, size = self.num_units, self.num_dims, check.part_of_inputs(self, input_size)
        keys, params = split(key, 3 * n), {}
        for d in self.input_dims:
            params[f"project_m_{d}"] = glorot(keys[d], (size, h), dtype)
        for d in self.memory_dims:
            params[f"project_c_{d}"] = glorot(keys[n + d], (size, h), dtype)
        for d in range(n):
            if d in self.recurrent_dims:
                params[self.part(d)] = self.cell.init(keys[2 * n + d], (n - 1) * h, dtype)
            else:
                params[self.part(d)] = {"kernel": glorot(keys[2 * n + d], (n * h, h), dtype), "bias": jnp.zeros(h, dtype)}
        return params

    def check_inputs(self, inputs):
        size = check.features(self, inputs)
        check.part_of_inputs(self, size)
        return size

    # ---- the four functions

    def project(self, params, inputs):
        parts = jnp.split(inputs, len(self.input_dims), -1) if self.input_dims else []
        parts = dict(zip(self.input_dims, parts, strict=True))
        m = {d: parts[d] @ params[f"project_m_{d}"] for d in self.input_dims}
        c = {d: parts[d] @ params[f"project_c_{d}"] for d in self.memory_dims}
        a = self._below(m, inputs[:, :0]) if self._reading_inputs_alone else None
        return m, c, {d: self.cell.project(params[self.part(d)], a) for d in self._reading_inputs_alone}

    def recur(self, params, state):
        m, c = self._of_state(state)
        own = {d: self._own(c, d, m[self.num_dims - 1]) for d in self._reading_state_alone}
        return {d: self.cell.recur(params[self.part(d)], own[d]) for d in own}

    def gates(self, params, z, r, state):
        m, c, z = z

        def gates_of(d, a, own):
            p = params[self.part(d)]
            if d in self.non_recurrent_dims:
                y = jnp.concatenate([a(), own], -1) @ p["kernel"]
                return (self.non_recurrent_fn or jax.nn.relu)(y + jnp.broadcast_to(p["bias"], y.shape))
            from_a = z[d] if d in z else self.cell.project(p, a())
            return self.cell.gates(p, from_a, r[d] if d in r else self.cell.recur(p, own), own)

        gates, _, _ = self._propagate(params, m, c, state, gates_of)
        # `combine` reads the last dimension alone of those that come from the inputs.
        return {d: m[d] for d in m if d == self.num_dims - 1}, c, gates

    def combine(self, params, g, state):
        m, c, gates = g
        _, outputs, states = self._propagate(params, m, c, state, lambda d, *_: gates[d])
        outputs = tuple(outputs[d] for d in self.output_dims)
        states = tuple(states[d] for d in self.recurrent_dims)
        return outputs if self.output_is_tuple else jnp.concatenate(outputs, -1), states

    def _propagate(self, params, m, c, state, gates_of):
        """`(gates, new m, new state)` of all dimensions, from the m and c that come from the inputs.

        `gates_of(d, a, own)` gives those of one dimension, from a function that makes a, and from the state that its cell is
        called with (b, where there is no cell).
        """
        of_state, memory = self._of_state(state)
        m, c = of_state | m, memory | c
        gates, outputs, states = {}, {}, {}
        for group in self._groups:
            now, b = dict(m), m[self.num_dims - 1]
            for d in group:
                own = self._own(c, d, b)
                gates[d] = gates_of(d, functools.partial(self._below, now, b[:, :0]), own)
                outputs[d] = gates[d]
                if d in self.recurrent_dims:
                    outputs[d], states[d] = self.cell.combine(params[self.part(d)], gates[d], own)
            m.update(outputs)
        return gates, outputs, states

    def _of_state(self, state):
        """m and c of the dimensions that have them."""
        leaves = [jax.tree.leaves(part) for part in state]
        m = {d: part[-1] for d, part in zip(self.recurrent_dims, leaves, strict=True)}
        return m, {d: part[0] for d, part in zip(self.recurrent_dims, leaves, strict=True) if len(part) == 2}

    def _own(self, c, d, b):
        """The state that a dimension's cell is called with; b where there is no cell."""
        if d in self.non_recurrent_dims:
            return b
        return jax.tree.unflatten(jax.tree.structure(self.cell.state_size), [c[d], b] if d in c else [b])

    def _below(self, m, empty):
        """a: m of all dimensions but the last."""
        return jnp.concatenate([empty, *(m[d] for d in range(self.num_dims - 1))], -1)

    @property
    def _groups(self):
        first = tuple(d for d in range(self.num_dims) if d not in self.priority_dims)
        return [group for group in (first, self.priority_dims) if group]

    @property
    def _reading_inputs_alone(self) -> list[int]:
        """The cells whose a comes from the inputs alone: a large product over all steps."""
        known, dims = set(self.input_dims), []
        for group in self._groups:
            dims += [d for d in group if d in self.recurrent_dims and known >= set(range(self.num_dims - 1))]
            known -= set(group)
        return dims

    @property
    def _reading_state_alone(self) -> list[int]:
        """The cells whose state is the last step's."""
        carried = set(self.recurrent_dims) - set(self.input_dims)
        return [d for d in self._groups[0] if d in carried and self.num_dims - 1 in carried]
