"""Every check of what a caller passed, and its error text: what was expected, what came, what to do.

Shapes and dtypes are known while tracing, so the checks cost nothing at run time; only `lengths` looks at numbers, where it can
see them.
"""

from jaxrnn.check.basics import arrays, describe, name_of
from jaxrnn.check.cells import (
    at_least_one,
    back_end,
    cell_sequence,
    features,
    four_functions,
    full_cell,
    goes_with,
    ids,
    is_cell,
    pair_of_results,
    param_tree,
    positive,
    probabilities,
    rows_of_state,
    same_shapes,
    stable_state,
    state_tree,
    step,
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
    whole_blocks,
    whole_chunks,
)
from jaxrnn.check.packing import known_lengths, packed_axes, packed_rows, packed_steps
from jaxrnn.check.runs import (
    batch_of,
    initial_state,
    layers,
    lengths,
    pair,
    pieces,
    prng_key,
    resets,
    same_steps,
    sequence,
    state_dtype,
    state_from_dtype,
    step_list,
    stream,
    truncation,
)
