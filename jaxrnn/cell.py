"""What a cell is.

Axis letters, here and in every docstring: B batch, T time, K steps of a chunk, D input size, H number of units,
P size of a projected state.

A cell is a pure function, in TF1's order of arguments and results:

    output, new_state = cell(params, inputs, state)

Any such function will do for the runners. A cell of this package is a frozen dataclass of hyperparameters; equal
hyperparameters make equal cells, so a cell is a good static argument of `jax.jit` (and, as a pytree without leaves, a plain
one).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.engine.chunk import chunk_of_four
from jaxrnn.engine.step import draws, step
from jaxrnn.jit import jit_by_value
from jaxrnn.keys import StepKey, as_step_key
from jaxrnn.typing import Inputs, Params, State, Tree


class RNNCell:
    """A cell in four pure functions; its step, its chunks and every memory mode follow from them.

    Write a new cell as a frozen dataclass with hyperparameters as fields and these members:

    - `state_size`: units of each part of the state, an int or a pytree of ints; `output_size`: units of the output;
    - `init(key, input_size, dtype)`: the params, a dict of arrays;
    - `project(params, inputs)`: z, what depends on the inputs alone;
    - `recur(params, state)`: r, the product of the state with the recurrent weights (plus a bias, if it has one);
    - `gates(params, z, r, state)`: g, the nonlinear part, which is worth keeping for the backward pass;
    - `combine(params, g, state)`: `(output, new_state)`, cheap, for it is run again in the backward pass.

    All four treat each row of the batch alone. Inputs, state and output are pytrees with leaves `[B, ...]`. z, r and g may hold
    weights, constants, integers or nothing beside such leaves, and may share arrays.

    Noise and masks are drawn in `project`, which may have an argument `key=None`: a `jaxrnn.StepKey` in a run with a key, with
    the step's position `key.t` for what follows a schedule, and else None. What is drawn goes to `gates` and `combine` in z and
    g. So it is the same in every runner, in every memory mode and when stepping by hand.

    A class may define `__call__` instead, or override it, as in TF1. Every runner then runs the cell by it, step by step, as a
    plain function: with less speed, and with its states kept in place of its gates.

    Example: a recurrent unit with one update gate ("Minimal Gated Unit" without its reset; Zhou et al., 2016).

      >>> import dataclasses, jax, jax.numpy as jnp, jaxrnn
      >>> @dataclasses.dataclass(frozen=True)
      ... class UpdateCell(jaxrnn.RNNCell):
      ...     num_units: int
      ...     state_size = output_size = property(lambda self: self.num_units)
      ...     def init(self, key, input_size, dtype=jnp.float32):
      ...         k1, k2 = jax.random.split(key)
      ...         make = jax.nn.initializers.glorot_uniform()
      ...         return {"kernel": make(k1, (input_size, 2 * self.num_units), dtype),
      ...                 "recurrent_kernel": make(k2, (self.num_units, 2 * self.num_units), dtype)}
      ...     def project(self, params, inputs): return inputs @ params["kernel"]
      ...     def recur(self, params, state): return state @ params["recurrent_kernel"]
      ...     def gates(self, params, z, r, state):
      ...         return jaxrnn.activate(z + r, jaxrnn.sigmoid, jaxrnn.tanh)
      ...     def combine(self, params, g, state):
      ...         u, n = g
      ...         h = u * state + (1 - u) * n
      ...         return h, h
      >>> cell = UpdateCell(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jnp.ones((2, 5, 3)))
      >>> outputs.shape, state.shape
      ((2, 5, 4), (2, 4))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_static(cls)

    state_size: Any
    output_size: Any

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> Params:
        """Params for inputs `[B, input_size]`."""
        raise NotImplementedError

    def project(self, params: Params, inputs: Inputs) -> Any:
        raise NotImplementedError

    def recur(self, params: Params, state: State) -> Any:
        raise NotImplementedError

    def gates(self, params: Params, z: Tree, r: Tree, state: State) -> Any:
        raise NotImplementedError

    def combine(self, params: Params, g: Tree, state: State) -> tuple[Any, State]:
        raise NotImplementedError

    # ---- what follows from the above

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> State:
        """Zeros, leaves `[batch_size, size]`; TF1's `zero_state`."""
        check.batch_size(batch_size)
        return jax.tree.map(lambda size: jnp.zeros((batch_size, size), dtype), self.state_size)

    def __call__(self, params: Params, inputs: Inputs, state: State, *, key: StepKey | jax.Array | None = None):
        """One step.

        Args:
          params: what `init` returns.
          inputs: `[B, D]`.
          state: what `initial_state` or the last step returned, leaves `[B, ...]`; plain tuples and lists will do.
          key: a PRNG key or `jaxrnn.step_key(key, t)`; only cells that draw something look at it.

        Returns:
          `(output, new_state)`.

        Raises:
          TypeError, ValueError: if params, inputs or state are not this cell's.
        """
        state = check.step(self, params, inputs, state, key)
        run = jit_by_value(step, self, static=("cell",))
        return run(params, inputs, state, as_step_key(key) if draws(self) else None, cell=self)

    chunk = chunk_of_four

    def check_inputs(self, inputs: Inputs) -> Any:
        """The input size that `inputs` of one step have; an error if they are not what this cell reads, floating `[B, D]`.
        Override it in a cell in four functions that reads anything else."""
        return check.features(self, inputs)
