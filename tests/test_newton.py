"""Runs that Newton's method solves, beside the numpy loop and JAX's derivative of a plain loop."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

import jaxrnn
from jaxrnn.analysis import lyapunov
from jaxrnn.engine.fixed_point import iterate, recurrence
from jaxrnn.engine.jaxpr_queries import unit_by_unit
from tests import oracle
from tests.rows import ROWS, B, D, fast_if, plain, problem

pytestmark = pytest.mark.usefixtures("one_device")

ROW = {row.name: row for row in ROWS}
CELLS = ("basic", "gru", "gru_reset_before", "lstm", "lstm_peephole", "lstm_projected")
LENGTHS = np.array([9, 0, 24, 17])


def flags(time=24, seed=3):
    rng = np.random.default_rng(seed)
    resets, mask = rng.random((B, time)) < 0.15, rng.random((B, time)) < 0.8
    resets[2, 4], mask[2, 4:6] = True, False  # a reset at a step that is left out
    return {"sequence_length": LENGTHS.clip(max=time), "resets": resets, "mask": mask}


def close(got, want, tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(initial=0), 1e-30))


def loop(cell, params, inputs, state, sequence_length=None, resets=None, mask=None, reset_state=None, reverse=False):
    """`(outputs, state)` by `lax.scan` of the cell's step."""
    batch, time = jax.tree.leaves(inputs)[0].shape[:2]
    zero = jax.tree.map(jnp.zeros_like, state) if reset_state is None else reset_state
    lengths = jnp.full(batch, time) if sequence_length is None else jnp.asarray(sequence_length)
    none = jnp.zeros((batch, time), bool)
    resets, mask = none if resets is None else jnp.asarray(resets), ~none if mask is None else jnp.asarray(mask)
    where = lambda rows, a, b: jax.tree.map(lambda a, b: jnp.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b), a, b)

    def step(state, item):
        t, x, reset, runs = item
        state = where(reset & (t < lengths), zero, state)
        valid = runs & (t < lengths)
        output, new = cell(params, where(valid, x, jax.tree.map(jnp.ones_like, x)), state)
        return where(valid, new, state), where(valid, output, jnp.zeros_like(output))

    items = jnp.arange(time), *jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (inputs, resets, mask))
    state, outputs = lax.scan(step, state, items, reverse=reverse)
    return jnp.swapaxes(outputs, 0, 1), state


def value_and_gradient(run, *args):
    """`(outputs, state)` of `run(*args)`, and the gradients of a loss with random weights in all of them."""
    weights = lambda tree: jax.tree.map(lambda a: np.random.default_rng(a.size).standard_normal(a.shape).astype(a.dtype), tree)

    def loss(*args):
        out = run(*args)
        return sum(jnp.vdot(a, w) for a, w in zip(jax.tree.leaves(out), jax.tree.leaves(weights(out)), strict=True)), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, range(len(args)), has_aux=True))(*args)
    return out, gradients


def newton(cell, **options):
    return lambda params, inputs, state: jaxrnn.dynamic_rnn(
        cell, params, inputs, **{"initial_state": state, "parallel": "newton", **options}
    )


def usual(name, scale=1, time=24, num_units=None, dtype=np.float64, batch=B):
    """(cell, params, inputs, state): weights as the cell's `init` draws them, times `scale`, and random biases."""
    row = ROW[name]
    cell = row.cell if num_units is None else dataclasses.replace(row.cell, num_units=num_units)
    rng, params = np.random.default_rng(1), cell.init(jax.random.key(1), D, dtype)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    draw = lambda path, leaf: leaf * scale if "kernel" in path[-1].key else leaf + 0.1 * rng.standard_normal(leaf.shape)
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: draw(path, leaf).astype(dtype), params)
    state = jax.tree.map(lambda s: 0.3 * rng.standard_normal(s.shape).astype(dtype), cell.initial_state(batch, dtype))
    return cell, params, rng.standard_normal((batch, time, D)).astype(dtype), state


