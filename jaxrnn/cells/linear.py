"""What a linear cell is."""

from __future__ import annotations

from typing import Any

from jaxrnn.cell import RNNCell
from jaxrnn.engine.recurrence import advanced
from jaxrnn.typing import Outputs, Params, State, Tree


class LinearCell(RNNCell):
    """A cell whose new state is linear in the old one, elementwise: its steps can be run all at once.

        z = project(x)
        a, b = coefficients(z)
        s' = a s + b                    elementwise
        output = readout(z, s')

    Write one as a frozen dataclass with hyperparameters as fields and these members:

    - `state_size`, `output_size`, `init(key, input_size, dtype)` and `project(params, inputs)`, as in `jaxrnn.RNNCell`;
    - `coefficients(params, z)`: `(a, b)`, each a pytree like the state;
    - `readout(params, z, state)`: the output, from the new state; without it the state is the output. It is called at
      every step, so a product with weights belongs behind the cell (`jaxrnn.OutputProjectionWrapper`).

    A part of the state can be complex: a `jaxrnn.linear.Complex(re, im)` of two arrays, in a and b too.

    Such a cell is one in four functions as well. It runs in every runner, memory mode and wrapper. A CPU runs the steps in
    turn, which is fastest there. A GPU or TPU joins them, block after block (`jaxrnn.linear.engine` chooses otherwise).

    Example: an exponential moving average, whose rate depends on the input.

      >>> import dataclasses, jax, jax.numpy as jnp, jaxrnn
      >>> @dataclasses.dataclass(frozen=True)
      ... class AverageCell(jaxrnn.LinearCell):
      ...     num_units: int
      ...     state_size = output_size = property(lambda self: self.num_units)
      ...     def init(self, key, input_size, dtype=jnp.float32):
      ...         make = jax.nn.initializers.glorot_uniform()
      ...         return {"kernel": make(key, (input_size, 2 * self.num_units), dtype)}
      ...     def project(self, params, inputs): return inputs @ params["kernel"]
      ...     def coefficients(self, params, z):
      ...         rate, x = jnp.split(z, 2, axis=1)
      ...         rate = jaxrnn.sigmoid(rate)
      ...         return 1 - rate, rate * x
      >>> cell = AverageCell(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jnp.ones((2, 5, 3)))
      >>> outputs.shape, state.shape
      ((2, 5, 4), (2, 4))
    """

    def coefficients(self, params: Params, z: Tree) -> tuple[Any, Any]:
        """`(a, b)`, like the state `[B, ...]`."""
        raise NotImplementedError

    def readout(self, params: Params, z: Tree, state: State) -> Outputs:
        """The output `[B, ...]`."""
        return state

    # ---- the four functions

    def recur(self, params, state):
        return ()

    def gates(self, params, z, r, state):
        return *self.coefficients(params, z), z

    def combine(self, params, g, state):
        a, b, z = g
        state = advanced(a, b, state)
        return self.readout(params, z, state), state
