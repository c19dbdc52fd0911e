"""Random cells in four functions: any mix of what the contract allows, and the equations as text.

A cell is a value: nested tuples of strings and ints, which say what each leaf of z, r, g, the output and the new state is.
`draw_cell` makes one. `tests/random_runs.py` draws how it is run, and compares.

An expression is a tuple `(op, *arguments)`. Its type is `(kind, shape)`:

    rows    an array [B, *shape]; a row depends on the same row of inputs and state alone
    mask    booleans [B, *shape]
    ids     integers [B] below `IDS`
    raw     an array of this very shape, which belongs to no row: a parameter, a constant
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn

IDS = 3

# ---- operations

_jitted_tanh = jax.jit(lambda a: lax.tanh(a))
_jitted_sum = jax.jit(lambda a, b: a + b)
_jitted_mix = jax.jit(lambda a, b: jnp.sin(a + b) * b)


@jax.custom_jvp
def _custom(a):
    return jnp.sin(a)


# Not the derivative of a sine: a rule is to be followed, not checked.
_custom.defjvp(lambda primals, tangents: (_custom(*primals), 0.7 * tangents[0]))


def _loop(a):
    return lax.scan(lambda carry, _: (jnp.sin(carry + 0.3), None), a, length=2)[0]


OPS = {
    "+": (lambda a, b: a + b, "({} + {})"),
    "-": (lambda a, b: a - b, "({} - {})"),
    "*": (lambda a, b: a * b, "{} * {}"),
    "@": (lambda a, w: a @ w, "{} @ {}"),
    "jit(+)": (_jitted_sum, "jit(+)({}, {})"),
    "jit(mix)": (_jitted_mix, "jit(mix)({}, {})"),
    "maximum": (jnp.maximum, "maximum({}, {})"),
    "lerp": (lambda u, a, b: u * a + (1 - u) * b, "lerp({}, {}, {})"),
    "where": (jnp.where, "where({}, {}, {})"),
    "tanh": (jaxrnn.tanh, "tanh({})"),
    "jnp.tanh": (jnp.tanh, "jnp.tanh({})"),
    "sigmoid": (jaxrnn.sigmoid, "sigmoid({})"),
    "sin": (jnp.sin, "sin({})"),
    "half": (lambda a: 0.5 * a, "0.5 * {}"),
    "neg": (lambda a: -a, "-{}"),
    "plus_1": (lambda a: a + 1, "({} + 1)"),
    "stop": (lax.stop_gradient, "stop_gradient({})"),
    "clip": (lambda a: jnp.clip(a, -0.6, 0.7), "clip({})"),
    "relu": (jax.nn.relu, "relu({})"),
    "jit(tanh)": (_jitted_tanh, "jit(tanh)({})"),
    "custom_jvp": (_custom, "custom_jvp({})"),
    "loop": (_loop, "loop({})"),
    "remat": (jax.checkpoint(lambda a: jnp.sin(a) * a), "checkpoint(sin * id)({})"),
    "halves": (lambda a: jnp.where(a > 0.1, a, 0.3 * a), "where_positive({})"),
    "softmax": (jax.nn.softmax, "softmax({})"),
    "sort": (lambda a: jnp.sort(a, -1), "sort({})"),
    "row_of": (lambda table, ids: jnp.asarray(table)[ids], "{}[{}]"),
    "positive": (lambda a: a > 0.1, "({} > 0.1)"),
    "sum": (lambda a: a.sum(1), "{}.sum(1)"),
    "two": (lambda a: jnp.stack([a, 0.5 * a], 1), "two({})"),
}
UNARY = ("tanh", "jnp.tanh", "sigmoid", "sin", "half", "neg", "stop", "clip", "relu", "jit(tanh)", "custom_jvp", "loop",
         "remat", "halves")  # fmt: skip
BOUNDED = ("tanh", "jnp.tanh", "sigmoid", "sin", "clip", "jit(tanh)", "custom_jvp", "loop")
BINARY = ("+", "+", "+", "-", "*", "jit(+)", "jit(mix)", "maximum")


def _numbers(shape, k):
    """A constant of numpy's."""
    return np.cos(np.arange(np.prod(shape, dtype=int)).reshape(shape) + k) * 0.7