# ---- values and gradients


@pytest.mark.parametrize("name", fast_if(lambda name: name == "lstm", CELLS))
def test_values_and_gradients_are_the_loops(name, x64):
    row, options, reverse = ROW[name], flags(), name in CELLS[::2]
    cell, *args = usual(name)
    got = value_and_gradient(newton(cell, chunk_size=10, reverse=reverse, **options), *args)
    close(got, value_and_gradient(functools.partial(loop, cell, reverse=reverse, **options), *args), 1e-9)
    lengths, resets, mask = options.values()
    close(got[0], oracle.rnn(row.step, *args[:2], plain(args[2]), lengths, resets, reverse, mask=mask), 1e-9)
    report = jaxrnn.newton_report(cell, *args[:2], initial_state=args[2], chunk_size=10, reverse=reverse, **options)
    assert not report.fell_back.any()
    assert not report.adjoint_fell_back.any()


SCALES = [(name, scale, time, dtype) for name in CELLS for scale in (1, 2, 4) for time in (200, 2000) for dtype in ("f4", "f8")]
FAST = [("gru", 1, 200, "f4"), ("lstm_projected", 4, 200, "f4")]


@pytest.mark.parametrize(("name", "scale", "time", "dtype"), fast_if(lambda case: case in FAST, SCALES))
def test_large_weights_and_long_sequences(name, scale, time, dtype, x64):
    """A chaotic state is compared for as many steps as the loop's own is the same where its start is rounded otherwise."""
    cell, *args = usual(name, scale, time, num_units=9, dtype=np.dtype(dtype), batch=6)
    tolerance, moved = (1e-5, 1 + 2**-22) if dtype == "f4" else (1e-9, 1 + 2**-50)
    plainly = lambda *args: jaxrnn.dynamic_rnn(cell, *args[:2], initial_state=args[2])
    (outputs, state), gradients = value_and_gradient(newton(cell), *args)
    (want, want_state), want_gradients = value_and_gradient(plainly, *args)
    shaken, _ = plainly(*args[:2], jax.tree.map(lambda leaf: (leaf * moved).astype(dtype), args[2]))
    parts = np.asarray(abs(shaken - want) > tolerance).any((0, 2))
    steps = int(np.argmax(parts)) if parts.any() else time
    assert steps == time or (scale > 1 and steps > (5 if dtype == "f4" else 20))
    close(outputs[:, :steps], want[:, :steps], tolerance)
    if steps == time:
        close((state, gradients), (want_state, want_gradients), tolerance)
    report = jaxrnn.newton_report(cell, *args[:2], initial_state=args[2])
    if scale != 2:
        assert report.fell_back.any() == (scale == 4)


def test_of_a_chaotic_cell_the_steps_are_run_one_by_one(x64):
    row, (cell, params, *args) = ROW["gru"], usual("gru", time=120)
    args = {**params, "recurrent_kernel": 8 * params["recurrent_kernel"]}, *args
    assert lyapunov(cell, *args[:2], initial_state=args[2]).max() > 0.05
    report = jaxrnn.newton_report(cell, *args[:2], initial_state=args[2], chunk_size=60)
    assert report.fell_back.all()
    assert (report.iterations < 30).all()  # it stalls
    assert (report.residual > 0.1).all()
    got = value_and_gradient(newton(cell, chunk_size=60), *args)
    close(got[0], oracle.rnn(row.step, *args[:2], plain(args[2])), 1e-9)
    close(got[1], value_and_gradient(functools.partial(loop, cell), *args)[1], 1e-9)


def test_few_iterations_are_not_enough_and_the_value_is_the_same(x64):
    cell, *args = usual("gru", time=40)
    options = jaxrnn.Newton(max_iterations=3)
    report = jaxrnn.newton_report(cell, *args[:2], initial_state=args[2], parallel=options)
    assert report.fell_back.all()
    assert report.adjoint_fell_back.all()
    assert report.iterations.tolist() == report.adjoint_iterations.tolist() == [[3]]
    got = value_and_gradient(newton(cell, parallel=options), *args)
    close(got, value_and_gradient(functools.partial(loop, cell), *args), 1e-12)


