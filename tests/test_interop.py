"""Weights in and out of every framework: round trips, names, and every error by its text. test_goldens.py has the numbers."""

import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import (
    from_equinox,
    from_flax,
    from_haiku,
    from_keras,
    from_tf1,
    from_torch,
    read_tf1_checkpoint,
    to_equinox,
    to_flax,
    to_haiku,
    to_keras,
    to_tf1,
    to_torch,
)
from tests.frameworks import FILES, cell_of, framework, weights_of

D = 3
BASIC, LSTM, GRU = jaxrnn.BasicRNNCell(5), jaxrnn.LSTMCell(5), jaxrnn.GRUCell(5)
TF1_GRU = jaxrnn.GRUCell(5, reset_after=False)
FULL = jaxrnn.LSTMCell(5, use_peepholes=True, cell_clip=1.0, num_proj=2, proj_clip=1.0, forget_bias=0.3)
DROPOUT = jaxrnn.DropoutWrapper(jaxrnn.ResidualWrapper(TF1_GRU), input_keep_prob=0.5)
STACK = jaxrnn.MultiRNNCell([FULL, DROPOUT, jaxrnn.MultiRNNCell([jaxrnn.BasicRNNCell(4), LSTM])])
INPUT_PROJECTION = jaxrnn.InputProjectionWrapper(TF1_GRU, 2)
OUTPUT_PROJECTION = jaxrnn.OutputProjectionWrapper(FULL, 4)
EMBEDDING = jaxrnn.EmbeddingWrapper(TF1_GRU, 11, 2)
TWICE_PROJECTED = jaxrnn.InputProjectionWrapper(jaxrnn.InputProjectionWrapper(BASIC, 2), 4)

TF1_CELLS = {
    "basic": BASIC,
    "lstm": LSTM,
    "lstm_full": FULL,
    "gru": TF1_GRU,
    "dropout": DROPOUT,
    "stack": STACK,
    "input_projection": INPUT_PROJECTION,
    "output_projection": OUTPUT_PROJECTION,
    "twice_projected": TWICE_PROJECTED,
    "embedding": EMBEDDING,
    "pair": (STACK, TF1_GRU),
}
TORCH_CELLS = {
    "rnn": BASIC,
    "rnn_relu": jaxrnn.BasicRNNCell(5, activation=jax.nn.relu),
    "lstm": LSTM,
    "lstm_tanh": jaxrnn.LSTMCell(5, activation=jnp.tanh),
    "lstm_proj": jaxrnn.LSTMCell(5, num_proj=2),
    "gru": GRU,
    "dropout": jaxrnn.ResidualWrapper(jaxrnn.DropoutWrapper(GRU)),
    "stack": jaxrnn.MultiRNNCell([jaxrnn.DropoutWrapper(GRU), GRU, GRU]),
    "pair": (GRU, jaxrnn.DropoutWrapper(GRU)),
}
KERAS_CELLS = {
    "simple": jaxrnn.BasicRNNCell(5, activation=jax.nn.relu),
    "lstm": jaxrnn.LSTMCell(5, activation=jax.nn.softplus),
    "gru": GRU,
    "gru_before": TF1_GRU,
    "stack": jaxrnn.MultiRNNCell([DROPOUT, GRU, jaxrnn.MultiRNNCell([jaxrnn.BasicRNNCell(4), LSTM])]),
    "pair": (jaxrnn.MultiRNNCell([LSTM, GRU]), GRU),
}
FLAX_CELLS = {"simple": BASIC, "lstm": LSTM, "gru": jaxrnn.ResidualWrapper(GRU), "pair": (LSTM, GRU)}
RELU = jaxrnn.BasicRNNCell(5, activation=jax.nn.relu)
HAIKU_CELLS = {
    "vanilla": RELU,
    "lstm": jaxrnn.DropoutWrapper(LSTM),
    "gru": TF1_GRU,
    "deep": jaxrnn.MultiRNNCell([LSTM, TF1_GRU, DROPOUT, RELU, LSTM]),
}
EQUINOX_CELLS = {"lstm": LSTM, "gru": jaxrnn.DropoutWrapper(GRU)}
FRAMEWORKS = {
    "tf1": (from_tf1, to_tf1, TF1_CELLS),
    "torch": (from_torch, to_torch, TORCH_CELLS),
    "keras": (from_keras, to_keras, KERAS_CELLS),
    "flax": (from_flax, to_flax, FLAX_CELLS),
    "haiku": (from_haiku, to_haiku, HAIKU_CELLS),
    "equinox": (from_equinox, to_equinox, EQUINOX_CELLS),
}
FORGET_BIAS = {"tf1", "haiku"}  # they add it in every step: it is folded into the bias
WALK = [(framework, name) for framework, (_, _, cells) in FRAMEWORKS.items() for name in cells]
every_cell = pytest.mark.parametrize(("framework", "name"), WALK, ids=["-".join(item) for item in WALK])


