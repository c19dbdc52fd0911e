"""What happens to a state between two steps: resets, padding, state dropout.

One truth for static and dynamic runners, for values and for tangents: every function here is linear in the states it gets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.keys import StepKey, fold_in

State = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """What a runner knows of the K steps of a chunk, beside their inputs. A field that is None costs nothing.

    Attributes:
      valid: `[K, B]` booleans, False where a step is padding: the state is copied through.
      reset: `[K, B]` booleans, True where the state starts again from `start` before the step.
      drop: factors for the new state, a pytree like it with leaves `[K, ...]` (or None for a leaf that is never dropped).
      step_key: `[K]` PRNG keys, one a step.
      run_key: the PRNG key that all steps share.
      start: the initial state, leaves `[B, ...]`.
      keep: what a chunk keeps for its backward pass, "gates", "states", or the "fastest" of the two.
      of_four: how a cell in four functions runs these steps; None is `jaxrnn.chunk.fused_chunk`.
    """

    valid: jax.Array | None = None
    reset: jax.Array | None = None
    drop: State | None = None
    step_key: jax.Array | None = None
    run_key: jax.Array | None = None
    start: State | None = None
    keep: str = dataclasses.field(default="fastest", metadata={"static": True})
    of_four: Callable | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def key(self) -> StepKey | None:
        return None if self.run_key is None else StepKey(self.run_key, self.step_key)

    @property
    def varying(self) -> Steps:
        """The fields with a leading axis K: what a scan over the chunk slices."""
        return dataclasses.replace(self, run_key=None, start=None)

    def at(self, step: Steps) -> Steps:
        """One step's slice of `varying`, with the fields that all steps share."""
        return dataclasses.replace(step, run_key=self.run_key, start=self.start)

    def dropped(self, new: State) -> State:
        """A new state times `drop`."""
        return new if self.drop is None else _optional(lambda d, n: n if d is None else n * d, self.drop, new)

    def also_drop(self, drop: State | None) -> Steps:
        """The same steps with factors on top of those that are there: a wrapper inside another one."""
        if drop is None or self.drop is None:
            return dataclasses.replace(self, drop=self.drop if drop is None else drop)
        both = _optional(lambda a, b: b if a is None else a if b is None else a * b, self.drop, drop)
        return dataclasses.replace(self, drop=both)

    def resetting(self, resets: jax.Array | None, start: State) -> Steps:
        """The same steps, going back to `start` where `resets` `[K, B]` says so and the step is no padding."""
        if resets is None:
            return self
        return dataclasses.replace(self, reset=resets if self.valid is None else resets & self.valid, start=start)

    def layer(self, i: int) -> Steps:
        """What layer i of a stack gets: its part of whatever looks like the state, and keys of its own."""
        part = lambda tree: None if tree is None else tree[i]
        return dataclasses.replace(self.fold_in(i), drop=part(self.drop), start=part(self.start))

    def fold_in(self, data: int) -> Steps:
        """The same steps with other keys: what a stack gives to its layer `data`."""
        if self.key is None:
            return self
        run, step = fold_in(self.key.run, data), jax.vmap(fold_in, (0, None))(self.key.step, data)
        return dataclasses.replace(self, run_key=run, step_key=step)


def _optional(f: Callable, tree: State, *rest: State) -> State:
    """Leaf by leaf over `tree`, whose None leaves stand for whatever `rest` has in their place."""
    return jax.tree.map(f, tree, *rest, is_leaf=lambda leaf: leaf is None)


def select_rows(mask: Any, on_true: Any, on_false: Any) -> Any:
    """Leaf by leaf, row b of `on_true` where `mask[..., b]`, else of `on_false`.

    `mask` is `[B]` or `[K, B]` and matches the leaves' leading axes. A leaf of lower rank belongs to no row (a step
    counter, say) and is taken from `on_true`, as TF1 does.
    """

    def select(true, false):
        if jnp.ndim(true) < mask.ndim:
            return true
        return jnp.where(lax.broadcast_in_dim(mask, jnp.shape(true), tuple(range(mask.ndim))), true, false)

    return jax.tree.map(select, on_true, on_false)


def valid_steps(lengths: jax.Array | None) -> Callable | None:
    """A function that says of times `[K]` which steps `[K, B]` are no padding; None if none is."""
    return None if lengths is None else lambda time: time[:, None] < lengths[None]


def zero_padding(valid: jax.Array | None, tree: Any) -> Any:
    """`tree` with zeros in the rows of padded steps.

    Inputs go through this before the cell sees them and outputs after it: NaN or Inf in the padding then reaches neither
    a value nor, as 0 * NaN, a gradient.
    """
    return tree if valid is None else select_rows(valid, tree, jax.tree.map(jnp.zeros_like, tree))


def enter(step: Steps, state: State) -> State:
    """The state that a step starts from: the initial one where an episode begins."""
    return state if step.reset is None else select_rows(step.reset, step.start, state)


def leave(step: Steps, old: State, new: State) -> State:
    """The state that a step hands on: dropped as `drop` says, and the old one where the step is padding."""
    new = step.dropped(new)
    return new if step.valid is None else select_rows(step.valid, new, old)