def test_a_loose_tolerance_takes_fewer_iterations(x64):
    cell, *args = usual("gru", time=40)
    count = lambda tolerance: jaxrnn.newton_report(cell, *args[:2], parallel=jaxrnn.Newton(tolerance)).iterations[0, 0]
    assert 1 < count(1e-3) < count(1e-6) < count(None)
    loose = newton(cell, parallel=jaxrnn.Newton(1e-3))(*args)
    close(loose, loop(cell, *args), 1e-2)


def test_the_tolerance_is_relative_to_each_row(x64):
    """Rows of tiny and of huge states are as exact as others."""
    cell = jaxrnn.BasicRNNCell(5, activation=lambda a: 0.5 * a)
    _, params, inputs, state = usual("basic")
    factors = 10.0 ** np.array([-20, 0, 8, 15])[:, None]
    inputs, state, params = inputs * factors[:, None], state * factors, {**params, "bias": 0 * params["bias"]}
    outputs, last = newton(cell)(params, inputs, state)
    want, want_last = loop(cell, params, inputs, state)
    close((outputs / factors[:, None], last / factors), (want / factors[:, None], want_last / factors), 1e-9)


# ---- the recurrence of the corrections


@pytest.mark.parametrize("name", [name for name in CELLS if name != "gru_reset_before"])
def test_the_derivative_unit_by_unit(name, x64):
    params, inputs, state = problem(ROW[name])
    new = lambda state: ROW[name].cell(params, inputs[:, 0], state)[1]
    got = unit_by_unit(jax.linearize(new, state)[1], state)
    leaves, structure = jax.tree.flatten(state)
    whole = jax.jacrev(lambda leaves: jax.tree.leaves(new(structure.unflatten(leaves))))(leaves)
    sizes = [leaf.shape[1] for leaf in leaves]
    assert got.keys() == {(i, j) for i in range(len(sizes)) for j in range(i + 1) if sizes[i] == sizes[j]}
    for (i, j), derivative in got.items():
        if name == "lstm_projected" and i == 1:
            want = np.zeros((B, sizes[1]))  # between h and h there is a product that is no square
        else:
            want = np.einsum("bnbn->bn", whole[i][j])
        np.testing.assert_allclose(derivative, want, atol=1e-12)
    assert all(abs(d).max() > 0.01 for (i, _), d in got.items() if not (name == "lstm_projected" and i == 1))


def test_of_two_products_in_a_row_each_has_its_diagonal(x64):
    p, inputs, h = problem(ROW["gru_reset_before"])
    new = lambda state: ROW["gru_reset_before"].cell(p, inputs[:, 0], state)[1]
    r, u, n = np.split(inputs[:, 0] @ p["kernel"] + p["bias"][None], 3, 1)
    (ur, uu, un), sigmoid = np.split(p["recurrent_kernel"], 3, 1), oracle.sigmoid
    r, u = sigmoid(r + h @ ur), sigmoid(u + h @ uu)
    n = np.tanh(n + (r * h) @ un)
    dr, du = r * (1 - r) * np.diag(ur), u * (1 - u) * np.diag(uu)
    dn = (1 - n**2) * np.diag(un) * (r + dr * h)
    got = unit_by_unit(jax.linearize(new, h)[1], h)
    np.testing.assert_allclose(got[0, 0], u + du * (h - n) + (1 - u) * dn, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_recurrence_of_a_triangular_matrix(transposed, x64):
    rng, time = np.random.default_rng(0), 6
    a = {key: rng.standard_normal((time, 1, 2)) for key in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 2)]}
    r = [rng.standard_normal((time, 1, 2)) for _ in range(3)]
    system = np.eye(3 * time * 2).reshape(3, time, 2, 3, time, 2)
    for (i, j), leaf in a.items():
        for t in range(1, time):
            for unit in range(2):
                system[i, t, unit, j, t - 1, unit] = -leaf[t, 0, unit]
    system = system.reshape(3 * time * 2, -1)
    want = np.linalg.solve(system.T if transposed else system, np.ravel(r)).reshape(3, time, 1, 2)
    np.testing.assert_allclose(recurrence(a, r, transposed), want, atol=1e-12)