def random_params(cell, seed=0):
    """Random params as numpy arrays, biases too."""
    if isinstance(cell, tuple):
        return tuple(random_params(one, seed + i) for i, one in enumerate(cell))
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), shapes)


def variables(cell=LSTM, **changes):
    """A cell's TF1 variables by names without a scope, some of them replaced, or left out where None."""
    return changed(to_tf1(cell, random_params(cell)), changes, "rnn/")


def state_dict(cell=LSTM, **changes):
    return changed(to_torch(cell, random_params(cell)), changes)


def changed(weights, changes, scope=""):
    weights = {name.removeprefix(scope): array for name, array in weights.items()} | changes
    return {name: array for name, array in weights.items() if array is not None}


def assert_equal(got, want, folded=()):
    """The same tree of the same bits, but for the leaves whose path has a name in `folded`."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        close = any(name in jax.tree_util.keystr(path) for name in folded)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 if close else 0, err_msg=jax.tree_util.keystr(path))
        assert a.dtype == b.dtype


# ---- there and back


@every_cell
def test_params_go_out_and_come_back(framework, name):
    read, write, cells = FRAMEWORKS[framework]
    params = random_params(cells[name])
    assert_equal(read(cells[name], write(cells[name], params)), params, ["bias"] if framework in FORGET_BIAS else [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_framework_s_own_weights_come_in_and_go_out(path):
    """Under the framework's own names, bit for bit but for what is folded, and that only once; absent biases are zeros then."""
    how, cell, weights = framework(path), cell_of(path), weights_of(path)
    like = {"like": how.in_its_form(weights)} if path.stem.startswith("flax") else {}

    def back(weights):
        return how.flat(how.to_weights(cell, how.from_weights(cell, how.in_its_form(weights)), **like))

    first, folded = back(weights), [name for name in weights if re.search(how.folded, f"{path.stem}/{name}")]
    exact = weights.keys() - set(folded)
    assert_equal({name: first[name] for name in exact}, {name: weights[name] for name in exact})
    assert weights.keys() <= first.keys()
    assert not any(first[name].any() for name in first.keys() - weights.keys())
    assert_equal(back(first), first, folded)


@every_cell
def test_the_arrays_are_copies(framework, name):
    read, write, cells = FRAMEWORKS[framework]
    params = random_params(cells[name])
    weights = write(cells[name], params)
    for array in jax.tree.leaves(weights):
        assert array.flags.c_contiguous
        assert array.flags.writeable
    got = read(cells[name], weights)
    before = jax.tree.map(np.copy, got)
    jax.tree.map(lambda a: a.fill(7), (params, weights))
    assert_equal(got, before)


