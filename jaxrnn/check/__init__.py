"""Every check of what a caller passed, and its error text: what was expected, what came, what to do.

Shapes and dtypes are known while tracing, so the checks cost nothing at run time; only `lengths` looks at numbers, where it can
see them.
"""

from jaxrnn.check.basics import arrays, batch_of, describe, name_of, prng_key, shaped
from jaxrnn.check.cells import (
    cell_sequence,
    droppable,
    features,
    four_functions,
    full_cell,
    ids,
    input_size,
    is_cell,
    own_call,
    pair_of_results,
    param_tree,
    same_shapes,
    step,
)
from jaxrnn.check.fields import (
    at_least_one,
    batch_size,
    finite,
    flag,
    flags,
    functions,
    goes_with,
    positive,
    probabilities,
    size_of_inputs,
)
from jaxrnn.check.loops import automatic_axes, finished, later_call, loop_fn, loop_result, max_steps
from jaxrnn.check.memory import (
    budget,
    budget_too_small,
    chunk_size,
    host_layout,
    is_budget,
    known_sizes,
    levels,
    loss,
    made_for,
    memory,
    mode,
    on_device,
    options,
    platform,
    share,
    whole_blocks,
    whole_chunks,
)
from jaxrnn.check.packing import known_lengths, packed_axes, packed_rows, packed_steps
from jaxrnn.check.runs import (
    as_many,
    booleans,
    booleans_of_rank,
    dtype,
    layers,
    lengths,
    numbers,
    of_a_stream,
    pair,
    pieces,
    same_steps,
    sequence,
    step_list,
    stream,
    truncation,
)
from jaxrnn.check.states import as_state, like, reset_state, rows_of_state, stable_state, state_dtype, state_from_dtype