def test_the_iterations_end_where_nothing_changes_or_is_finite():
    run = lambda correct, guess: iterate(correct, guess, lambda: jnp.full(3, 7.0)[:, None], jaxrnn.Newton(1e-3))
    x, how = run(lambda x: (4 - x, (4 - x) / 2), jnp.zeros((3, 1)))
    np.testing.assert_allclose(x, 4, rtol=1e-3)
    assert 8 < how.iterations < 14
    assert not how.fell_back
    x, how = run(lambda x: (jnp.ones_like(x), 0 * x), jnp.zeros((3, 1)))
    assert (x == 7).all()
    assert how.iterations == 21
    x, how = run(lambda x: (x * jnp.inf, x), jnp.ones((3, 1)))
    assert (x == 7).all()
    assert how.iterations == 1


@pytest.mark.parametrize(
    ("cell", "most"), [(jaxrnn.contrib.SRUCell(5), 2), (jaxrnn.contrib.IndRNNCell(5), 8), (jaxrnn.contrib.IndyGRUCell(5), 12)]
)
def test_cells_without_products_take_few_iterations(cell, most, x64):
    """The adjoint of one part of a state that no product mixes is solved at once; the second iteration sees that."""
    params, inputs = cell.init(jax.random.key(0), D, jnp.float64), jax.random.normal(jax.random.key(1), (B, 100, D))
    report = jaxrnn.newton_report(cell, params, inputs)
    assert report.iterations[0, 0] <= most
    assert report.adjoint_iterations[0, 0] == 2
    assert not report.fell_back.any()


# ---- padding


def test_nan_in_the_padding_and_in_front_of_a_reset(x64):
    cell, params, inputs, state = usual("lstm")
    options = flags()
    valid = options["mask"] & (np.arange(24) < options["sequence_length"][:, None])
    dirty = np.where(valid[..., None], inputs, np.nan)
    run = newton(cell, chunk_size=8, **options)
    (out, gradient), (dirty_out, dirty_gradient) = (value_and_gradient(run, params, x, state) for x in (inputs, dirty))
    close(dirty_out, out, 1e-12)
    close(dirty_gradient, gradient, 1e-12)
    assert not jaxrnn.newton_report(cell, params, dirty, initial_state=state, **options).fell_back.any()
    state.c[3], resets = np.nan, np.zeros((B, 24), bool)
    resets[3, 5] = True
    outputs, _ = newton(cell, resets=resets)(params, inputs, state)
    want, _ = loop(cell, params, inputs, state, resets=resets)
    assert np.isnan(want[3, :5]).all()
    close(outputs[:, 5:], want[:, 5:], 1e-9)


@pytest.mark.slow
def test_a_state_to_go_back_to_has_a_gradient(x64):
    cell, params, inputs, state = usual("gru")
    again, options = state + 1, flags()
    run = lambda params, again: jaxrnn.dynamic_rnn(cell, params, inputs, reset_state=again, parallel="newton", **options)
    plainly = lambda params, again: loop(cell, params, inputs, 0 * state, reset_state=again, **options)
    close(value_and_gradient(run, params, again), value_and_gradient(plainly, params, again), 1e-9)


@pytest.mark.parametrize(("batch", "time"), [(0, 5), (3, 0), (3, 1)])
def test_no_rows_and_few_steps(batch, time):
    cell, params, inputs, _ = usual("lstm", dtype=np.float32)
    inputs = inputs[:batch, :time]
    run = lambda parallel: jaxrnn.dynamic_rnn(cell, params, inputs, parallel=parallel)
    close(run("newton"), run(None), 1e-6)


