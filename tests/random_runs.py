"""Random runs of random cells, compared with plain autodiff of a plain loop.

`draw_case` draws a cell (in four functions, a stack of such ones, or a plain function), its arguments, how it is run and what
is differentiated. `check_case` runs it by jaxrnn and by a loop that has nothing of jaxrnn's engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn
from jaxrnn.engine.tuning import current, using
from tests.random_cells import IDS, Draw, RandomCell, Tree, draw_cell

KINDS = ("cell", "stack", "function")
TOLERANCE = 1e-9
LARGEST = 1e4  # of a number that can be compared so closely

# ---- stacks and wrappers


def _leave_out_the_inputs(inputs, outputs):
    return outputs


def _inputs_alone(inputs, outputs):
    return inputs


def _both(inputs, outputs):
    return outputs, inputs


def _product(inputs, outputs):
    return jax.tree.map(lambda y: jnp.sin(y) * jnp.broadcast_to(_some_column(inputs, y.ndim), y.shape), outputs)


def _some_column(inputs, rank):
    """A number for each row, `[B, 1, ...]` of this rank."""
    first = jax.tree.leaves(inputs)[0]
    return first.reshape(first.shape[0], -1).sum(1).reshape(-1, *(1,) * (rank - 1))


RESIDUALS = (_leave_out_the_inputs, _inputs_alone, _both, _product)


def draw_stack(rng: np.random.Generator, seed: int, depth: int = 2, inputs: Tree | None = None, plain: bool = False) -> Any:
    """`(cell, the Tree of its inputs)`: random cells, and some of ours, in stacks and wrappers; `plain` is an output [B, H]."""
    draw = Draw(rng, True)
    one_array, deeper = inputs is None or inputs.is_plain, depth > 0
    kind = draw.weighted({"cell": 3, "ours": 1.2 * one_array, "stack": 4 * deeper, "wrapper": 4 * deeper})
    if kind == "cell":
        cell = draw_cell(rng, seed, inputs, plain)
        return cell, cell.inputs
    if kind == "ours":
        inputs = inputs or Tree(0, (("rows", (int(rng.integers(1, 5)),)),))
        size = int(rng.integers(1, 5))
        cells = [
            jaxrnn.BasicRNNCell(size),
            jaxrnn.LSTMCell(size, use_peepholes=draw.chance(0.5), num_proj=2),
            jaxrnn.LSTMCell(size),
            jaxrnn.GRUCell(size, reset_after=draw.chance(0.5)),
        ]
        return draw.pick(cells), inputs
    if kind == "wrapper":
        return _draw_wrapper(draw, seed, depth, inputs, plain)
    return _draw_layers(draw, seed, depth, inputs, plain)


def _draw_layers(draw, seed, depth, inputs, plain):
    count, layers = int(draw.rng.integers(1, 4)), []
    for i in range(count):
        cell, inputs = draw_stack(draw.rng, seed, depth - 1, inputs, plain and i == count - 1)
        layers.append((cell, inputs))
        inputs = _outputs_of(cell, inputs)
    cells, reads = zip(*layers, strict=True)
    return jaxrnn.MultiRNNCell(cells), reads[0]


def _draw_wrapper(draw, seed, depth, inputs, plain):
    inner = functools.partial(draw_stack, draw.rng, seed, depth - 1)
    kind = draw.weighted({"residual": 2, "output": 2, "input": 2 * (inputs is None or inputs.is_plain), "dropout": 1})
    size = int(draw.rng.integers(1, 4))
    if kind == "residual":
        cell, inputs = inner(inputs, plain)
        allowed = [RESIDUALS[0], RESIDUALS[3]] if plain else RESIDUALS
        outputs = _outputs_of(cell, inputs)
        same = (inputs.structure, inputs.types) == (outputs.structure, outputs.types)
        return jaxrnn.ResidualWrapper(cell, None if same and draw.chance(0.7) else draw.pick(allowed)), inputs
    if kind == "output":
        cell, inputs = inner(inputs, True)
        return jaxrnn.OutputProjectionWrapper(cell, size, draw.pick([None, jnp.tanh])), inputs
    if kind == "input":
        cell, _ = inner(Tree(0, (("rows", (size,)),)), plain)
        inputs = inputs or Tree(0, (("rows", (int(draw.rng.integers(1, 4)),)),))
        return jaxrnn.InputProjectionWrapper(cell, size, draw.pick([None, jnp.tanh])), inputs
    cell, inputs = inner(inputs, plain)
    return jaxrnn.DropoutWrapper(cell, 0.5, 0.5, 0.5), inputs


def _outputs_of(cell: Any, inputs: Tree) -> Tree:
    """The types of the outputs."""
    params = lambda: cell.init(jax.random.key(0), _input_size(inputs), jnp.float64)
    step = lambda: step_by_hand(cell, params(), inputs.zeros(7, jnp.float64), cell.initial_state(7, jnp.float64))
    leaves, structure = jax.tree.flatten(jax.eval_shape(step)[0])
    numbers = _as_structure(jax.tree.unflatten(structure, range(len(leaves))))
    return Tree(numbers, tuple(("rows", leaf.shape[1:]) for leaf in leaves))


def _as_structure(tree: Any) -> Any:
    """A pytree of numbers as a structure of `tests.random_cells`."""
    if isinstance(tree, int):
        return tree
    if tree is None:
        return ("none",)
    parts = tree.values() if isinstance(tree, dict) else tree
    return (type(tree).__name__, *map(_as_structure, parts))


def _input_size(inputs: Tree) -> Any:
    """D, or one for each array; None for ids."""
    leaves = jax.tree.leaves(zeros := inputs.zeros(1, np.float32))
    ids = not all(_is_floating(leaf) and leaf.ndim == 2 for leaf in leaves)
    return None if ids else jax.tree.map(lambda leaf: leaf.shape[1], zeros)


# ---- the loop by hand


def step_by_hand(cell: Any, params: Any, x: Any, state: Any) -> tuple[Any, Any]:
    """One step, of nothing but the four functions of each cell."""
    if isinstance(cell, jaxrnn.MultiRNNCell):
        new = []
        for i, layer in enumerate(cell.cells):
            x, after = step_by_hand(layer, params[f"cell_{i}"], x, state[i])
            new.append(after)
        return x, tuple(new)
    if isinstance(cell, jaxrnn.ResidualWrapper):
        y, new = step_by_hand(cell.cell, params, x, state)
        return cell.residual_fn(x, y) if cell.residual_fn else jax.tree.map(jnp.add, x, y), new
    if isinstance(cell, jaxrnn.OutputProjectionWrapper):
        y, new = step_by_hand(cell.cell, params["cell"], x, state)
        return _dense(params["projection"], y, cell.activation), new
    if isinstance(cell, jaxrnn.InputProjectionWrapper):
        return step_by_hand(cell.cell, params["cell"], _dense(params["projection"], x, cell.activation), state)
    if isinstance(cell, jaxrnn.DropoutWrapper):
        return step_by_hand(cell.cell, params, x, state)
    z, r = cell.project(params, x), cell.recur(params, state)
    output, new = cell.combine(params, cell.gates(params, z, r, state), state)
    return jax.tree.map(jnp.asarray, (output, new))


def _dense(params, x, activation):
    y = x @ params["kernel"]
    y = y + jnp.broadcast_to(params["bias"], y.shape)
    return activation(y) if activation else y


def _rows(mask, true, false):
    """Row b of `true` where `mask[b]`. What has no rows is taken from `true` where any row is."""
    choose = lambda a, b: jnp.where(mask.reshape(-1, *(1,) * (a.ndim - 1)) if a.ndim else mask.any(), a, b)
    return jax.tree.map(choose, true, false)


def _masked(step: Callable, again: Any, state: Any, x: Any, within: Any, valid: Any, reset: Any) -> tuple[Any, Any]:
    """A step that knows of padding, holes and resets."""
    entered = state if reset is None else _restarted(reset & within, again, state)
    y, new = step(x, entered)
    return _rows(valid, new, entered), _rows(valid, y, jax.tree.map(jnp.zeros_like, y))


def _restarted(where, again, state):
    return jax.tree.map(lambda a, s: _rows(where, a, s) if s.ndim else s, again, state)


def _first_valid(case: Case, inputs: Any) -> Any:
    """Inputs `[T, B, ...]` with each row's first ones in the padding, or ones where a row has none."""
    valid = case.valid
    index = np.argmax(valid, 0)

    def fill(leaf):
        first = _rows(valid.any(0), leaf[index, np.arange(case.batch)], jnp.ones_like(leaf[0]))
        return jnp.where(valid.reshape(*valid.shape, *(1,) * (leaf.ndim - 2)), leaf, first[None])

    return jax.tree.map(fill, inputs)