@every_cell
def test_jax_arrays_and_tracers_give_the_same(framework, name):
    read, write, cells = FRAMEWORKS[framework]
    cell, params = cells[name], random_params(cells[name])
    weights = write(cell, params)
    assert all(isinstance(array, np.ndarray) for array in jax.tree.leaves(write(cell, jax.tree.map(jnp.asarray, params))))
    assert_equal(write(cell, jax.tree.map(jnp.asarray, params)), weights)
    out, back = jax.jit(lambda p, w: (write(cell, p), read(cell, w)))(params, weights)
    assert_equal(out, weights, ["bias", "'b'"])
    assert_equal(back, read(cell, weights), ["bias"])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(read(cell, jax.tree.map(jnp.asarray, weights))))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, jnp.bfloat16])
def test_the_dtype_stays(dtype):
    for of, name in {"tf1": "stack", "torch": "stack", "keras": "stack", "flax": "gru", "haiku": "deep"}.items():
        read, write, cells = FRAMEWORKS[of]
        params = jax.tree.map(lambda a: a.astype(dtype), random_params(cells[name]))
        weights = write(cells[name], params)
        assert {array.dtype for array in jax.tree.leaves(weights)} == {np.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(read(cells[name], weights))} == {np.dtype(dtype)}


def test_gradients_are_those_of_the_framework_s_weights():
    """A forget bias folded into the bias has the bias's gradient; both of torch's biases have that of their sum."""
    inputs = jnp.ones((2, 4, D))

    def loss(read, weights):
        outputs, _ = jaxrnn.dynamic_rnn(LSTM, read(LSTM, weights), inputs)
        return jnp.sum(outputs**2)

    params = random_params(LSTM)
    want = jax.grad(lambda p: jnp.sum(jaxrnn.dynamic_rnn(LSTM, p, inputs)[0] ** 2))(params)
    tf1 = jax.grad(lambda w: loss(from_tf1, w))(to_tf1(LSTM, params))
    torch = jax.grad(lambda w: loss(from_torch, w))(to_torch(LSTM, params))
    i, f, g, o = np.split(want["bias"], 4)
    np.testing.assert_allclose(tf1["rnn/lstm_cell/bias"], np.concatenate([i, g, f, o]), rtol=1e-5)
    np.testing.assert_allclose(torch["bias_ih_l0"], want["bias"], rtol=1e-5)
    np.testing.assert_allclose(torch["bias_hh_l0"], want["bias"], rtol=1e-5)


# ---- TF1


def test_tf1_names_of_wrappers():
    """What contrib's wrappers make, by their source."""
    gru = [f"{gate}/{kind}" for gate in ("gates", "candidate") for kind in ("kernel", "bias")]
    assert set(to_tf1(INPUT_PROJECTION, random_params(INPUT_PROJECTION))) == {
        f"rnn/input_projection_wrapper/{name}" for name in ["kernel", "bias", *(f"gru_cell/{name}" for name in gru)]
    }
    assert set(to_tf1(EMBEDDING, random_params(EMBEDDING))) == {
        f"rnn/embedding_wrapper/{name}" for name in ["embedding", *(f"gru_cell/{name}" for name in gru)]
    }
    basic = jaxrnn.OutputProjectionWrapper(BASIC, 4)
    assert set(to_tf1(basic, random_params(basic))) == {
        f"rnn/output_projection_wrapper/{name}" for name in ("kernel", "bias", "basic_rnn_cell/kernel", "basic_rnn_cell/bias")
    }


@pytest.mark.parametrize("scope", ["", "rnn/", "my_model/rnn/", "lstm_cell/basic_lstm_cell/"])
@pytest.mark.parametrize("end", ["", ":0"])
@pytest.mark.parametrize("name", ["lstm", "twice_projected", "pair"])
def test_tf1_scopes(scope, end, name):
    cell = TF1_CELLS[name]
    plain = {re.sub("^(bidirectional_)?rnn/", "", k): v for k, v in to_tf1(cell, random_params(cell)).items()}
    assert_equal(from_tf1(cell, {f"{scope}{k}{end}": v for k, v in plain.items()}), from_tf1(cell, plain))


def test_tf1_basic_lstm_cell():
    renamed = {f"rnn/basic_{name}": array for name, array in variables().items()}
    assert_equal(from_tf1(LSTM, renamed), from_tf1(LSTM, variables()))


