"""What happens to a state between two steps: resets, padding, state dropout; and what a cell is called with in the padding.

One truth for static and dynamic runners, for values and for tangents. A step is

    old = restart(step, state)          the state to start again from, at a reset
    new = cell(enter(step, old))        another state in the padding, for what is computed there is dropped
    state = leave(step, old, new)       the old state in the padding

and all three are linear in the states they get.

The cell is called at a padded step too. Its result is dropped, and its derivative is multiplied by zero. If the cell divides by
its inputs, 0 * inf would put NaN into the gradient of every weight. So a padded step is called with the inputs and the state
of its row's first step (`jaxrnn.engine.first`): a cell that is finite at all valid steps is finite there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import is_symbolic_dim

from jaxrnn.keys import StepKey, fold_in
from jaxrnn.typing import Dim, State, Tree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """What a runner knows of the K steps of a chunk, beside their inputs. A field that is None costs nothing.

    Attributes:
      valid: `[K, B]` booleans, False where a step is padding: the state is copied through.
      again: `[K, B]` booleans, True at resets: the state is `start` there.
      drop: factors for the new state, a pytree like it with leaves `[K, ...]` (or None for a leaf that is never dropped).
      step_key: `[K]` PRNG keys, one a step.
      time: int32 `[K]`, the steps' positions in time; None without keys.
      run_key: the PRNG key that all steps share.
      start: the state at resets, leaves `[B, ...]`; None is zero, as a tangent may be.
      first: the state of each row's first step, leaves `[B, ...]`; None is zero, as its tangent is.
      calls_first: whether the cell is called with the state `first` in the padding.
      count: K.
      keep: what a chunk keeps for its backward pass, "gates", "states", or the "fastest" of the two.
      of_four: how a cell in four functions runs these steps; None is `jaxrnn.engine.chunk.fused_chunk`.
      tuning: what is fastest where the run runs; None is asked for.
      recurrence: `(a, b, state, how) -> (state that enters, states [K, B, ...], last state)`, how a linear recurrence runs
        steps that are split over devices (`jaxrnn.engine.over_devices`).
      fill: `tree [K, B, ...] -> tree`, whose padding is safe to call a function with; None where it is so already.
    """

    valid: jax.Array | None = None
    again: jax.Array | None = None
    drop: State | None = None
    step_key: jax.Array | None = None
    time: jax.Array | None = None
    run_key: jax.Array | None = None
    start: State | None = None
    first: State | None = None
    calls_first: bool = dataclasses.field(default=False, metadata={"static": True})
    count: Dim = dataclasses.field(default=None, metadata={"static": True})
    keep: str = dataclasses.field(default="fastest", metadata={"static": True})
    of_four: Callable | None = dataclasses.field(default=None, metadata={"static": True})
    tuning: Any = dataclasses.field(default=None, metadata={"static": True})
    recurrence: Callable | None = dataclasses.field(default=None, metadata={"static": True})
    fill: Callable | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def key(self) -> StepKey | None:
        return None if self.run_key is None else StepKey(self.run_key, self.step_key, self.time)

    @property
    def length(self) -> int | None:
        """K for a `lax.scan`, which takes no symbolic one and finds it itself."""
        return None if is_symbolic_dim(self.count) else self.count

    @property
    def varying(self) -> Steps:
        """The fields with a leading axis K: what a scan over the chunk slices."""
        return dataclasses.replace(self, run_key=None, start=None, first=None)

    def at(self, step: Steps) -> Steps:
        """One step's slice of `varying`, with the fields that all steps share."""
        return dataclasses.replace(step, run_key=self.run_key, start=self.start, first=self.first)

    def dropped(self, new: State) -> State:
        """A new state times `drop`."""
        return new if self.drop is None else _optional(lambda d, n: n if d is None else n * d, self.drop, new)

    def also_drop(self, drop: State | None) -> Steps:
        """The same steps with factors on top of those that are there: a wrapper inside another one."""
        if drop is None or self.drop is None:
            return dataclasses.replace(self, drop=self.drop if drop is None else drop)
        both = _optional(lambda a, b: b if a is None else a if b is None else a * b, self.drop, drop)
        return dataclasses.replace(self, drop=both)

    def starting(self, resets: jax.Array | None, start: State, first: State | None, differentiated: bool = True) -> Steps:
        """The same steps: at `resets` `[K, B]` the state is `start`; padded ones are called with `first`.

        Where nothing is differentiated a padded step can be called with any state, which saves up to 8 % of a forward pass.
        """
        steps = self if resets is None else dataclasses.replace(self, again=resets, start=start)
        if first is None or self.valid is None or not differentiated:
            return steps
        return dataclasses.replace(steps, calls_first=True, first=first)

    def layer(self, i: int, number: Any = None) -> Steps:
        """What layer i of a stack gets: its part of whatever looks like the state, and keys of its own.

        `number` is the layer's in a larger stack of which this is a part; None is i.
        """
        part = lambda tree: None if tree is None else tree[i]
        return dataclasses.replace(
            self.fold_in(i if number is None else number), drop=part(self.drop), start=part(self.start), first=part(self.first)
        )

    def fold_in(self, data: Any) -> Steps:
        """The same steps with other keys: what a stack gives to its layer `data`."""
        if self.key is None:
            return self
        run, step = fold_in(self.key.run, data), jax.vmap(fold_in, (0, None))(self.key.step, data)
        return dataclasses.replace(self, run_key=run, step_key=step)


