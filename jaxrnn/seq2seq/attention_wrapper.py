"""A cell that reads a memory at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.export import register_namedtuple_serialization
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import split
from jaxrnn.cells.inner import output_size, part
from jaxrnn.engine.chunk import plain_chunk
from jaxrnn.keys import as_step_key, call_cell, fold_step
from jaxrnn.seq2seq.dense import Dense
from jaxrnn.typing import Inputs, Params, State


class AttentionWrapperState(NamedTuple):
    """The state of an `AttentionWrapper`; of several mechanisms alignments and attention_state are tuples.

    Attributes:
      cell_state: the inner cell's.
      attention: `[B, A]`, which the next step's input is joined with.
      alignments: `[B, M]`, the weights of the memory's positions at the last step.
      attention_state: what the mechanism carries on: the alignments.
    """

    cell_state: Any
    attention: Any
    alignments: Any
    attention_state: Any


register_namedtuple_serialization(AttentionWrapperState, serialized_name="jaxrnn.seq2seq.AttentionWrapperState")


@dataclasses.dataclass(frozen=True)
class AttentionWrapper(RNNCell):
    """A cell that reads a memory at every step, an encoder's outputs say; TF1's `tf.contrib.seq2seq.AttentionWrapper`.

        x' = cell_input_fn(x, attention)                        [x; attention] by default
        out, cell_state' = cell(x', cell_state)
        alignments' = mechanism(out, alignments)                [B, M]
        context = sum over m of alignments'_m values_m          [B, Dm]
        attention' = [out; context] W                           with a layer; the context without one
        output = attention'                                     or out

    The memory is part of the params, so that gradients reach an encoder:

        params = cell.init(key, input_size)
        params = cell.with_memory(params, memory, lengths)      # inside the loss
        state = cell.zero_state(params)                         # the runners' initial_state

    Attributes:
      cell: the inner cell, whose output is one array `[B, H]`.
      attention_mechanism: a mechanism, or a list or tuple of several. Then memories, lengths and layers are tuples too, the
        alignments in the state as well, and the attention is theirs side by side.
      attention_layer_size: size of W, without bias or activation; a tuple with one for each of several mechanisms.
      cell_input_fn: `(inputs, attention [B, A]) -> the inner cell's inputs`.
      output_attention: whether the attention is the output; else the inner cell's output is.
      attention_layer: a layer in place of W, such as `Dense(size, jnp.tanh)`, Luong's: any hashable object with `units` (its
        output's size), `init(key, input_size, dtype)` and `layer(params, inputs) -> outputs`; a tuple for several mechanisms.

    Params: `cell`, the inner cell's; `attention`, the mechanism's; with a layer `attention_layer`, `{"kernel": W [H + Dm, A]}`
    (Glorot uniform); after with_memory `memory`, keys, values and mask. For several mechanisms all but the cell's are tuples.
    State: `AttentionWrapperState`. Output: `[B, A]`, or the inner cell's.

    Alignments are in the state: `StateOutputWrapper` gives those of all steps. TF1's alignment_history, and the time that it
    needs, are left out; so is attention_fn, for which there are mechanisms of one's own; `state.clone(...)` is
    `state._replace(...)`. Rows without memory are allowed, as in `LuongAttention`. Every step is run as a whole, with its
    states kept, in all memory modes. A run with resets needs a reset_state: zero_state too.

    Raises:
      TypeError: if cell is no cell, or a mechanism or a layer is none.
      ValueError: if layers are not as many as mechanisms, or both kinds are given; when run, if params have no memory, or one
        of another batch.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> from jaxrnn.seq2seq import AttentionWrapper, LuongAttention
      >>> cell = AttentionWrapper(jaxrnn.GRUCell(5), LuongAttention(5, memory_size=6), attention_layer_size=4)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> params = cell.with_memory(params, jnp.ones((2, 9, 6)), jnp.array([9, 4]))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jnp.ones((2, 7, 3)), initial_state=cell.zero_state(params))
      >>> outputs.shape, state.alignments.shape
      ((2, 7, 4), (2, 9))
    """

    cell: Any
    attention_mechanism: Any
    attention_layer_size: Any = None
    cell_input_fn: Callable | None = None
    output_attention: bool = True
    attention_layer: Any = None

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)
        for name in ("attention_mechanism", "attention_layer_size", "attention_layer"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        check.functions(self, cell_input_fn=self.cell_input_fn)
        check.flags(self, output_attention=self.output_attention)
        check.attention_parts(self)
        hash(self.layers)  # makes the layers, which check their sizes

    # ---- one mechanism or several

    @property
    def mechanisms(self) -> tuple[Any, ...]:
        """The mechanisms."""
        return self.each(self.attention_mechanism)

    @property
    def layers(self) -> tuple[Any, ...]:
        """A layer for each mechanism, or None for each."""
        if self.attention_layer is not None:
            return self.each(self.attention_layer)
        if self.attention_layer_size is None:
            return (None,) * len(self.mechanisms)
        return tuple(Dense(size, use_bias=False) for size in self.each(self.attention_layer_size))

    def each(self, given: Any) -> tuple[Any, ...]:
        """What belongs to the mechanisms, one by one."""
        return given if isinstance(self.attention_mechanism, tuple) else (given,)

    def as_given(self, parts: Sequence[Any]) -> Any:
        """What `each` takes apart."""
        return tuple(parts) if isinstance(self.attention_mechanism, tuple) else parts[0]

    # ---- sizes and params

    @property
    def attention_size(self) -> int:
        """A."""
        each = zip(self.mechanisms, self.layers, strict=True)
        return sum(mechanism.value_size if layer is None else layer.units for mechanism, layer in each)

    @property
    def output_size(self) -> Any:
        return self.attention_size if self.output_attention else self.cell.output_size

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        """Params for inputs `[B, input_size]`, without a memory."""
        k1, k2, k3 = split(key, 3)
        size = self._inner_input_size(input_size)
        params = {"cell": self.cell.init(k1, size, dtype)}
        query = check.one_size(self, output_size(self.cell, params["cell"], size, dtype))
        weights, layers = [], []
        for i, (mechanism, layer) in enumerate(zip(self.mechanisms, self.layers, strict=True)):
            weights.append(mechanism.init(jax.random.fold_in(k2, i), query, dtype))
            if layer is not None:
                layers.append(layer.init(jax.random.fold_in(k3, i), query + mechanism.value_size, dtype))
        params["attention"] = self.as_given(weights)
        return {**params, "attention_layer": self.as_given(layers)} if layers else params

    def _inner_input_size(self, size: Any) -> Any:
        if self.cell_input_fn is None:
            check.size_of_inputs(size)
            return size + self.attention_size
        struct = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct(shape, dtype)
        inputs = struct(1, dtype=jnp.int32) if size is None else jax.tree.map(lambda size: struct(1, size), size)
        inner = jax.eval_shape(self.cell_input_fn, inputs, struct(1, self.attention_size))
        return jax.tree.map(lambda leaf: leaf.shape[1], inner)

    def with_memory(self, params: Params, memory: Any, memory_sequence_length: Any = None) -> dict[str, Any]:
        """Params with a memory, differentiable with respect to it and to the weights.

        It belongs inside a loss: the mask is boolean, and `jax.grad` with respect to params that have one refuses it.

        Args:
          params: what `init` returns; a memory that they have is replaced.
          memory: `[B, M, Dm]`; a tuple with one for each of several mechanisms.
          memory_sequence_length: integers `[B]` in [0, M], or None for M in all rows; for several mechanisms a tuple of
            such, or None. What a row's memory holds from there on changes nothing.

        Returns:
          The params with keys, values and mask under "memory".

        Raises:
          TypeError, ValueError: if the memory, or its length, is not of the shape and kind that the mechanism has.
        """
        check.has_attention(self, params)
        lengths = memory_sequence_length
        if isinstance(self.attention_mechanism, tuple):
            memory = check.one_each(self, "memory", memory)
            lengths = (None,) * len(memory) if lengths is None else check.one_each(self, "memory_sequence_length", lengths)
        each = zip(self.mechanisms, self.each(params["attention"]), self.each(memory), self.each(lengths), strict=True)
        return {**params, "memory": self.as_given([m.prepare(*args) for m, *args in each])}

    def zero_state(self, params: Params, dtype: DTypeLike | None = None) -> AttentionWrapperState:
        """The state to start from: the inner cell's own, attention zeros, and each mechanism's initial alignments.

        Args:
          params: with a memory, whose batch and length the state has.
          dtype: None is the memory's.

        Returns:
          The state; `._replace(cell_state=...)` starts the inner cell from another one.

        Raises:
          ValueError: if params have no memory.
        """
        memories = self.each(check.has_memory(self, params)["memory"])
        batch, dtype = memories[0]["keys"].shape[0], dtype or memories[0]["values"].dtype
        each = zip(self.mechanisms, memories, strict=True)
        alignments = self.as_given([mechanism.initial_alignments(memory, dtype) for mechanism, memory in each])
        attention = jnp.zeros((batch, self.attention_size), dtype)
        return AttentionWrapperState(self.cell.initial_state(batch, dtype), attention, alignments, alignments)

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> State:
        """An error: only params know how long the memory is. See `zero_state`."""
        return check.no_initial_state(self, batch_size)

    # ---- a step

    def check_inputs(self, inputs: Inputs) -> Any:
        return check.features(self, inputs) if self.cell_input_fn is None else check.input_size(self.cell_input_fn, inputs)

    def __call__(self, params, inputs, state, *, key=None):
        check.has_memory(self, params)
        state = check.step(self, params, inputs, state, key)
        state = check.attention_state(self, state, jax.eval_shape(self.zero_state, params), inputs)
        key = as_step_key(key)
        joined = (self.cell_input_fn or _join)(inputs, state.attention)
        out, cell_state = call_cell(self.cell, part(params, "cell"), joined, state.cell_state, fold_step(key, 0))
        check.one_array(self, out)
        attention, alignments, states = zip(
            *(self._attend(i, params, out, state, key) for i in range(len(self.mechanisms))), strict=True
        )
        attention = jnp.concatenate(attention, 1)
        new = AttentionWrapperState(cell_state, attention, self.as_given(alignments), self.as_given(states))
        return attention if self.output_attention else out, new

    def _attend(self, i, params, out, state, key):
        """`(attention, alignments, next attention state)` of mechanism i."""
        weights, memory, old = (self.each(tree)[i] for tree in (params["attention"], params["memory"], state.attention_state))
        alignments, new = self.mechanisms[i](weights, memory, out, old, key=fold_step(key, i + 1))
        context = jnp.einsum("bm,bmd->bd", alignments, memory["values"])
        if self.layers[i] is None:
            return context, alignments, new
        return self.layers[i](self.each(params["attention_layer"])[i], _join(out, context)), alignments, new

    def chunk(self, params, xs, state, steps):
        return plain_chunk(self, params, xs, state, steps)


def _join(a, b):
    return jnp.concatenate([a, b], -1)