def test_tf1_forget_bias_is_folded():
    weights = {"lstm_cell/kernel": np.zeros((4, 4), np.float32), "lstm_cell/bias": np.array([1, 2, 3, 4], np.float32)}
    cell = jaxrnn.LSTMCell(1, forget_bias=np.float64(0.5))
    assert_equal(from_tf1(cell, weights)["bias"], np.array([1, 3.5, 2, 4], np.float32))
    back = to_tf1(cell, from_tf1(cell, weights))
    assert_equal(back, {f"rnn/{name}": array for name, array in weights.items()})


def test_a_list_is_a_pair():
    pair = (LSTM, TF1_GRU)
    weights = to_tf1(list(pair), list(random_params(pair)))
    assert weights.keys() >= {"bidirectional_rnn/fw/lstm_cell/kernel", "bidirectional_rnn/bw/gru_cell/gates/kernel"}
    assert_equal(from_tf1(list(pair), weights), from_tf1(pair, weights))


class Reader:
    """As much of TensorFlow's checkpoint reader as is asked for."""

    def __init__(self, names):
        self.names = names

    def get_variable_to_shape_map(self):
        return dict.fromkeys(self.names)

    def get_tensor(self, name):
        return np.full(2, self.names.index(name), np.float32)


@pytest.fixture
def checkpoint(monkeypatch):
    """Puts a checkpoint where TensorFlow would read it."""

    def put(*names):
        load = types.SimpleNamespace(load_checkpoint=lambda path: {"model.ckpt-7": Reader(names)}[path])
        monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(train=load))
        return pathlib.Path("model.ckpt-7")

    return put


def test_a_tf1_checkpoint_is_read_by_scope_and_without_slots(checkpoint):
    """With the names that AdamOptimizer and a second cell leave there."""
    kernel, bias = "model/rnn/lstm_cell/kernel", "model/rnn/lstm_cell/bias"
    slots = [f"{name}/Adam{end}" for name in (kernel, bias) for end in ("", "_1")]
    path = checkpoint("beta1_power", "global_step", kernel, *slots, bias, "model/rnn_2/lstm_cell/bias", "model/bias")
    for scope in ("model/rnn", "model/rnn/", "/model/rnn"):
        assert_equal(read_tf1_checkpoint(path, scope), {bias: np.full(2, 7.0, np.float32), kernel: np.full(2, 2.0, np.float32)})
    assert len(read_tf1_checkpoint(path)) == 6
    with pytest.raises(ValueError, match=r"expected variables under 'rnn/' in model.ckpt-7, which has 'beta1_power'.*, \.\.\."):
        read_tf1_checkpoint(path, "rnn")


def test_checkpoints_that_cannot_be_read(checkpoint, monkeypatch):
    path = checkpoint("_CHECKPOINTABLE_OBJECT_GRAPH", "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    with pytest.raises(ValueError, match=r"got one of tf.train.Checkpoint in model.ckpt-7.*to from_keras"):
        read_tf1_checkpoint(path, "layer")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"expected TensorFlow.*numpy.savez\(file, \*\*variables\)"):
        read_tf1_checkpoint(path)


# ---- torch


class Tensor:
    """As much of a torch tensor as is asked for."""

    dtype, shape = "torch.bfloat16", (20, D)

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        if self.array is None:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


def test_torch_tensors():
    weights = state_dict()
    assert_equal(from_torch(LSTM, {name: Tensor(a) for name, a in weights.items()}), from_torch(LSTM, weights))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_torch_cells_have_names_without_a_layer(name):
    cell = TORCH_CELLS[name]
    weights = state_dict(cell)
    for path in ("", "decoder.cell."):
        bare = {path + name.removesuffix("_l0"): array for name, array in weights.items()}
        assert_equal(from_torch(cell, bare), from_torch(cell, weights))