def by_hand(case: Case, params: Any, inputs: Any, state: Any, again: Any, unrolled: bool = False) -> tuple[Any, Any]:
    """The run as its definition says, in a `lax.scan`; or step by step with calls of the cell itself."""
    xs = _first_valid(case, inputs if case.time_major else _swapped(inputs))
    within, valid = jnp.asarray(case.within), jnp.asarray(case.valid)
    resets = None if case.resets is None else jnp.asarray(case.resets)
    step = case.cell if unrolled else case.step
    body = lambda carry, item: _masked(functools.partial(step, params), again, carry, *item)
    if not unrolled:
        last, ys = lax.scan(body, state, (xs, within, valid, resets), reverse=case.reverse)
    else:
        ys, last = [None] * case.time, state
        for t in range(case.time)[:: -1 if case.reverse else 1]:
            last, ys[t] = body(last, jax.tree.map(lambda leaf: leaf[t], (xs, within, valid, resets)))
        ys = jax.tree.map(lambda *steps: jnp.stack(steps), *ys)
    return ys if case.time_major else _swapped(ys), last


def _swapped(tree):
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


# ---- the runs


@dataclasses.dataclass(frozen=True)
class Case:
    """A cell, its arguments and how it is run; all that a seed stands for.

    Attributes:
      cell: what the runner gets, and `step`, the same in a form that has nothing of the runner.
      point: params, inputs, initial state, the state at resets; numpy arrays.
      lengths, resets, mask: `[B]`, `[T, B]` and `[T, B]`, or None.
      runner: "dynamic", "static", or "steps" (by calls of the cell).
      options: what dynamic_rnn takes beside.
      place: what the engine takes the machine for, a name of `PLACES`.
      derivative: "grad", "jvp" or "second".
      wrt: the numbers of the point's leaves that are differentiated.
      reads: weights of the loss, one array or None for each leaf of the result; `bent` is whether their sines are read.
      batched: the number of the argument that `jax.vmap` maps over, or None.
      jitted: whether all of it is under `jax.jit`.
      traced: whether lengths and resets are known to the runner as tracers only.
    """

    seed: int
    cell: Any
    step: Callable
    point: tuple
    batch: int
    time: int
    lengths: np.ndarray | None
    resets: np.ndarray | None
    mask: np.ndarray | None
    reverse: bool
    time_major: bool
    runner: str
    options: dict
    place: str
    derivative: str
    wrt: tuple
    reads: list
    bent: bool
    batched: int | None
    jitted: bool
    traced: bool

    @property
    def within(self) -> np.ndarray:
        """`[T, B]`, the steps in front of each row's length."""
        lengths = np.full(self.batch, self.time) if self.lengths is None else self.lengths
        return np.arange(self.time)[:, None] < lengths

    @property
    def valid(self) -> np.ndarray:
        """`[T, B]`, the steps that are run."""
        return self.within if self.mask is None else self.within & self.mask

    def __str__(self) -> str:
        memory = self.options.get("memory", "")
        options = {**self.options, "memory": memory if isinstance(memory, str) else getattr(memory, "name", "policy")}
        named = [(name, leaf) for name, arg in zip("pxsa", self.point, strict=True) for leaf in jax.tree.leaves(arg)]
        arguments = [f"{name}{list(np.shape(leaf))}" for name, leaf in named]
        read = [i for i, weight in enumerate(self.reads) if weight is not None]
        lines = [
            f"{self.cell!r}",
            f"B={self.batch} T={self.time} lengths={None if self.lengths is None else self.lengths.tolist()} "
            f"resets={None if self.resets is None else self.resets.astype(int).tolist()} "
            f"mask={None if self.mask is None else self.mask.astype(int).tolist()} reverse={self.reverse} "
            f"time_major={self.time_major}",
            f"{self.runner} {options} place={self.place} jitted={self.jitted} traced={self.traced}",
            f"{self.derivative} by {[arguments[i] for i in self.wrt]}, loss of leaves {read}"
            f"{' (sines)' if self.bent else ''}, vmap over {None if self.batched is None else 'pxsa'[self.batched]}",
        ]
        return "\n  ".join(lines)


