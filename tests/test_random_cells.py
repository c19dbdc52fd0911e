"""Random cells, some of each kind, and small ones that a search has found to be run wrong.

`python tests/search_random_cells.py` runs any number of them.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.random_cells import RandomCell, Tree, draw_cell
from tests.random_runs import check_case, draw_case, step_by_hand, usual_case
from tests.rows import fast_if

ROWS, RAW = ("rows", (3,)), ("raw", (3,))
X, S, Z, R, G = (("x", 0), ("s", 0), ("z", 0), ("r", 0), ("g", 0))
XW, SU = ("@", X, ("p", "w")), ("@", S, ("p", "u"))
B, W = ("p", "b"), ("p", "w")
ZR = ("+", Z, R)


def tree(*leaves):
    """A tuple of leaves, each an expression with rows or `(expression, type)`."""
    leaves = [leaf if isinstance(leaf[0], tuple) else (leaf, ROWS) for leaf in leaves]
    return Tree(("tuple", *range(len(leaves))), tuple(kind for _, kind in leaves), tuple(expr for expr, _ in leaves))


def cell(z=(XW,), r=(SU,), g=(("tanh", ZR),), output=(G,), new=(G,), params=(("w", (3, 3)), ("u", (3, 3)), ("b", (3,)))):
    """A cell of width 3."""
    state = Tree(("tuple", *range(len(new))), (ROWS,) * len(new))
    new = tree(*new)
    return RandomCell(0, Tree(0, (ROWS,)), state, params, tree(*z), tree(*r), tree(*g), tree(*output), new)


FOUND = {
    "z is a gate, and part of a sum": cell(g=(("tanh", ZR), Z), new=(("lerp", ("sigmoid", ("g", 1)), S, G),)),
    "r is a gate, and part of a sum": cell(g=(("tanh", ZR), R), new=(("lerp", ("sigmoid", ("g", 1)), S, G),)),
    "the sum is a gate": cell(g=(ZR, ("tanh", ZR)), new=(("tanh", G),), output=(("g", 1), G)),
    "z is a constant of a sum": cell(z=(("ones", (3,)),), g=(("tanh", ZR), Z)),
    "z and r are the same gate twice": cell(g=(ZR, ZR), new=(("tanh", ("+", G, ("g", 1))),)),
    "gates keep nothing new": cell(g=(Z, S), new=(("tanh", ("+", G, ("g", 1))),)),
    "gates are the state": cell(g=(S,), output=(("tanh", G),), new=(("sin", G),)),
    "gates are parameters": cell(
        g=((B, RAW),), output=(("broadcast", G, (3,)),), new=(("tanh", ("+", S, ("broadcast", G, (3,)))),)
    ),
    "gates are constants": cell(g=(("numpy", (3,)),), new=(("sin", ("+", S, G)),)),
    "no z": cell(z=(), g=(("tanh", R),)),
    "no r": cell(r=(), g=(("tanh", ("+", Z, S)),)),
    "no z, no r": cell(z=(), r=(), g=(("tanh", S),)),
    "no gates": cell(g=(), output=(S,), new=(("tanh", ("@", S, W)),)),
    "no state": cell(r=(), g=(("tanh", Z),), new=()),
    "no output": cell(output=()),
    "no params": cell(z=(X,), r=(S,), params=()),
    "z is the input": cell(z=(X,), g=(("tanh", ZR), Z)),
    "r is the state": cell(r=(S,), g=(("tanh", ZR), R)),
    "z is a vector": cell(z=(XW, (B, RAW)), g=(("tanh", ("+", ZR, ("broadcast", ("z", 1), (3,)))),)),
    "z is a matrix": cell(z=(XW, (("p", "u"), ("raw", (3, 3)))), r=(S,), g=(("tanh", ("+", Z, ("@", R, ("z", 1)))),)),
    "z is a scalar": cell(z=(XW, (("constant", (), 1), ("raw", ()))), output=(G,)),
    "r is a vector": cell(r=(SU, (B, RAW)), g=(("tanh", ("+", ZR, ("broadcast", ("r", 1), (3,)))),)),
    "r is a vector alone": cell(r=((B, RAW),), g=(("tanh", ("+", Z, ("broadcast", R, (3,)))),)),
    "a gate is a mask": cell(g=(("tanh", ZR), (("positive", Z), ("mask", (3,)))), new=(("where", ("g", 1), G, S),)),
    "z is a mask": cell(
        z=(XW, (("positive", XW), ("mask", (3,)))), g=(("where", ("z", 1), ("tanh", ZR), R),), new=(("tanh", G),)
    ),
    "masks in front of a sum": cell(
        z=((("positive", XW), ("mask", (3,))), XW),
        r=((("positive", SU), ("mask", (3,))), SU),
        g=(("tanh", ("+", ("z", 1), ("r", 1))), (("z", 0), ("mask", (3,)))),
        new=(("where", ("g", 1), G, S),),
    ),
    "a sum within a jitted function": cell(g=(("tanh", ("jit(+)", Z, R)), Z)),
    "gates are outputs": cell(g=(("clip", ZR), Z), output=(("g", 1), G, S), new=(("tanh", G),)),
}


WAYS = {
    "whole rows, save": {"lengths": None},
    "ragged rows, recompute": {"options": {"memory": "recompute", "chunk_size": 2}},
    "whole rows, offload": {"lengths": None, "options": {"memory": "offload", "chunk_size": 5}},
}


PAIRS = list(itertools.product(FOUND, WAYS))
ONE_WAY_EACH = list(zip(FOUND, itertools.cycle(WAYS), strict=False))


@pytest.mark.parametrize(("name", "way"), fast_if(lambda pair: pair in ONE_WAY_EACH, PAIRS))
def test_cells_that_were_run_wrong(name, way, x64):
    assert check_case(usual_case(FOUND[name], **WAYS[way]))


@pytest.mark.parametrize("seed", fast_if(lambda seed: seed < 5, range(24)))
def test_cells_in_four_functions(seed, x64):
    check_case(draw_case(seed))


@pytest.mark.parametrize("seed", fast_if(lambda seed: seed < 3, range(8)))
@pytest.mark.parametrize("kind", ["stack", "function"])
def test_stacks_and_functions(kind, seed, x64):
    check_case(draw_case(seed, kind))


def test_random_cells_keep_the_contract(x64):
    """Each row alone: the search is no search if its cells are none."""
    for seed in range(15):
        cell = draw_cell(np.random.default_rng(seed), seed)
        case = usual_case(cell, lengths=None)
        params, inputs, state, _ = case.point
        x = jax.tree.map(lambda leaf: leaf[:, 0], inputs)
        rows = lambda tree: jax.tree.map(lambda leaf: leaf[2:3] if leaf.ndim else leaf, tree)
        want = rows(step_by_hand(cell, params, x, state))
        got = step_by_hand(cell, params, rows(x), rows(state))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, want)


def test_a_wrong_result_is_seen(x64, monkeypatch):
    case = usual_case(FOUND["no params"])
    assert check_case(case)
    monkeypatch.setattr("tests.random_runs.by_jaxrnn", lambda case, *point: jax.tree.map(jnp.sin, point[1:3]))
    with pytest.raises(AssertionError):
        check_case(case)