@pytest.mark.parametrize("name", list(TORCH_CELLS))
def test_torch_paths(name):
    cell = TORCH_CELLS[name]
    weights = state_dict(cell)
    below = {f"encoder.rnn.{name}": array for name, array in weights.items()}
    assert_equal(from_torch(cell, below), from_torch(cell, weights))


@pytest.mark.parametrize("name", list(TORCH_CELLS))
def test_torch_without_biases(name):
    cell = TORCH_CELLS[name]
    weights = state_dict(cell)
    zeros = {name: np.zeros_like(array) if "bias" in name else array for name, array in weights.items()}
    without = {name: array for name, array in weights.items() if "bias" not in name}
    assert_equal(from_torch(cell, without), from_torch(cell, zeros))


def test_torch_biases():
    ih, hh = np.arange(15, dtype=np.float32), 100 * np.arange(15, dtype=np.float32)
    params = from_torch(GRU, state_dict(GRU, bias_ih_l0=ih, bias_hh_l0=hh))
    assert_equal(params["bias"], np.concatenate([(ih + hh)[:10], ih[10:]]))
    assert_equal(params["recurrent_bias"], hh[10:])
    back = to_torch(GRU, params)
    assert_equal(back["bias_hh_l0"], np.concatenate([np.zeros(10, np.float32), hh[10:]]))
    assert not to_torch(LSTM, random_params(LSTM))["bias_hh_l0"].any()


