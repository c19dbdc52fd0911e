"""One run over several devices or processes: hidden units, and layers. Rows of a batch need nothing from here.

| what is split | how | what the devices exchange |
|---|---|---|
| rows of the batch | `jax.shard_map` around a loss | the weights' gradient, once a run |
| hidden units | `HiddenUnits` | the state, once a step |
| an optimiser's moments, params of any cell | `split_evenly`, under `jax.jit` | what the compiler finds necessary |
| layers | `pipelined_rnn` | a chunk's outputs, once a chunk and boundary |

The page "Several processes, large nets" says which one when.
"""

from jaxrnn.distributed.layers import pipelined_rnn, stack_layers, unstack_layers
from jaxrnn.distributed.placement import split_evenly
from jaxrnn.distributed.units import HiddenUnits

__all__ = ["HiddenUnits", "pipelined_rnn", "split_evenly", "stack_layers", "unstack_layers"]
