"""What is kept: names for it, and the policies on these names that make a memory mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

import jax
from jax.ad_checkpoint import checkpoint_name

from jaxrnn import check
from jaxrnn.typing import MemoryName, Tree

GATES = "jaxrnn_gates"  # the activated gates of a cell in four functions, [K, B, ...]
STATES = "jaxrnn_states"  # the state that each step starts from
OUTPUTS = "jaxrnn_outputs"  # what one layer of a stack hands to the next

MODES = get_args(MemoryName)


@dataclasses.dataclass(frozen=True)
class Mode:
    """A memory mode; what a name, a `jax.checkpoint` policy or a plan stands for.

    Attributes:
      name: one of `MODES`, or "policy".
      policy: the `jax.checkpoint` policy of a chunk.
      keep: what a chunk of four functions keeps, "gates", "states", or the "fastest" of the two.
      levels: scans over chunks, one inside the other; None is as many as the length asks for.
      skip: whether chunks past the longest row are skipped.
    """

    name: str
    policy: Callable
    keep: str = "fastest"
    levels: int | None = 1
    skip: bool = True


_POLICIES = jax.checkpoint_policies
KEEP_NOTHING = _POLICIES.nothing_saveable
SAVE = Mode("save", _POLICIES.save_only_these_names(GATES, STATES, OUTPUTS))
RECOMPUTE = Mode("recompute", KEEP_NOTHING)
OFFLOAD = Mode(
    "offload",
    _POLICIES.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[GATES, STATES, OUTPUTS],
        offload_src="device",
        offload_dst="pinned_host",
    ),
    # The states are fewer bytes than the gates, and bytes to the host are what an offload waits for.
    keep="states",
    # A transfer to the host under a condition is more than jax 0.10.0 can differentiate.
    skip=False,
)


def recursive(levels: int | None = None) -> Mode:
    """The mode "recursive" with a number of levels of your own.

    Args:
      levels: L, scans over chunks one inside the other, 1 or more; None is what "recursive" stands for, as many as keep
        each of them at no more than about 32 steps.

    Returns:
      What `memory=` takes. T steps are cut into about T^(1/(L+1)) at each level and as many in a chunk: the states kept
      are L T^(1/(L+1)), each `[B, ...]`, and the work is L more forward passes (Griewank and Walther, "Revolve", 2000).

    Raises:
      TypeError, ValueError: if levels is not an int of 1 or more.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.LSTMCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 1000, 3))
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, memory=jaxrnn.memory.recursive(levels=2))
      >>> outputs.shape
      (4, 1000, 5)
    """
    check.levels(levels)
    return Mode("recursive", KEEP_NOTHING, levels=levels)


def resolve(memory: str | Callable | Mode) -> Mode:
    """The mode that a caller's word for it stands for."""
    if isinstance(memory, str):
        return {"save": SAVE, "recompute": RECOMPUTE, "recursive": recursive(), "offload": OFFLOAD}[memory]
    return memory if isinstance(memory, Mode) else Mode("policy", memory, keep="gates")  # which it can choose by their name


def named(tree: Tree, name: str) -> Any:
    """`tree`, its leaves under a name that policies can choose."""
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, name), tree)


def named_for_gradients(tree: Tree, name: str) -> Any:
    """`tree`, named where it is differentiated. Else it stays as it is: JAX cannot transpose a name."""
    return jax.tree.map(lambda leaf: _named(leaf, name), tree)


def _unnamed(leaf, name):
    return leaf


_named: Any = jax.custom_jvp(_unnamed, nondiff_argnums=(1,))


@_named.defjvp
def _named_jvp(name, primals, tangents):
    (leaf,), (tangent,) = primals, tangents
    return checkpoint_name(leaf, name), tangent