# ---- modes, transformations


@pytest.mark.parametrize(
    "options",
    fast_if(
        lambda options: options == {"memory": "recursive"},
        [{"memory": "recompute"}, {"memory": "recursive"}, {"memory": "offload"}, {"memory": 10**6}, {"time_major": True}],
    ),
    ids=str,
)
def test_memory_modes_and_layouts(options, x64):
    cell, *args = usual("gru", time=24)
    swap = (lambda a: jnp.swapaxes(a, 0, 1)) if "time_major" in options else (lambda a: a)
    run = lambda params, inputs, state: newton(cell, chunk_size=8, **options)(params, swap(inputs), state)
    swapped = lambda *args: (lambda outputs, state: (swap(outputs), state))(*run(*args))
    close(value_and_gradient(swapped, *args), value_and_gradient(functools.partial(loop, cell), *args), 1e-9)


def test_shorter_chunks_and_recomputing_take_less_memory(compiled_for_a_cpu):
    cell, params, inputs, _ = usual("gru", time=512, num_units=16, dtype=np.float32)

    def size(**options):
        loss = lambda params: jaxrnn.dynamic_rnn(cell, params, inputs, parallel="newton", **options)[1].sum()
        return jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert size(chunk_size=64) < 0.4 * size(chunk_size=512)
    assert size(chunk_size=64, memory="recompute") < 0.8 * size(chunk_size=64)


def test_stacks_wrappers_and_dropout(x64):
    inner = jaxrnn.DropoutWrapper(jaxrnn.BasicRNNCell(D), 0.7, 0.7, 0.7)
    cell = jaxrnn.MultiRNNCell([jaxrnn.ResidualWrapper(inner), jaxrnn.GRUCell(5)])
    params = cell.init(jax.random.key(0), D, jnp.float64)
    inputs, options = usual("gru")[2], {**flags(), "key": jax.random.key(2), "chunk_size": 24}
    run = lambda parallel: lambda params, inputs: jaxrnn.dynamic_rnn(cell, params, inputs, parallel=parallel, **options)
    close(value_and_gradient(run("newton"), params, inputs), value_and_gradient(run(None), params, inputs), 1e-9)
    report = jaxrnn.newton_report(cell, params, inputs, **options)
    assert report.iterations.shape == report.adjoint_fell_back.shape == (2, 1)


def test_both_directions(x64):
    (fw, of_fw, inputs, _), (bw, of_bw, *_) = usual("basic"), usual("gru")
    run = lambda parallel: jaxrnn.stack_bidirectional_dynamic_rnn(
        [fw], [bw], [(of_fw, of_bw)], inputs, sequence_length=LENGTHS, parallel=parallel
    )
    close(run("newton"), run(None), 1e-9)
    report = lambda inputs, **options: jaxrnn.newton_report(fw, of_fw, inputs, chunk_size=6, **options).iterations.tolist()
    assert report(jnp.swapaxes(inputs, 0, 1), time_major=True) == report(inputs)


@pytest.mark.slow
def test_a_cell_that_draws_in_its_own_functions(x64):
    @dataclasses.dataclass(frozen=True)
    class Noisy(jaxrnn.BasicRNNCell):
        def project(self, params, inputs, *, key=None):
            z = super().project(params, inputs)
            return z if key is None else z + jax.random.normal(key.step, z.shape)

    cell, (_, *args) = Noisy(5), usual("basic")
    run = lambda parallel: lambda *args: newton(cell, parallel=parallel, key=jax.random.key(2))(*args)
    close(value_and_gradient(run("newton"), *args), value_and_gradient(run(None), *args), 1e-9)
    quiet = run("newton")(*args)[0] - newton(cell)(*args)[0]
    assert abs(quiet).min() > 0


