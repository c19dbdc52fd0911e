"""A decoder of one cell, one word a row and step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jax.export import register_namedtuple_serialization

from jaxrnn import check
from jaxrnn.keys import call_cell, fold_in
from jaxrnn.seq2seq.decoder import Decoder
from jaxrnn.typing import Outputs, Params, State

_OF_THE_HELPER = 2**31 - 1  # no cell folds it into its keys


class BasicDecoderOutput(NamedTuple):
    """What a step of a `BasicDecoder` gives, here for all steps.

    Attributes:
      rnn_output: the outputs, after the output layer, `[B, T, ...]`.
      sample_id: what the helper sampled, `[B, T]` or whatever it makes of it.
      alignments: `alignments` of the new states, `[B, T, M]`, where the state has some: an `AttentionWrapperState`; else ().
    """

    rnn_output: Any
    sample_id: Any
    alignments: Any


register_namedtuple_serialization(BasicDecoderOutput, serialized_name="jaxrnn.seq2seq.BasicDecoderOutput")


@dataclasses.dataclass(frozen=True)
class BasicDecoder(Decoder):
    """Runs a cell on what a helper makes of its outputs; TF1's `tf.contrib.seq2seq.BasicDecoder`.

        output, state = cell(inputs, state);  output = output_layer(output)
        ids = helper.sample(t, output, state)
        finished, inputs, state = helper.next_inputs(t, output, state, ids)

    Attributes:
      cell: a jaxrnn cell, or any function `cell(params, inputs, state) -> (output, new_state)`.
      output_layer: `(params, outputs) -> outputs`, such as a projection to logits `[B, V]`; None is none.

    Params: the cell's, or with an output_layer `{"cell": the cell's, "output_layer": its own}`. TF1's variables of the cell,
    under `decoder/`, are read by `jaxrnn.interop.from_tf1(cell, variables)`; those of its layer, `decoder/dense/kernel` and
    `bias`, are the params of a `Dense` as they are.

    Outputs: `BasicDecoderOutput`. State: the cell's, or what the helper makes of it.

    Where all inputs are known, with TrainingHelper, `dynamic_rnn` and the output layer on all steps at once give the same
    outputs in less time.

    Raises:
      TypeError: if cell is no cell or output_layer no function.

    Example: a linear layer, and the true words as inputs.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(num_units=5)
      >>> decoder = jaxrnn.seq2seq.BasicDecoder(cell, output_layer=lambda kernel, outputs: outputs @ kernel)
      >>> params = {"cell": cell.init(jax.random.key(0), 3), "output_layer": jnp.ones((5, 7))}
      >>> helper = jaxrnn.seq2seq.TrainingHelper(jnp.ones((4, 6, 3)), sequence_length=jnp.array([6, 0, 2, 3]))
      >>> outputs, state, lengths = jaxrnn.seq2seq.dynamic_decode(
      ...     decoder, params, helper, cell.initial_state(4), maximum_iterations=6)
      >>> outputs.rnn_output.shape, lengths.tolist()
      ((4, 6, 7), [6, 0, 2, 3])
    """

    cell: Any
    output_layer: Callable | None = None

    def __post_init__(self) -> None:
        check.is_cell(self.cell, type(self).__name__)
        check.functions(self, output_layer=self.output_layer)

    def initialize(self, params, helper, initial_state):
        name = type(helper).__name__
        check.helper(type(self).__name__, helper)
        finished, inputs = check.started(name, helper.initialize())
        batch = check.batch_of(check.arrays(inputs, f"{name}: inputs"), f"{name}: inputs")
        check.rows_finished(name, finished, batch)
        return finished, inputs, check.as_state(self.cell, initial_state, batch)

    def step(self, params, helper, time, inputs, state, key):
        outputs, state = run_cell(self, params, inputs, state, key)
        draw = lambda i: None if key is None else fold_in(fold_in(key.step, _OF_THE_HELPER), i)
        ids = helper.sample(time, outputs, state, draw(0))
        result = helper.next_inputs(time, outputs, state, ids, draw(1))
        finished, inputs, new = check.went_on(type(helper).__name__, result)
        return BasicDecoderOutput(outputs, ids, getattr(state, "alignments", ())), new, inputs, finished


def run_cell(decoder: Any, params: Params, inputs: Any, state: State, key: Any) -> tuple[Outputs, State]:
    """A step of a decoder's cell with its output layer."""
    if decoder.output_layer is None:
        return call_cell(decoder.cell, params, inputs, state, key)
    check.two_parts(type(decoder).__name__, params)
    outputs, state = call_cell(decoder.cell, params["cell"], inputs, state, key)
    return decoder.output_layer(params["output_layer"], outputs), state