POLICIES = {
    "gates": jax.checkpoint_policies.save_only_these_names(jaxrnn.memory.GATES),
    "states": jax.checkpoint_policies.save_only_these_names(jaxrnn.memory.STATES, jaxrnn.memory.OUTPUTS),
    "everything": jax.checkpoint_policies.everything_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
}

# What the engine takes the machine for.
PLACES = {
    "one_device": {"sharded": False},
    "eight_devices": {"sharded": True},
    "as_if_large": {
        "platform": "cpu",
        "sharded": False,
        "tile_rows": 2,
        "rows_of_halves": 2,
        "weights_of_halves": range(1, 10**9),
        "little_work": 0,
    },
    "many_rows": {"sharded": False, "many_rows": 2, "little_work": 0},
    "gpu": {"sharded": False, "platform": "gpu"},
    "cpu": {"platform": "cpu"},
}


@contextlib.contextmanager
def place(name: str) -> Iterator[None]:
    """What the engine does on such a machine, done on this one."""
    with using(dataclasses.replace(current(), **PLACES[name])):
        yield


def draw_case(seed: int, kind: str = "cell") -> Case:
    """The case of a seed."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    cell, inputs = _draw_cell_of(kind, rng, seed)
    draw = Draw(rng, True)
    batch, time = _draw_batch(draw, cell, inputs), int(rng.integers(1, 8, 2).max())
    point = _draw_point(rng, cell, inputs, batch, time)
    rowless = any(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(point[2]))
    lengths = _draw_lengths(draw, batch, time)
    runner = draw.weighted({"dynamic": 8, "static": 1, "steps": 0.7})
    resets = rng.random((time, batch)) < 0.3 if not rowless and draw.chance(0.3) else None
    mask = rng.random((time, batch)) < 0.6 if draw.chance(0.25) else None
    time_major = draw.chance(0.5)
    derivative = draw.weighted({"grad": 8, "jvp": 1, "second": 0.6})
    if derivative == "second" and "custom_jvp" in repr(cell):
        derivative = "grad"  # the scan of jax 0.10.2 loses such a rule at the second order
    where = draw.weighted({"one_device": 5, "eight_devices": 1, "as_if_large": 4, "many_rows": 1, "gpu": 2})
    step = functools.partial(step_by_hand, cell)
    spare = derivative == "second" or where == "gpu"  # offload is not for these
    case = Case(
        seed=seed,
        cell=step if kind == "function" else cell,
        step=step,
        point=_with_time(point, lengths, mask, time, time_major, spoilt=draw.chance(0.5)),
        batch=batch,
        time=time,
        lengths=lengths,
        resets=resets,
        mask=mask,
        reverse=draw.chance(0.4),
        time_major=time_major,
        runner=runner,
        options=_draw_options(draw, time, not spare) if runner == "dynamic" else {},
        place=where,
        derivative=derivative,
        wrt=_draw_wrt(draw, [i for i, leaf in enumerate(jax.tree.leaves(point)) if _is_floating(leaf)]),
        reads=[],
        bent=derivative == "second" or draw.chance(0.4),
        batched=draw.pick([i for i in range(4) if jax.tree.leaves(point[i])]) if draw.chance(0.12) else None,
        jitted=draw.chance(0.95),
        traced=draw.chance(0.7),
    )
    return dataclasses.replace(case, reads=_draw_reads(draw, case))


def usual_case(cell: RandomCell, **changes: Any) -> Case:
    """A plain case of a cell: ragged rows, every leaf differentiated, every result read."""
    rng, batch, time = np.random.default_rng(cell.seed), 4, 5
    point = _draw_point(rng, cell, cell.inputs, batch, time)
    case = Case(
        seed=cell.seed,
        cell=cell,
        step=functools.partial(step_by_hand, cell),
        point=point,
        batch=batch,
        time=time,
        lengths=np.array([5, 0, 3, 2], np.int32),
        resets=None,
        mask=None,
        reverse=False,
        time_major=False,
        runner="dynamic",
        options={"chunk_size": 2},
        place="one_device",
        derivative="grad",
        wrt=tuple(i for i, leaf in enumerate(jax.tree.leaves(point)) if _is_floating(leaf)),
        reads=[],
        bent=True,
        batched=None,
        jitted=True,
        traced=True,
    )
    case = dataclasses.replace(case, **changes)
    shapes = jax.tree.leaves(jax.eval_shape(functools.partial(by_hand, case), *case.point))
    return dataclasses.replace(case, reads=[rng.standard_normal(leaf.shape) for leaf in shapes])


def _draw_cell_of(kind, rng, seed):
    if kind == "stack":
        while True:
            with contextlib.suppress(TypeError, ValueError):  # `init` is not told a size from which it could trace a step
                cell, inputs = draw_stack(rng, seed)
                jax.eval_shape(lambda: cell.init(jax.random.key(0), _input_size(inputs), jnp.float64))
                if not isinstance(cell, RandomCell) and getattr(cell, "inner_cells", ()):
                    return cell, inputs
    cell = draw_cell(rng, seed)
    while kind == "function" and cell.initial_state(1) is None:  # to a runner None is no state at all
        cell = draw_cell(rng, seed)
    return cell, cell.inputs


def _draw_point(rng, cell, inputs, batch, time):
    """`(params, inputs [B, T, ...], initial state, the state at resets)`."""
    size = _input_size(inputs)
    params, state = jax.eval_shape(lambda: (cell.init(jax.random.key(0), size, jnp.float64), cell.initial_state(batch)))
    params, state = jax.tree.map(lambda leaf: np.asarray(rng.uniform(-0.8, 0.8, leaf.shape)), (params, state))

    def of_leaf(leaf):
        shape = batch, time, *leaf.shape[1:]
        return rng.standard_normal(shape) if _is_floating(leaf) else rng.integers(0, IDS, shape).astype(np.int32)

    again = jax.tree.map(lambda leaf: np.asarray(rng.uniform(-0.8, 0.8, leaf.shape)), state)
    return params, jax.tree.map(of_leaf, inputs.zeros(1, np.float32)), state, again


def _is_floating(leaf):
    return np.issubdtype(leaf.dtype, np.floating)


def _draw_batch(draw, cell, inputs):
    """B, now and then the first size of a weight, which then looks as if it had rows."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), _input_size(inputs), jnp.float64))
    sizes = [leaf.shape[0] for leaf in jax.tree.leaves(params) if leaf.ndim]
    return draw.pick(sizes) if sizes and draw.chance(0.2) else int(draw.rng.integers(1, 9))