def test_vmap_over_params_some_of_which_are_chaotic(x64):
    cell, params, inputs, state = usual("gru", time=60)
    chaotic = {**params, "recurrent_kernel": 8 * params["recurrent_kernel"]}
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, chaotic, jax.tree.map(lambda leaf: leaf / 2, params))
    run = lambda run: lambda several, inputs, state: jax.vmap(lambda params: run(params, inputs, state))(several)
    close(value_and_gradient(run(newton(cell)), several, inputs, state),
          value_and_gradient(run(functools.partial(loop, cell)), several, inputs, state), 1e-9)  # fmt: skip
    report = jax.jit(jax.vmap(lambda params: jaxrnn.newton_report(cell, params, inputs)))(several)
    assert report.fell_back[:, 0, 0].tolist() == [False, True, False]


@pytest.mark.slow
def test_forward_mode_and_second_derivatives(x64):
    cell, params, inputs, state = usual("gru", time=4)
    of_state = lambda run: lambda state: sum((leaf**3).sum() for leaf in run(params, inputs, state))
    ours, plainly = of_state(newton(cell)), of_state(functools.partial(loop, cell))
    close(jax.jvp(ours, (state,), (state + 1,)), jax.jvp(plainly, (state,), (state + 1,)), 1e-9)
    close(jax.hessian(ours)(state), jax.hessian(plainly)(state), 1e-9)


def test_split_over_devices():
    cell, params, inputs, state = usual("lstm", dtype=np.float32)
    inputs, state = jnp.concatenate([inputs, 2 * inputs]), jax.tree.map(lambda s: jnp.concatenate([s, 2 * s]), state)
    rows, whole = PartitionSpec("rows"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()), ("rows",))

    def gradient(params, inputs, state):
        loss = lambda *args: sum((leaf**2).sum() for leaf in jax.tree.leaves(newton(cell, chunk_size=10)(*args)))
        value, gradients = jax.value_and_grad(loss, (0, 1))(params, inputs, state)
        return value[None], gradients

    specs = {"mesh": mesh, "in_specs": (whole, rows, rows), "out_specs": (rows, (whole, rows))}
    values, gradients = jax.jit(jax.shard_map(gradient, **specs))(params, inputs, state)
    value, want = jax.jit(gradient)(params, inputs, state)
    close((values.sum(), gradients), (value[0], want), 2e-5)


def test_an_equal_cell_with_equal_options_is_not_traced_again():
    traces = []

    @dataclasses.dataclass(frozen=True)
    class Counted(jaxrnn.GRUCell):
        def recur(self, params, state):
            traces.append(1)
            return super().recur(params, state)

    _, params, inputs, _ = usual("gru", dtype=np.float32)
    run = lambda **options: jaxrnn.dynamic_rnn(Counted(5), params, inputs, **options)
    run(parallel="newton")
    count = len(traces)
    run(parallel=jaxrnn.Newton())
    assert len(traces) == count
    run(parallel=jaxrnn.Newton(max_iterations=7))
    assert len(traces) > count


@pytest.mark.parametrize("dtype", fast_if(lambda dtype: dtype == jnp.bfloat16, [jnp.bfloat16, jnp.float16]))
def test_small_dtypes(dtype):
    cell, *args = usual("gru", time=40, dtype=np.float32)
    args = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), args)
    outputs, state = newton(cell)(*args)
    assert outputs.dtype == state.dtype == dtype
    want, _ = loop(cell, *jax.tree.map(lambda leaf: leaf.astype(jnp.float32), args))
    assert abs(outputs.astype(jnp.float32) - want).max() < 8 * float(jnp.finfo(dtype).eps)
    assert not jaxrnn.newton_report(cell, *args[:2], initial_state=args[2]).fell_back.any()


def test_products_inside_the_iterations_have_full_precision():
    cell, *args = usual("gru", dtype=np.float32)
    run = lambda parallel: jax.make_jaxpr(lambda *args: newton(cell, parallel=parallel)(*args))(*args)
    assert "HIGHEST" in str(run("newton"))
    assert "HIGHEST" not in str(run(None))


