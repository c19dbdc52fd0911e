"""Cells around a cell: residual connections, projections, embeddings.

A wrapper's chunk is the inner cell's chunk between two functions that are parallel over time, so the inner cell stays as
fast, and as small in memory, as it is alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, split
from jaxrnn.cells.inner import output_size, part
from jaxrnn.engine.chunk import run_chunk
from jaxrnn.engine.masking import Steps
from jaxrnn.keys import StepKey, as_step_key, call_cell, fold_step
from jaxrnn.memory.modes import OUTPUTS, named_for_gradients
from jaxrnn.typing import Inputs, Outputs, Params, State

inner_output_size: Any = property(lambda self: self.cell.output_size)


class Wrapper(RNNCell):
    """A cell with `before` and `after`: a subclass is a frozen dataclass with a field `cell` and overrides what it changes.
    It says its `output_size`, which is `inner_output_size` if it leaves that alone.

    Its params are the inner cell's, or `{"cell": the inner cell's, ...}` if it has params of its own.
    """

    cell: Any
    has_params = False

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)

    def before(self, params: Params, inputs: Inputs, key: StepKey | None) -> Any:
        """The inner cell's inputs."""
        return inputs

    def after(self, params: Params, inputs: Inputs, outputs: Outputs, key: StepKey | None) -> Any:
        """The outputs, from the inner cell's."""
        return outputs

    def drop(self, state: State, key: StepKey) -> Any | None:
        """Factors for the inner cell's new state, which looks like `state`; None for no change. Called if there is a key."""
        return None

    @property
    def inner_cells(self) -> tuple:
        return (self.cell,)

    @property
    def state_size(self) -> Any:
        return self.cell.state_size

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> Any:
        return self.cell.init(key, input_size, dtype)

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> Any:
        return self.cell.initial_state(batch_size, dtype)

    def check_inputs(self, inputs):
        return check.input_size(self.cell, inputs)

    def __call__(self, params, inputs, state, *, key=None):
        state = check.step(self, params, inputs, state, key)
        key = as_step_key(key)
        inner = self.before(params, inputs, key)
        outputs, new = call_cell(self.cell, self._inner(params), inner, state, fold_step(key, 0))
        outputs = self.after(params, inputs, outputs, key)
        return outputs, Steps(drop=None if key is None else self.drop(state, key)).dropped(new)

    def chunk(self, params, xs, state, steps):
        fill = steps.fill or (lambda tree: tree)
        inner = xs
        if self._overrides("before"):
            inner = _over_time(lambda x, key: self.before(params, x, key), steps)(fill(xs))
        drop = None if steps.key is None else _over_time(lambda key: self.drop(state, key), steps)()
        inner_steps = steps.fold_in(0).also_drop(drop)
        outputs, state = run_chunk(self.cell, self._inner(params), inner, state, inner_steps)
        # What follows may need them in the backward pass: keep them rather than run the inner cell again.
        outputs = named_for_gradients(outputs, OUTPUTS)
        if self._overrides("after"):
            outputs = _over_time(lambda x, y, key: self.after(params, x, y, key), steps)(fill(xs), fill(outputs))
        return outputs, state

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Wrapper, name)

    def _inner(self, params: Params) -> Any:
        return part(params, "cell") if self.has_params else params


def _over_time(f: Callable, steps: Steps) -> Callable:
    """`f(..., key)` for all steps of a chunk at once."""
    if steps.key is None:
        return lambda *args: jax.vmap(lambda args: f(*args, None))(args)
    run, *each = steps.key
    return lambda *args: jax.vmap(lambda args, each: f(*args, StepKey(run, *each)))(args, each)


@dataclasses.dataclass(frozen=True)
class ResidualWrapper(Wrapper):
    """Adds a cell's inputs to its outputs (Wu et al., 2016); TF1's `ResidualWrapper`.

    Attributes:
      cell: the inner cell, here as in every wrapper any object with `init(key, input_size, dtype)` and
        `initial_state(batch_size, dtype)` that can be called as a cell.
      residual_fn: `(inputs, outputs) -> outputs` instead of the sum, both `[B, ...]`.

    Params and state: the inner cell's. Output: inputs + the inner cell's output, `[B, H]` with H = D. With a residual_fn
    output_size is None: nobody knows it, and what reads it traces a step.

    Raises:
      ValueError: when run without a residual_fn, if the inputs are not of the outputs' structure and shape.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ResidualWrapper(jaxrnn.GRUCell(3))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 3)
    """

    cell: Any
    residual_fn: Callable | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.functions(self, residual_fn=self.residual_fn)

    @property
    def output_size(self) -> Any:
        return None if self.residual_fn else self.cell.output_size

    def after(self, params, inputs, outputs, key):
        if self.residual_fn:
            return self.residual_fn(inputs, outputs)
        check.same_shapes(self, inputs, outputs, "Make the sizes equal or give a residual_fn(inputs, outputs).")
        return jax.tree.map(jnp.add, inputs, outputs)


@dataclasses.dataclass(frozen=True)
class InputProjectionWrapper(Wrapper):
    """A linear layer below a cell, `act(x W + b)`; TF1's `tf.contrib.rnn.InputProjectionWrapper`.

    Attributes:
      cell: the inner cell.
      num_proj: P, what it reads.
      activation: act, elementwise; None is none.

    Params: `{"cell": the inner cell's, "projection": {"kernel": [D, P] (Glorot uniform), "bias": [P] (zeros)}}`.

    Raises:
      ValueError: if num_proj is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.InputProjectionWrapper(jaxrnn.GRUCell(5), num_proj=2)
      >>> cell.init(jax.random.key(0), input_size=3)["projection"]["kernel"].shape
      (3, 2)
    """

    cell: Any
    num_proj: int
    activation: Callable | None = None
    output_size = inner_output_size
    has_params = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check.at_least_one(self, num_proj=self.num_proj)
        check.functions(self, activation=self.activation)

    def init(self, key, input_size, dtype=jnp.float32):
        k1, k2 = split(key, 2)
        return {
            "cell": self.cell.init(k2, self.num_proj, dtype),
            "projection": init_dense(k1, input_size, self.num_proj, dtype),
        }

    def check_inputs(self, inputs):
        return check.features(self, inputs)

    def before(self, params, inputs, key):
        return dense(params["projection"], inputs, self.activation)


@dataclasses.dataclass(frozen=True)
class OutputProjectionWrapper(Wrapper):
    """A linear layer on top of a cell, `act(h W + b)`; TF1's `tf.contrib.rnn.OutputProjectionWrapper`.

    Attributes:
      cell: the inner cell.
      output_size: P, the size of the output.
      activation: act, elementwise; None is none.

    Params: `{"cell": the inner cell's, "projection": {"kernel": [H, P] (Glorot uniform), "bias": [P] (zeros)}}`.

    Raises:
      ValueError: if output_size is below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.OutputProjectionWrapper(jaxrnn.GRUCell(5), output_size=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.numpy.ones((4, 7, 3)))
      >>> outputs.shape, state.shape
      ((4, 7, 2), (4, 5))
    """

    cell: Any
    output_size: int
    activation: Callable | None = None
    has_params = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check.at_least_one(self, output_size=self.output_size)
        check.functions(self, activation=self.activation)

    def init(self, key, input_size, dtype=jnp.float32):
        k1, k2 = split(key, 2)
        params = self.cell.init(k2, input_size, dtype)
        size = output_size(self.cell, params, input_size, dtype)
        return {"cell": params, "projection": init_dense(k1, size, self.output_size, dtype)}

    def after(self, params, inputs, outputs, key):
        return dense(params["projection"], outputs, self.activation)


@dataclasses.dataclass(frozen=True)
class EmbeddingWrapper(Wrapper):
    """A cell that reads integer ids; TF1's `tf.contrib.rnn.EmbeddingWrapper`.

    Attributes:
      cell: the inner cell.
      embedding_classes: V, the number of ids. An id outside [0, V) reads the nearest row.
      embedding_size: E, what the inner cell reads.

    Params: `{"cell": the inner cell's, "embedding": [V, E] (uniform within sqrt(3), unit variance, as in TF1)}`.
    Inputs: integers, `[B]` or `[B, 1]` a step, `[B, T]` or `[B, T, 1]` a sequence.

    Raises:
      ValueError: if a size is below 1.
      TypeError: when run, if the inputs are not integers.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.EmbeddingWrapper(jaxrnn.GRUCell(5), embedding_classes=10, embedding_size=2)
      >>> params = cell.init(jax.random.key(0))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.numpy.array([[3, 1, 4], [1, 5, 9]]))
      >>> outputs.shape
      (2, 3, 5)
    """

    cell: Any
    embedding_classes: int
    embedding_size: int
    output_size = inner_output_size
    has_params = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check.at_least_one(self, embedding_classes=self.embedding_classes, embedding_size=self.embedding_size)

    def init(self, key: jax.Array, input_size: Any = None, dtype: DTypeLike = jnp.float32) -> Any:
        """Params; the ids have no size, so input_size is not looked at."""
        k1, k2 = split(key, 2)
        shape = (self.embedding_classes, self.embedding_size)
        embedding = jax.random.uniform(k1, shape, dtype, -(3**0.5), 3**0.5)
        return {"cell": self.cell.init(k2, self.embedding_size, dtype), "embedding": embedding}

    def check_inputs(self, inputs):
        check.ids(self, inputs)
        return

    def before(self, params, inputs, key):
        last = min(self.embedding_classes - 1, jnp.iinfo(inputs.dtype).max)
        return params["embedding"][jnp.clip(inputs.reshape(-1), 0, last).astype(jnp.int32)]


def init_dense(key: jax.Array, inputs: int, outputs: int, dtype: DTypeLike, bias: float = 0.0) -> dict[str, jax.Array]:
    """`{"kernel": [inputs, outputs], "bias": [outputs]}`."""
    return {"kernel": glorot(key, (inputs, outputs), dtype), "bias": jnp.full(outputs, bias, dtype)}


def dense(params: Params, inputs: jax.Array, activation: Callable | None = None) -> jax.Array:
    """`[B, inputs]` -> `[B, outputs]`."""
    outputs = inputs @ params["kernel"]
    outputs = outputs + jnp.broadcast_to(params["bias"], outputs.shape)
    return activation(outputs) if activation else outputs