def _draw_lengths(draw, batch, time):
    kind = draw.weighted({"none": 5, "mixed": 5, "equal": 0.7})
    if kind == "none":
        return None
    if kind == "equal":
        return np.full(batch, draw.rng.integers(0, time + 1), np.int32)
    lengths = draw.rng.integers(0, time + 1, batch).astype(np.int32)
    for row in range(min(2, batch)):
        lengths[row] = draw.pick([lengths[row], 0, time])
    return lengths


def _with_time(point, lengths, mask, time, time_major, spoilt):
    """Inputs as they are laid out, NaN in the padding if `spoilt`."""
    params, inputs, *states = point
    if spoilt and not (lengths is None and mask is None):
        batch = jax.tree.leaves(inputs)[0].shape[0]
        padded = np.arange(time) >= (np.full(batch, time) if lengths is None else lengths)[:, None]
        padded = padded if mask is None else padded | ~mask.T
        spoil = lambda x: np.where(padded.reshape(*padded.shape, *(1,) * (x.ndim - 2)), np.nan, x)
        inputs = jax.tree.map(lambda x: spoil(x) if _is_floating(x) else x, inputs)
    return params, jax.tree.map(lambda x: np.swapaxes(x, 0, 1), inputs) if time_major else inputs, *states


def _draw_options(draw, time, may_offload):
    modes = ["save"] * 4 + ["recompute", "recompute", "recursive", *["offload"] * may_offload]
    others = [jaxrnn.memory.recursive(2), *POLICIES.values()]
    chunk_size = None if draw.chance(0.25) else int(draw.rng.integers(1, time + 1))
    return {"memory": draw.pick(others) if draw.chance(0.15) else draw.pick(modes), "chunk_size": chunk_size}


