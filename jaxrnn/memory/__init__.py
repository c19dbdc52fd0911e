"""Where the states live between the forward and the backward pass: the only user of `jax.checkpoint` and of memory spaces.

A chunk names what it could keep (`GATES`, `STATES`, `OUTPUTS`); a memory mode is a `jax.checkpoint` policy on these names
and a number of scans, one inside the other. A cell knows nothing of this, and nothing here knows a cell.
"""

from jaxrnn.memory.host import on_host, to_device, to_host
from jaxrnn.memory.modes import GATES, MODES, OUTPUTS, STATES, Mode, recursive
from jaxrnn.memory.plan import Plan, Plans

__all__ = [
    "GATES",
    "MODES",
    "OUTPUTS",
    "STATES",
    "Mode",
    "Plan",
    "Plans",
    "on_host",
    "recursive",
    "to_device",
    "to_host",
]
