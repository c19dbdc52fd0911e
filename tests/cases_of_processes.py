"""What several processes and one process run: `name -> () -> (gradient over 4 devices, its arguments)`."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tests import test_distributed as cases

LENGTHS_AND_RESETS = {flag: cases.FLAGS[flag] for flag in ("sequence_length", "resets")}
MODES = "save", "recompute", "recursive", "offload"


def rows(memory):
    params = cases.random(cases.LSTM.init(jax.random.key(0), cases.D))
    options = {"memory": memory, "chunk_size": 3}
    return cases.over_rows(cases.LSTM, 4, options), (params, cases.INPUTS, LENGTHS_AND_RESETS)


def rows_by_the_compiler(memory):
    """The same without `jax.shard_map`."""
    _, args = rows(memory)
    loss = cases.of_rows(cases.LSTM, {"memory": memory, "chunk_size": 3})
    split = NamedSharding(cases.mesh(data=4), P("data"))

    def gradient(params, *batch):
        batch = jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, split), batch)
        return jax.value_and_grad(loss, (0, 1))(params, *batch)

    return gradient, args


def units(memory):
    cell = cases.LSTM
    split, gradient = cases.over_units(cell, {"memory": memory, "chunk_size": 3})
    params = split.split(cases.random(cell.init(jax.random.key(0), cases.D)))
    return gradient, (params, cases.INPUTS, LENGTHS_AND_RESETS, jnp.linspace(-1.0, 1.0, cell.num_units))


def layers(memory):
    cell, along, flags, _, gradient = cases.pipeline("gru", memory)
    params = cases.stack_layers(cases.random(cell.init(jax.random.key(0), 5)))
    stacked = {key: cases.stack_layers(states) for key, states in along.items()}
    return gradient, (params, cases.SQUARE, stacked, flags)


CASES = {
    f"{kind.__name__} {memory}": functools.partial(kind, memory)
    for kind in (rows, rows_by_the_compiler, units, layers)
    for memory in (MODES if kind is not rows_by_the_compiler else MODES[:1])
}