def test_torch_layers_and_directions():
    layers = [f"{kind}_l{i}" for i in range(3) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    assert set(state_dict(TORCH_CELLS["stack"])) == set(layers)
    both = [f"{name}{end}" for name in layers[:4] for end in ("", "_reverse")]
    assert set(state_dict(TORCH_CELLS["pair"])) == set(both)


def test_more_than_ten_layers():
    for cell in (jaxrnn.MultiRNNCell([jaxrnn.BasicRNNCell(D)] * 12),):
        params = random_params(cell)
        assert_equal(from_torch(cell, to_torch(cell, params)), params)
        assert_equal(from_tf1(cell, to_tf1(cell, params)), params)


# ---- errors


KERNEL = "lstm_cell/kernel"
NAME_ERRORS = {
    "missing": (from_tf1, LSTM, variables(**{KERNEL: None}), r"from_tf1: the names .*Missing: 'lstm_cell/kernel'\. Pass"),
    "left_over": (
        from_tf1,
        LSTM,
        variables(dense=np.ones(2)),
        r"LSTMCell\(.*\)\. Left over: 'dense'\. Pass all .* nothing else",
    ),
    "optimizer": (from_tf1, LSTM, variables(**{f"{KERNEL}/Adam": np.ones(2)}), "Left over: 'lstm_cell/kernel/Adam'"),
    "peepholes": (from_tf1, LSTM, variables(FULL), r"Left over: .*'lstm_cell/w_i_diag'.*built like the one they come from"),
    "another_cell": (from_tf1, LSTM, variables(TF1_GRU), r"Missing: .*'lstm_cell/bias'.* Left over: 'gru_cell/gates/kernel'"),
    "empty": (from_tf1, LSTM, {}, "Missing: 'lstm_cell/kernel', 'lstm_cell/bias'"),
    "two_spellings": (from_tf1, LSTM, variables(**{f"{KERNEL}:0": np.ones((8, 20))}), "Left over: 'lstm_cell/kernel'"),
    "two_scopes": (
        from_tf1,
        LSTM,
        {f"{scope}/{name}": array for scope in "ab" for name, array in variables().items()},
        r"from_tf1: expected the weights of one cell, got weights under 'a/', 'b/'\. Choose by the name's beginning",
    ),
    "torch_missing": (from_torch, LSTM, state_dict(bias_hh_l0=None), r"from_torch: .*Missing: 'bias_hh_l0'\. Pass"),
    "torch_reverse": (from_torch, GRU, state_dict(TORCH_CELLS["pair"]), "Left over: .*'bias_ih_l0_reverse'"),
    "torch_one_direction": (from_torch, (GRU, GRU), state_dict(GRU), "Missing: .*'weight_hh_l0_reverse'"),
    "torch_layers": (from_torch, GRU, state_dict(TORCH_CELLS["stack"]), "Left over: .*'weight_ih_l1'"),
    "torch_projection": (from_torch, LSTM, state_dict(TORCH_CELLS["lstm_proj"]), "Left over: 'weight_hr_l0'"),
}
SHAPE_ERRORS = {
    "too_few_rows": (
        from_tf1,
        LSTM,
        variables(**{KERNEL: np.ones((5, 20))}),
        r"from_tf1: expected 'lstm_cell/kernel' of shape \(D \+ 5, 20\), got shape \(5, 20\)\. Are these the weights",
    ),
    "columns": (from_tf1, LSTM, variables(**{KERNEL: np.ones((8, 16))}), r"\(D \+ 5, 20\), got shape \(8, 16\)"),
    "axes": (from_tf1, LSTM, variables(**{KERNEL: np.ones(20)}), r"\(D \+ 5, 20\), got shape \(20,\)"),
    "key_as_given": (
        from_tf1,
        LSTM,
        {"a/basic_lstm_cell/bias:0": np.ones(3), "a/basic_lstm_cell/kernel:0": np.ones((8, 20))},
        r"expected 'a/basic_lstm_cell/bias:0' of shape \(20,\), got shape \(3,\)",
    ),
    "two_input_sizes": (
        from_tf1,
        TF1_GRU,
        variables(TF1_GRU, **{"gru_cell/candidate/kernel": np.ones((9, 5))}),
        r"expected 'gru_cell/candidate/kernel' of shape \(8, 5\) for inputs of size 3, got shape \(9, 5\)",
    ),
    "embedding": (
        from_tf1,
        EMBEDDING,
        variables(EMBEDDING, **{"embedding_wrapper/embedding": np.ones((10, 2))}),
        r"of shape \(11, 2\), got shape \(10, 2\)",
    ),
    "torch_another_cell": (
        from_torch,
        LSTM,
        state_dict(GRU),
        r"'weight_ih_l0' of shape \(20, D\), got shape \(15, 3\)\. Are these",
    ),
    "torch_transposed": (
        from_torch,
        BASIC,
        state_dict(BASIC, weight_ih_l0=np.ones((D, 5))),
        r"'weight_ih_l0' of shape \(5, D\), got shape \(3, 5\)",
    ),
}


@pytest.mark.parametrize("name", [*NAME_ERRORS, *SHAPE_ERRORS])
def test_weights_of_something_else(name):
    read, cell, weights, text = (NAME_ERRORS | SHAPE_ERRORS)[name]
    with pytest.raises(ValueError, match=text):
        read(cell, weights)


@pytest.mark.parametrize(
    ("read", "weights", "text"),
    [
        (from_tf1, [1], r"from_tf1: expected a mapping of names to arrays, got a list"),
        (from_torch, None, r"from_torch: expected a mapping of names to arrays, got a NoneType"),
        (
            from_tf1,
            variables(**{KERNEL: np.ones((8, 20), int)}),
            r"expected 'lstm_cell/kernel' to be a floating array, got int",
        ),
        (from_torch, state_dict(bias_ih_l0="zeros"), r"expected 'bias_ih_l0' to be a floating array, got <U5\[\]"),
        (from_torch, state_dict(weight_ih_l0=Tensor(None)), r"numpy can hold, got torch.bfloat16\[20, 3\].* with \.float\(\)"),
    ],
)
def test_weights_that_are_not_arrays(read, weights, text):
    with pytest.raises(TypeError, match=text):
        read(LSTM, weights)


def plain_function(params, inputs, state):
    return state, state


NO_SUCH_CELL = {
    "function": ("tf1", plain_function, TypeError, "tf1: expected a cell that the framework has too .BasicRNNCell, LSTMCell"),
    "class": ("tf1", jaxrnn.GRUCell, TypeError, "got the class GRUCell"),
    "nothing": ("torch", None, TypeError, "_torch: expected a cell, got a NoneType"),
    "triple": ("tf1", (LSTM, LSTM, LSTM), TypeError, r"_tf1: cell: expected a pair \(forward, backward\)"),
    "pair_of_pairs": ("tf1", ((LSTM, LSTM), LSTM), TypeError, "_tf1: expected a cell, got a tuple"),
    "reset_after": ("tf1", GRU, ValueError, r"with reset_after=False, got reset_after=True.* Use reset_after=False\."),
    "reset_after_inside": ("tf1", jaxrnn.MultiRNNCell([LSTM, GRU]), ValueError, "Use reset_after=False"),
    "reset_before": ("torch", TF1_GRU, ValueError, "torch: expected a GRUCell with reset_after=True, got reset_after=False"),
    "peepholes": ("torch", jaxrnn.LSTMCell(5, use_peepholes=True), ValueError, "Use use_peepholes=False"),
    "cell_clip": ("torch", jaxrnn.LSTMCell(5, cell_clip=1.0), ValueError, "with cell_clip=None, got cell_clip=1.0"),
    "proj_clip": ("torch", jaxrnn.LSTMCell(5, num_proj=2, proj_clip=1.0), ValueError, "got proj_clip=1.0"),
    "lstm_relu": ("torch", jaxrnn.LSTMCell(5, activation=jax.nn.relu), ValueError, "activation=None, got activation=relu"),
    "gru_relu": ("torch", jaxrnn.GRUCell(5, activation=jax.nn.relu), ValueError, "activation=None, got activation=relu"),
    "softsign": ("torch", jaxrnn.BasicRNNCell(5, jax.nn.soft_sign), ValueError, "got activation=soft_sign"),
    "projection": ("torch", OUTPUT_PROJECTION, TypeError, r"MultiRNNCell; Dropout.* got OutputProj.*Convert its parts"),
    "projection_inside": ("torch", jaxrnn.MultiRNNCell([INPUT_PROJECTION, GRU]), TypeError, "got InputProjectionWrapper"),
    "mixed_layers": ("torch", jaxrnn.MultiRNNCell([LSTM, GRU]), ValueError, "layers and directions of one class.*one by one"),
    "sizes": ("torch", jaxrnn.MultiRNNCell([LSTM, jaxrnn.LSTMCell(4)]), ValueError, "layers and directions of one class, size"),
    "mixed_pair": ("torch", (LSTM, GRU), ValueError, "layers and directions of one class, size and activation, got LSTMCell"),
    "pair_of_stacks": ("torch", (TORCH_CELLS["stack"],) * 2, ValueError, "feeds both directions.*each as a pair of cells"),
    "stack_of_stacks": ("torch", jaxrnn.MultiRNNCell([TORCH_CELLS["stack"]]), ValueError, "expected single cells"),
}


@pytest.mark.parametrize("name", list(NO_SUCH_CELL))
def test_the_framework_has_no_such_cell(name):
    framework, cell, error, text = NO_SUCH_CELL[name]
    for convert in FRAMEWORKS[framework][:2]:
        with pytest.raises(error, match=text):
            convert(cell, {})


@pytest.mark.parametrize(("write", "gru"), [(to_tf1, TF1_GRU), (to_torch, GRU)])
def test_params_of_another_cell(write, gru):
    with pytest.raises(ValueError, match=r"LSTMCell.*the params are not this cell's.*recurrent_kernel.*what cell.init\(key, "):
        write(LSTM, {"kernel": np.ones((3, 20))})
    with pytest.raises(ValueError, match=r"params\['bias'\] of shape \(15,\) for inputs of size 3, got shape \(4,\)"):
        write(gru, random_params(gru) | {"bias": np.ones(4)})
    with pytest.raises(TypeError, match=r"params: expected a pair \(forward, backward\), got a dict"):
        write((LSTM, LSTM), random_params(LSTM))