# ---- other platforms


def test_lowered_for_all_platforms():
    cell, params, inputs, _ = usual("gru", dtype=np.float32)
    loss = lambda params, inputs: (jaxrnn.dynamic_rnn(cell, params, inputs, parallel="newton", chunk_size=8)[0] ** 2).sum()
    b, n = jax.export.symbolic_shape("b, n")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
    for platform in ("cuda", "tpu", "cpu"):
        with jaxrnn.tuned_for(platform):
            program = jax.export.export(gradient, platforms=[platform])(
                shapes, jax.ShapeDtypeStruct((b, 8 * n, D), jnp.float32)
            )
        assert program.platforms == (platform,)
    want = jax.value_and_grad(lambda *args: (loop(cell, *args, cell.initial_state(B))[0] ** 2).sum(), (0, 1))
    close(program.call(params, inputs), want(params, inputs), 1e-4)


@pytest.mark.slow
def test_what_a_gpu_runs(on_a_gpu, x64):
    cell, *args = usual("basic")
    got = value_and_gradient(newton(cell, chunk_size=8, **flags()), *args)
    close(got, value_and_gradient(functools.partial(loop, cell, **flags()), *args), 1e-9)


# ---- errors


class OwnCall(jaxrnn.GRUCell):
    def __call__(self, params, inputs, state, *, key=None):
        return super().__call__(params, inputs, state)


def counting(params, inputs, state):
    return inputs, state


@dataclasses.dataclass(frozen=True)
class Counter(jaxrnn.BasicRNNCell):
    def initial_state(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, self.num_units), jnp.int32)


def call(cell=ROW["gru"].cell, runner=jaxrnn.dynamic_rnn, **options):
    params, inputs = ROW["gru"].cell.init(jax.random.key(0), D), jnp.ones((2, 6, D))
    return lambda: runner(cell, params, inputs, **{"parallel": "newton", **options})


FOUR = r"parallel: expected a cell in four functions, or one made of such cells, got .*Write it as a jaxrnn.RNNCell"
ERRORS = [
    (call(counting, initial_state=jnp.ones((2, 5))), TypeError, FOUR),
    (call(OwnCall(5)), TypeError, FOUR),
    (call(parallel="picard"), ValueError, "parallel: expected None, 'newton' or a jaxrnn.Newton, got 'picard'"),
    (call(parallel=True), ValueError, "parallel: expected None, 'newton' or a jaxrnn.Newton, got True"),
    (call(runner=jaxrnn.newton_report, parallel=None), ValueError, "parallel: expected 'newton' or a jaxrnn.Newton, got None"),
    (lambda: jaxrnn.Newton(tolerance=0), ValueError, "Newton: expected tolerance to be above 0, got 0.*that of its dtype"),
    (lambda: jaxrnn.Newton(max_iterations=0), ValueError, "Newton: expected max_iterations to be at least 1, got 0"),
    (lambda: jaxrnn.Newton("1e-3"), TypeError, "Newton: expected tolerance to be a number"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_state_of_integers_has_no_newton():
    cell = Counter(5)
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(ValueError, match=r"parallel: expected state of Counter\(.*to be floating \[B, ...\] with B = 2.*Leave"):
        jaxrnn.dynamic_rnn(cell, params, jnp.ones((2, 6, D)), parallel="newton")


def test_a_symbolic_length_needs_a_chunk_size():
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("2, t, 3"), jnp.float32)
    run = jax.jit(lambda params, inputs: jaxrnn.dynamic_rnn(ROW["gru"].cell, params, inputs, parallel="newton"))
    params = jax.eval_shape(lambda: ROW["gru"].cell.init(jax.random.key(0), D))
    with pytest.raises(ValueError, match=r"parallel: expected a known number of .* symbolic T = t. Give a chunk_size"):
        jax.export.export(run)(params, shape)