def _optional(f: Callable, tree: State, *rest: State) -> State:
    """Leaf by leaf over `tree`, whose None leaves stand for whatever `rest` has in their place."""
    return jax.tree.map(f, tree, *rest, is_leaf=lambda leaf: leaf is None)


def select_rows(mask: jax.Array | np.ndarray, on_true: Tree, on_false: Tree) -> Tree:
    """Leaf by leaf, row b of `on_true` where `mask[..., b]`, else of `on_false`.

    `mask` is `[B]` or `[K, B]` and matches the leaves' leading axes. A leaf of lower rank belongs to no row (a step
    counter, say) and is taken from `on_true`, as TF1 does.
    """

    def select(true, false):
        if jnp.ndim(true) < mask.ndim:
            return true
        return jnp.where(lax.broadcast_in_dim(mask, jnp.shape(true), tuple(range(mask.ndim))), true, false)

    return jax.tree.map(select, on_true, on_false)


def valid_steps(lengths: jax.Array | None, times: jax.Array, mask: jax.Array | None = None) -> jax.Array | None:
    """Which of the steps at times `[K]` are no padding, `[K, B]`; None if there is none. `mask` `[K, B]` has the holes."""
    if lengths is None:
        return None
    before_the_end = times[:, None] < lengths[None]
    return before_the_end if mask is None else before_the_end & mask


def zero_padding(valid: jax.Array | None, tree: Tree) -> Tree:
    """`tree` with zeros in the rows of padded steps: outputs, and cotangents."""
    return tree if valid is None else select_rows(valid, tree, jax.tree.map(jnp.zeros_like, tree))


def fill_padding(valid: jax.Array | None, tree: Tree, first: Tree) -> Tree:
    """`tree` `[K, B, ...]` with `first` `[B, ...]` in the rows of padded steps: what a cell reads there."""
    if valid is None or first is None:
        return tree
    everywhere = jax.tree.map(lambda leaf, one: jnp.broadcast_to(one, leaf.shape), tree, first)
    return select_rows(valid, tree, everywhere)


def restart(step: Steps, state: State) -> State:
    """The state at a step: `start` where an episode begins."""
    return replace_rows(step.again, step.start, state)


def enter(step: Steps, old: State) -> State:
    """The state that a step's cell is called with: `first` in the padding."""
    if step.valid is None or not step.calls_first:
        return old
    return replace_rows(~step.valid, step.first, old)


def replace_rows(where: jax.Array | None, other: State | None, state: State) -> State:
    """`state` with the rows of `other` where `where` `[B]` says so; a leaf that has no rows is as it is. None is zero."""
    if where is None:
        return state
    other = jax.tree.map(jnp.zeros_like, state) if other is None else other
    return jax.tree.map(lambda leaf, o: select_rows(where, o, leaf) if leaf.ndim >= where.ndim else leaf, state, other)


def leave(step: Steps, old: State, new: State) -> State:
    """The state that a step hands on: dropped as `drop` says, and the old one where the step is padding.

    `old` is the state of `restart`.
    """
    new = step.dropped(new)
    return new if step.valid is None else advance(step.valid, new, old)


def advance(valid: jax.Array, new: State, old: State) -> State:
    """The new state in rows that have a step, `valid` `[B]`.

    A leaf that belongs to no row, such as a counter, is the new one where any row has a step: TF1's loop ends with the longest.
    """
    of_no_row = lambda n, o: n if jnp.ndim(n) else jnp.where(jnp.any(valid), n, o)
    return jax.tree.map(of_no_row, select_rows(valid, new, old), old)