def _draw_wrt(draw, floating):
    if draw.chance(0.5):
        return tuple(floating)
    return tuple(i for i in floating if draw.chance(0.5)) or (draw.pick(floating),)


def _draw_reads(draw, case):
    """Weights for the leaves of (outputs, state) that the loss reads."""
    outputs, state = jax.eval_shape(functools.partial(by_hand, case), *case.point)
    leaves, of_outputs = jax.tree.leaves((outputs, state)), len(jax.tree.leaves(outputs))
    of_state = len(leaves) - of_outputs
    kind = draw.weighted({"all": 4, "one": 2, "state": 1.5 * bool(of_state), "outputs": 1.5 * bool(of_outputs), "some": 2})
    one = int(draw.rng.integers(len(leaves)))
    read = {
        "all": lambda i: True,
        "one": lambda i: i == one,
        "state": lambda i: i >= of_outputs,
        "outputs": lambda i: i < of_outputs,
        "some": lambda i: i == one or draw.chance(0.4),
    }[kind]
    return [draw.rng.standard_normal(leaf.shape) if read(i) else None for i, leaf in enumerate(leaves)]


# ---- running and comparing


def by_jaxrnn(case: Case, params: Any, inputs: Any, state: Any, again: Any) -> tuple[Any, Any]:
    """The run by the runner of the case."""
    if case.runner == "steps":
        return by_hand(case, params, inputs, state, again, unrolled=True)
    options = {"initial_state": state, "reverse": case.reverse}
    flags = {"resets": case.resets, "mask": case.mask}
    turned = case.time_major and case.runner == "dynamic"
    options |= {name: jnp.asarray(f if turned else f.T) for name, f in flags.items() if f is not None}
    options |= {} if case.resets is None else {"reset_state": again}
    if case.lengths is not None:
        options["sequence_length"] = jnp.asarray(case.lengths) if case.traced else case.lengths
    if case.runner == "static":
        xs = inputs if case.time_major else _swapped(inputs)
        xs = [jax.tree.map(lambda leaf: leaf[t], xs) for t in range(case.time)]
        ys, state = jaxrnn.static_rnn(case.cell, params, xs, **options)
        ys = jax.tree.map(lambda *steps: jnp.stack(steps), *ys)
        return ys if case.time_major else _swapped(ys), state
    return jaxrnn.dynamic_rnn(case.cell, params, inputs, time_major=case.time_major, **options, **case.options)