def _fit(a, width):
    """`a` with its last axis repeated or cut."""
    copies = -(-width // a.shape[-1])
    return jnp.concatenate([a] * copies, -1)[..., :width]


# What has arguments that are no expressions; `rows` is B.
SPECIAL = {
    "ones": (lambda rows, shape: jnp.ones((rows, *shape)), "ones[B, {}]"),
    "zeros": (lambda rows, shape: jnp.zeros((rows, *shape)), "zeros[B, {}]"),
    "numpy": (lambda rows, shape: np.broadcast_to(_numbers(shape, 1), (rows, *shape)), "numpy[B, {}]"),
    "constant": (lambda rows, shape, k: _numbers(shape, k), "numpy[{}]"),
    "broadcast": (lambda rows, a, shape: jnp.broadcast_to(a, (rows, *shape)), "broadcast({})"),
    "fit": (lambda rows, a, width: _fit(a, width), "fit({}, {})"),
    "column": (lambda rows, a, width: jnp.broadcast_to(a[:, None], (rows, width)), "column({}, {})"),
    "part": (lambda rows, a, i: jaxrnn.activate(a, jaxrnn.sigmoid, jaxrnn.tanh)[i], "activate({})[{}]"),
}


def evaluate(expr: tuple, known: dict, rows: int | None) -> Any:
    """An expression's value. Equal expressions are the very same array; `known` has those of the arguments."""
    if expr not in known:
        op, *args = expr
        special = op in SPECIAL
        is_expr = lambda arg: isinstance(arg, tuple) and arg and isinstance(arg[0], str)
        values = [evaluate(arg, known, rows) if is_expr(arg) else arg for arg in args]
        known[expr] = SPECIAL[op][0](rows, *values) if special else OPS[op][0](*values)
    return known[expr]


def text(expr: Any) -> str:
    """An expression as a formula."""
    if not (isinstance(expr, tuple) and expr and isinstance(expr[0], str)):
        return ", ".join(map(str, expr)) if isinstance(expr, tuple) else str(expr)
    op, *args = expr
    if op in ("x", "s", "z", "r", "g"):
        return f"{op}{args[0]}"
    if op == "p":
        return args[0]
    return (SPECIAL if op in SPECIAL else OPS)[op][1].format(*map(text, args))


# ---- trees: a structure, which says where each leaf goes, and the leaves


def build(structure: Any, leaves: list) -> Any:
    """A pytree of `leaves`."""
    if isinstance(structure, int):
        return leaves[structure]
    kind, *parts = structure
    parts = [build(part, leaves) for part in parts]
    if kind == "dict":
        return dict(zip("abcdefgh", parts, strict=False))
    return {"tuple": tuple, "list": list, "none": lambda _: None}[kind](parts)


def tree_text(structure: Any, leaves: list[str]) -> str:
    """The same as text."""
    if isinstance(structure, int):
        return leaves[structure]
    kind, *parts = structure
    parts = [tree_text(part, leaves) for part in parts]
    if kind == "dict":
        return "{" + ", ".join(f"{key}: {part}" for key, part in zip("abcdefgh", parts, strict=False)) + "}"
    one = "({},)" if len(parts) == 1 else "({})"
    return {"tuple": one, "list": "[{}]", "none": "None"}[kind].format(", ".join(parts))


@dataclasses.dataclass(frozen=True)
class Tree:
    """Leaves that have types and, but for the arguments, expressions."""

    structure: Any
    types: tuple
    exprs: tuple = ()

    def values(self, known: dict, rows: int | None) -> Any:
        return build(self.structure, [evaluate(expr, known, rows) for expr in self.exprs])

    def zeros(self, rows: int, dtype: Any) -> Any:
        """Arrays for an argument of `rows` rows."""
        shapes = [shape if kind == "raw" else (rows, *shape) for kind, shape in self.types]
        dtypes = [jnp.int32 if kind == "ids" else dtype for kind, _ in self.types]
        return build(self.structure, list(map(jnp.zeros, shapes, dtypes)))

    def sizes(self) -> Any:
        return build(self.structure, [shape[-1] if shape else 1 for _, shape in self.types])

    @property
    def is_plain(self) -> bool:
        """Whether it is one array [B, H]."""
        return self.structure == 0 and self.types[0][0] == "rows" and len(self.types[0][1]) == 1

    def __str__(self) -> str:
        axes = lambda kind, shape: f"[{', '.join(map(str, shape if kind == 'raw' else ('B', *shape)))}]"
        return tree_text(self.structure, [text(expr) for expr in self.exprs] or [axes(*each) for each in self.types])


@dataclasses.dataclass(frozen=True, repr=False)
class RandomCell(jaxrnn.RNNCell):
    """A cell that interprets its fields."""

    seed: int
    inputs: Tree
    state: Tree
    params: tuple  # (name, shape)
    z: Tree
    r: Tree
    g: Tree
    output: Tree
    new: Tree

    state_size = property(lambda self: self.state.sizes())
    output_size = property(lambda self: self.output.sizes())

    def init(self, key, input_size, dtype=jnp.float32):
        draw = lambda i, shape: jax.random.uniform(jax.random.fold_in(key, i), shape, dtype, -0.8, 0.8)
        return {name: draw(i, shape) for i, (name, shape) in enumerate(self.params)}

    def initial_state(self, batch_size, dtype=jnp.float32):
        return self.state.zeros(batch_size, dtype)

    def check_inputs(self, inputs):
        return None

    def project(self, params, inputs):
        return self._values(params, [self.z], x=inputs)[0]

    def recur(self, params, state):
        return self._values(params, [self.r], s=state)[0]

    def gates(self, params, z, r, state):
        return self._values(params, [self.g], z=z, r=r, s=state)[0]

    def combine(self, params, g, state):
        return tuple(self._values(params, [self.output, self.new], g=g, s=state))

    def _values(self, params, trees, **args):
        known, rows = {("p", name): value for name, value in params.items()}, None
        for name, arg in args.items():
            types = {"x": self.inputs, "s": self.state, "z": self.z, "r": self.r, "g": self.g}[name].types
            for i, (leaf, (kind, _)) in enumerate(zip(jax.tree.leaves(arg), types, strict=True)):
                known[name, i] = leaf
                rows = leaf.shape[0] if rows is None and kind != "raw" else rows
        return [tree.values(known, rows) for tree in trees]

    def __repr__(self):
        params = ", ".join(f"{name}{list(shape)}" for name, shape in self.params)
        return "\n  ".join(
            [
                f"RandomCell {self.seed}: x {self.inputs}, s {self.state}, params {{{params}}}",
                f"z = {self.z}",
                f"r = {self.r}",
                f"g = {self.g}",
                f"output = {self.output}",
                f"new state = {self.new}",
            ]
        )


# ---- drawing one


class Draw:
    """Draws expressions, and the params that they need."""

    def __init__(self, rng: np.random.Generator, with_params: bool):
        self.rng, self.with_params, self.params = rng, with_params, {}
        self.usual = (int(rng.integers(1, 5)),)
        self.aims = []  # shapes that r should have, to be added to z
        self.added = []  # what a gate has read as a sum

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, items: Any) -> Any:
        return items[self.rng.integers(len(items))]

    def weighted(self, weights: dict) -> Any:
        """A key of `weights`, of those whose weight is not zero."""
        values = np.array(list(weights.values()), float)
        return list(weights)[self.rng.choice(len(weights), p=values / values.sum())]

    def shape(self) -> tuple:
        """The axes behind the rows. The usual shape comes often, so that z and r can be added."""
        if self.aims and self.chance(0.75):
            return self.pick(self.aims)
        kind = self.weighted({"usual": 6, "wide": 3, "two": 0.7, "none": 0.4})
        width = int(self.rng.integers(1, 5))
        return {"usual": self.usual, "wide": (width,), "two": (2, width), "none": ()}[kind]

    def structure(self, count: int) -> Any:
        if count == 0:
            return self.pick([("tuple",), ("dict",), ("none",), ("list",)])
        if count == 1:
            return self.pick([0, 0, 0, 0, ("tuple", 0), ("dict", 0), ("tuple", ("none",), 0)])
        leaves = list(range(count))
        nested = self.pick(["tuple", "dict"]), *leaves[:-2], (self.pick(["dict", "tuple", "list"]), *leaves[-2:])
        return self.pick([("tuple", *leaves), ("tuple", *leaves), ("dict", *leaves), ("list", *leaves), nested])

    # ---- expressions

    def param(self, shape: tuple) -> tuple:
        alike = [name for name, other in self.params.items() if other == shape]
        if alike and self.chance(0.25):
            return "p", self.pick(alike)
        name = f"w{len(self.params)}"
        self.params[name] = shape
        return "p", name

    def raw(self, shape: tuple, sources: list) -> tuple:
        """Something of this shape that has no rows."""
        there = [expr for expr, kind in sources if kind == ("raw", shape)]
        if there and self.chance(0.7):
            return self.pick(there)
        if not self.with_params or self.chance(0.1):
            return "constant", shape, int(self.rng.integers(9))
        return self.param(shape)

    def source(self, sources: list, shape: tuple) -> tuple:
        """One of the arrays with rows that are there, made to be of this shape."""
        there = [(expr, kind[1]) for expr, kind in sources if kind[0] == "rows"]
        fitting = [each for each in there if each[1] == shape]
        return self.fitted(*self.pick(fitting if fitting and self.chance(0.7) else there), shape, sources)

    def fitted(self, expr: tuple, old: tuple, new: tuple, sources: list) -> tuple:
        if old == new:
            return expr
        width = new[-1] if new else 2
        if len(old) == 0:
            expr, old = ("column", expr, width), (width,)
        if len(old) == 2 and len(new) < 2:
            expr, old = ("sum", expr), old[1:]
        if old[-1] != width:
            by_product = self.with_params and self.chance(0.7)
            expr = ("@", expr, self.raw((old[-1], width), sources)) if by_product else ("fit", expr, width)
        if len(new) == 0:
            return "sum", expr
        return ("two", expr) if len(old) < len(new) else expr

    def product(self, sources: list, shape: tuple) -> tuple:
        """A matrix product of a source with weights."""
        there = [(expr, kind[1]) for expr, kind in sources if kind[0] == "rows" and kind[1]]
        if not there or not shape:
            return self.source(sources, shape)
        expr, old = self.pick(there)
        expr = self.fitted(expr, old, (*shape[:-1], old[-1]), sources) if len(old) != len(shape) else expr
        return "@", expr, self.raw((old[-1], shape[-1]), sources)

    def rows(self, sources: list, shape: tuple, depth: int) -> tuple:
        """Any expression with rows."""
        masks = [expr for expr, kind in sources if kind == ("mask", shape)]
        deeper = lambda: self.rows(sources, shape, depth - 1)
        kind = self.weighted(
            {
                "source": 4,
                "product": 3,
                "broadcast": 0.8,
                "constant": 0.3,
                "unary": 3 * (depth > 0),
                "binary": 4 * (depth > 0),
                "mask": 3 * bool(masks),
                "part": 0.8 * (depth > 0) * bool(shape),
            }
        )
        if kind == "source":
            return self.source(sources, shape)
        if kind == "product":
            return self.product(sources, shape)
        if kind == "broadcast":
            return "broadcast", self.raw(shape, sources), shape
        if kind == "constant":
            return self.pick(["ones", "zeros", "numpy"]), shape
        if kind == "unary":
            return self.pick(UNARY), deeper()
        if kind == "mask":
            return "where", self.pick(masks), deeper(), deeper()
        if kind == "part":
            return "part", self.rows(sources, (*shape[:-1], 2 * shape[-1]), depth - 1), int(self.rng.integers(2))
        return self.pick(BINARY), deeper(), deeper()

    def bounded(self, sources: list, shape: tuple) -> tuple:
        return self.pick(BOUNDED), self.rows(sources, shape, 2)

    # ---- the four functions

    def unread(self, sources: list, shape: tuple) -> tuple:
        """`(expr, type)` of what depends on none of the arguments: a parameter, a constant, of any shape."""
        shape = self.pick([shape, (), (3,), (2, 3), (*self.usual, 2), self.usual * 2, (2, 1, 2)])
        expr = self.raw(shape, sources)
        return (self.pick(["tanh", "sin", "half"]), expr) if self.chance(0.25) else expr, ("raw", shape)

    def leaf(self, sources: list, more: dict) -> tuple:
        """`(expr, type)` of a leaf of z, r or g; `more` has weights of the kinds."""
        shape, has_rows = self.shape(), any(kind[0] == "rows" for _, kind in sources)
        more = {**more, "again": more.get("again", 0) * bool(self.added)}
        kind = self.weighted(more if has_rows else {"unread": 1})
        if kind == "unread":
            return self.unread(sources, shape)
        if kind == "again":
            expr, kind = self.pick(self.added)
            return (self.pick(UNARY), expr) if self.chance(0.4) else expr, kind
        if kind == "itself":
            return self.pick([each for each in sources if each[1][0] == "rows" or self.chance(0.3)] or sources)
        if kind == "mask":
            return ("positive", self.rows(sources, shape, 1)), ("mask", shape)
        if kind == "stop":
            return ("stop", self.rows(sources, shape, 1)), ("rows", shape)
        if kind == "sum":
            return self.of_sum(sources)
        ids = [expr for expr, kind in sources if kind[0] == "ids"]
        if ids and shape and self.chance(0.5):
            return ("row_of", self.raw((IDS, *shape), sources), self.pick(ids)), ("rows", shape)
        make = {
            "product": lambda: self.product(sources, shape),
            "biased": lambda: ("+", self.product(sources, shape), ("broadcast", self.raw(shape, sources), shape)),
            "rows": lambda: self.rows(sources, shape, 2),
            "constant": lambda: (self.pick(["ones", "numpy", "zeros"]), shape),
            "broadcast": lambda: ("broadcast", self.raw(shape, sources), shape),
        }[kind]
        return make(), ("rows", shape)

    def of_sum(self, sources: list) -> tuple:
        """A gate of z + r, or of another pair of them."""
        first = [(expr, kind[1]) for expr, kind in sources if expr[0] == "z" and kind[0] == "rows"]
        if not first:
            return self.pick(sources)
        of_r = [kind for expr, kind in sources if expr[0] == "r"]
        matched = [each for each in first if ("rows", each[1]) in of_r]
        z, shape = self.pick(matched or first)
        alike = [expr for expr, kind in sources if expr[0] == "r" and kind == ("rows", shape)]
        r = self.pick(alike) if alike else self.source(sources, shape)
        added = self.pick(["+"] * 6 + ["jit(+)", "jit(mix)", "*", "-", "-"]), z, r
        self.added += [(each, ("rows", shape)) for each in (z, z, r, r, added)]
        if shape and shape[-1] % 2 == 0 and self.chance(0.3):
            return ("part", added, int(self.rng.integers(2))), ("rows", (*shape[:-1], shape[-1] // 2))
        return self.pick([added, (self.pick(UNARY), added), (self.pick(BOUNDED), added)]), ("rows", shape)

    def leaves(self, sources: list, weights: dict, counts: dict) -> Tree:
        leaves = []
        for _ in range(self.weighted(counts)):
            leaves.append(self.pick(leaves) if leaves and self.chance(0.12) else self.leaf(sources, weights))
        return self.tree(leaves)

    def tree(self, leaves: list) -> Tree:
        exprs, types = zip(*leaves, strict=True) if leaves else ((), ())
        return Tree(self.structure(len(leaves)), types, exprs)

    def new_leaf(self, sources: list, i: int, kind: tuple) -> tuple:
        """The new state's leaf i."""
        shape, state = kind[1], ("s", i)
        if kind[0] == "raw" or (not shape and self.chance(0.6)):
            return "plus_1", state  # a counter
        alike = [expr for expr, other in sources if other == kind]
        update = lambda: ("lerp", ("sigmoid", self.rows(sources, shape, 1)), state, self.bounded(sources, shape))
        make = {
            update: 4,
            lambda: self.bounded(sources, shape): 5,
            lambda: self.pick(alike): 3,
            lambda: state: 0.5,
            lambda: ("zeros", shape): 0.3,
            lambda: ("clip", ("*", state, self.rows(sources, shape, 1))): 1,
            lambda: ("+", ("half", state), self.source(sources, shape)): 1,
            lambda: ("tanh", ("*", state, ("broadcast", self.raw(shape, sources), shape))): 1,
        }
        return self.weighted(make)()

    def output_leaf(self, sources: list, new: list) -> tuple:
        """`(expr, type)` of a leaf of the output."""
        there = [each for each in sources if each[1][0] == "rows"]
        shape = self.shape()
        kind = self.weighted({"new": 5 * bool(new), "itself": 4, "constant": 0.4, "broadcast": 0.5, "rows": 5})
        if kind == "new":
            return self.pick(new)
        if kind == "itself":
            return self.pick(there)
        if kind == "constant":
            return (self.pick(["ones", "numpy"]), shape), ("rows", shape)
        if kind == "broadcast":
            return ("broadcast", self.raw(shape, sources), shape), ("rows", shape)
        return self.rows(sources, shape, 2), ("rows", shape)


COUNTS = {0: 0.6, 1: 5, 2: 4, 3: 1.5}
OF_ONE = {
    "product": 6,
    "biased": 2,
    "itself": 1.5,
    "unread": 0.8,
    "broadcast": 0.7,
    "constant": 0.5,
    "stop": 0.4,
    "rows": 2,
    "mask": 0.15,
}
OF_GATES = {
    "sum": 9,
    "again": 9,
    "rows": 3,
    "itself": 2,
    "product": 1,
    "unread": 0.7,
    "broadcast": 0.3,
    "constant": 0.5,
    "stop": 0.4,
    "mask": 0.3,
}


def numbered(name: str, tree: Tree) -> list:
    """The leaves of an argument as sources."""
    return [((name, i), kind) for i, kind in enumerate(tree.types)]


def draw_cell(rng: np.random.Generator, seed: int, inputs: Tree | None = None, plain_output: bool = False) -> RandomCell:
    """A random cell, of these inputs if they are given; `plain_output` asks for one array [B, H]."""
    while True:
        cell = _draw_cell(Draw(rng, rng.random() > 0.06), seed, inputs, plain_output)
        if cell is not None:
            return cell


def _draw_cell(draw: Draw, seed: int, inputs: Tree | None, plain_output: bool) -> RandomCell | None:
    rows = lambda count: tuple(("rows", draw.shape()) for _ in range(count))
    if inputs is None:
        count = draw.weighted({1: 7, 2: 2, 3: 1})
        types = rows(count)
        if count > 1 and draw.chance(0.15):
            types = (*types[:-1], ("ids", ()))
        inputs = Tree(draw.structure(count), types)
    count = draw.weighted({0: 0.5, 1: 5, 2: 3, 3: 1.5})
    types = rows(count)
    if types and draw.chance(0.02):
        types = (*types[:-1], ("raw", ()))  # belongs to no row
    state = Tree(draw.structure(count), types)
    if draw.with_params and draw.chance(0.3):
        draw.param(draw.shape())  # maybe unused
    of_state = numbered("s", state)
    z = draw.leaves(numbered("x", inputs), OF_ONE, COUNTS)
    draw.aims = [shape for kind, shape in z.types if kind == "rows"]
    r = draw.leaves(of_state, OF_ONE, COUNTS)
    draw.aims = []
    g = draw.leaves(numbered("z", z) + numbered("r", r) + of_state, OF_GATES, {0: 0.4, 1: 4, 2: 5, 3: 3})
    both = itertools.product(numbered("z", z), numbered("r", r))
    pairs = [(a, b, kind) for (a, kind), (b, other) in both if kind == other and kind[0] == "rows"]
    if pairs and draw.chance(0.3):  # a sum, one of whose terms is a gate too
        a, b, kind = draw.pick(pairs)
        gates = zip(g.exprs, g.types, strict=True)
        g = draw.tree([*gates, (("tanh", ("+", a, b)), kind), (draw.pick([a, b]), kind)])
    sources = numbered("g", g) + of_state
    if not any(kind[0] == "rows" for _, kind in sources):
        return None  # nothing says how many rows there are
    new = [(draw.new_leaf(sources, i, kind), kind) for i, kind in enumerate(types)]
    new_rows = [each for each in new if each[1][0] == "rows"]
    outputs = [draw.output_leaf(sources, new_rows) for _ in range(draw.weighted({0: 0.3 * bool(new), 1: 6, 2: 3, 3: 1}))]
    output = draw.tree(outputs)
    if plain_output:
        output = Tree(0, (("rows", draw.usual),), (draw.rows(sources, draw.usual, 2),))
    new = Tree(state.structure, types, tuple(expr for expr, _ in new))
    return RandomCell(seed, inputs, state, tuple(draw.params.items()), z, r, g, output, new)