def measured(case: Case, runner: Callable) -> Any:
    """What the runner gives, by name: the outputs, the state, and what the case asks of derivatives."""
    leaves, structure = jax.tree.flatten(case.point)
    leaves, axes = list(map(jnp.asarray, leaves)), [None] * len(leaves)
    if case.batched is not None:
        counts = [len(jax.tree.leaves(arg)) for arg in case.point]
        first = sum(counts[: case.batched])
        for i in range(first, first + counts[case.batched]):
            other = 0.9 * leaves[i] if _is_floating(leaves[i]) else leaves[i]
            leaves[i], axes[i] = jnp.stack([leaves[i], other]), 0

    def value(live, leaves):
        for i, leaf in zip(case.wrt, live, strict=True):
            leaves = [*leaves[:i], leaf, *leaves[i + 1 :]]
        result = runner(case, *jax.tree.unflatten(structure, leaves))
        bend = jnp.sin if case.bent else lambda leaf: leaf
        pairs = zip(jax.tree.leaves(result), case.reads, strict=True)
        terms = [(bend(leaf.astype(weight.dtype)) * weight).sum() for leaf, weight in pairs if weight is not None]
        return sum(terms, jnp.zeros(())), result

    def measure(*leaves):
        live = [leaves[i] for i in case.wrt]
        along = [jnp.cos(leaf + 1) for leaf in jax.tree.map(lambda leaf: jnp.nan_to_num(lax.stop_gradient(leaf)), live)]
        grad = jax.value_and_grad(lambda live: value(live, leaves), has_aux=True)
        if case.derivative == "grad":
            (loss, result), grads = grad(live)
            return {"result": result, "loss": loss, "gradient": grads}
        if case.derivative == "jvp":
            result, tangent = jax.jvp(lambda live: value(live, leaves)[1], (live,), (along,))
            return {"result": result, "tangent": tangent}
        ((loss, result), grads), (_, second) = jax.jvp(grad, (live,), (along,))
        return {"result": result, "loss": loss, "gradient": grads, "second derivative": second}

    measure = measure if case.batched is None else jax.vmap(measure, in_axes=axes)
    return (jax.jit(measure) if case.jitted else measure)(*leaves)


def check_case(case: Case) -> bool:
    """Whether the case can be compared; an AssertionError if jaxrnn does not give what the loop by hand gives."""
    want = jax.tree.map(np.asarray, measured(dataclasses.replace(case, jitted=True), by_hand))
    numbers = jax.tree.leaves(want)
    if not all(np.all(np.abs(leaf) < LARGEST) for leaf in numbers if leaf.dtype != jax.dtypes.float0):
        return False
    with place(case.place), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")  # another process just writes it
        got = jax.tree.map(np.asarray, measured(case, by_jaxrnn))
    assert jax.tree.structure(got) == jax.tree.structure(want), f"{jax.tree.structure(got)} is not {jax.tree.structure(want)}"
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), numbers, strict=True):
        name = jax.tree_util.keystr(path)
        a, b = (np.zeros(leaf.shape) if leaf.dtype == jax.dtypes.float0 else leaf for leaf in (a, b))
        a, b = (leaf.astype(np.float64) if leaf.dtype == np.bool_ else leaf for leaf in (a, b))
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{name}: {a.dtype}{a.shape} is not {b.dtype}{b.shape}"
        worst = np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0)
        assert worst <= TOLERANCE, f"{name}: differs by {worst:.2g}"
    return True
