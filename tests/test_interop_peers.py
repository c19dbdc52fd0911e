"""What is particular to Keras, Flax, Haiku and Equinox on their weights' way in and out, and every error by its text."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.interop import from_equinox, from_flax, from_haiku, from_keras, to_equinox, to_flax, to_haiku, to_keras
from tests.test_interop import BASIC, FULL, GRU, LSTM, RELU, STACK, TF1_GRU, assert_equal, random_params

STACKED = jaxrnn.MultiRNNCell([LSTM, GRU])
PAIR = (LSTM, GRU)


def without(weights, *names):
    return {name: array for name, array in weights.items() if name not in names}


# ---- Keras


def test_keras_order():
    shapes = [array.shape for array in to_keras((STACKED, BASIC), random_params((STACKED, BASIC)))]
    assert shapes == [(3, 20), (5, 20), (20,), (5, 15), (5, 15), (2, 15), (3, 5), (5, 5), (5,)]


def test_keras_order_is_not_that_of_the_params_dict():
    for cell in (LSTM, GRU, TF1_GRU):
        params = random_params(cell)
        assert_equal(to_keras(cell, dict(reversed(params.items()))), to_keras(cell, params))


def test_keras_gru():
    """Gates z, r, h; the first row of biases is the inputs', the second the state's."""
    cell = jaxrnn.GRUCell(1)
    weights = [np.array([[1.0, 2, 3]]), np.array([[4.0, 5, 6]]), np.array([[7.0, 8, 9], [10, 20, 30]])]
    params = from_keras(cell, weights)
    assert_equal(params["kernel"], np.array([[2.0, 1, 3]]))
    assert_equal(params["recurrent_kernel"], np.array([[5.0, 4, 6]]))
    assert_equal(params["bias"], np.array([28.0, 17, 9]))
    assert_equal(params["recurrent_bias"], np.array([30.0]))
    assert_equal(to_keras(cell, params)[2], np.array([[17.0, 28, 9], [0, 0, 30]]))


@pytest.mark.parametrize("cell", [BASIC, LSTM, GRU, STACKED, PAIR], ids=["basic", "lstm", "gru", "stack", "pair"])
def test_keras_without_biases(cell):
    weights = to_keras(cell, random_params(cell))
    biases = [array.ndim == 1 or len(array) == 2 for array in weights]
    zeros = [np.zeros_like(a) if is_bias else a for a, is_bias in zip(weights, biases, strict=True)]
    kernels = [a for a, is_bias in zip(weights, biases, strict=True) if not is_bias]
    assert_equal(from_keras(cell, kernels), from_keras(cell, zeros))
    assert_equal(from_keras(cell, tuple(kernels)), from_keras(cell, zeros))


# ---- Flax


@pytest.fixture
def nnx_gru():
    weights = {"dense_i": {"kernel": (3, 15), "bias": (15,)}, "dense_h": {"kernel": (5, 15)}}
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.standard_normal(s), weights, is_leaf=lambda s: isinstance(s, tuple))


def test_flax_scopes():
    for cell in (LSTM, PAIR):
        weights = to_flax(cell, random_params(cell))
        assert_equal(from_flax(cell, {"params": {"encoder": weights}}), from_flax(cell, weights))
    weights = to_flax(LSTM, random_params(LSTM))
    assert_equal(from_flax(LSTM, {0: weights}), from_flax(LSTM, weights))  # nnx numbers the modules of a list
    assert_equal(from_flax(LSTM, types.MappingProxyType({"cell": types.MappingProxyType(weights)})), from_flax(LSTM, weights))


def test_flax_names_of_a_bidirectional():
    weights = to_flax(PAIR, random_params(PAIR))
    assert weights.keys() == {"forward_rnn", "backward_rnn"}
    assert weights["backward_rnn"]["cell"].keys() == {"ir", "iz", "in", "hr", "hz", "hn"}


def test_flax_like_gives_the_names_of_what_is_to_be_filled(nnx_gru):
    lstm = random_params(LSTM)
    plain = to_flax(LSTM, lstm)
    nnx = {**without(plain, "if"), "if_": plain["if"]}
    assert_equal(to_flax(LSTM, lstm, like=nnx), nnx)
    assert_equal(to_flax(LSTM, lstm, like={"params": {"cell": plain}}), {"params": {"cell": plain}})
    optimized = to_flax(LSTM, lstm, like={"dense_i": {"kernel": 0}, "dense_h": {"kernel": 0, "bias": 0}})
    assert_equal(optimized["dense_h"], {"kernel": lstm["recurrent_kernel"], "bias": lstm["bias"]})
    assert_equal(to_flax(GRU, from_flax(GRU, nnx_gru), like=nnx_gru), nnx_gru)
    both = {"forward_rnn": {"cell": nnx_gru}, "backward_rnn": {"cell": nnx_gru}}
    assert_equal(to_flax((GRU, GRU), from_flax((GRU, GRU), both), like=both), both)


def test_flax_nnx_gru_has_no_recurrent_bias(nnx_gru):
    assert not from_flax(GRU, nnx_gru)["recurrent_bias"].any()
    params = random_params(GRU)
    with pytest.raises(ValueError, match=r"params\['recurrent_bias'\] of zeros, since nnx.GRUCell.*Use linen's GRUCell"):
        to_flax(GRU, params, like=nnx_gru)
    with pytest.raises(ValueError, match=r"params\[0\]\['recurrent_bias'\] of zeros"):
        to_flax((GRU, GRU), (params,) * 2, like={"forward_rnn": {"cell": nnx_gru}, "backward_rnn": {"cell": nnx_gru}})
    with pytest.raises(ValueError, match=r"got a traced array, whose values cannot be seen"):
        jax.jit(lambda p: to_flax(GRU, p, like=nnx_gru))(from_flax(GRU, nnx_gru))


# ---- Haiku


def test_haiku_names():
    cell = jaxrnn.MultiRNNCell([LSTM, RELU, TF1_GRU, jaxrnn.ResidualWrapper(LSTM)])
    assert list(to_haiku(cell, random_params(cell))) == [
        "lstm/linear",
        "vanilla_rnn/linear",
        "vanilla_rnn/linear_1",
        "gru",
        "lstm_1/linear",
    ]


@pytest.mark.parametrize("cell", [RELU, LSTM, TF1_GRU], ids=["vanilla", "lstm", "gru"])
def test_haiku_names_of_the_user_s(cell):
    weights = to_haiku(cell, random_params(cell))
    inside = {f"agent/~/my_{module}": arrays for module, arrays in weights.items()}
    assert_equal(from_haiku(cell, inside), from_haiku(cell, weights))


def test_haiku_lstm():
    """Gates i, g, f, o; 1 is added to f."""
    weights = {"lstm/linear": {"w": np.arange(8.0).reshape(2, 4), "b": np.array([1.0, 2, 3, 4])}}
    params = from_haiku(jaxrnn.LSTMCell(1, forget_bias=9.0), weights)
    assert_equal(params["kernel"], np.array([[0.0, 2, 1, 3]]))
    assert_equal(params["recurrent_kernel"], np.array([[4.0, 6, 5, 7]]))
    assert_equal(params["bias"], np.array([1.0, 4, 2, 4]))
    assert_equal(to_haiku(jaxrnn.LSTMCell(1), params), weights)


def test_haiku_gru():
    """Gates z, r, a; z takes in what u keeps: sigmoid(-z) = 1 - sigmoid(z)."""
    weights = {"gru": {"w_i": np.array([[1.0, 2, 3]]), "w_h": np.array([[4.0, 5, 6]]), "b": np.array([7.0, 8, 9])}}
    cell = jaxrnn.GRUCell(1, reset_after=False)
    params = from_haiku(cell, weights)
    assert_equal(params["kernel"], np.array([[2.0, -1, 3]]))
    assert_equal(params["bias"], np.array([8.0, -7, 9]))
    assert_equal(to_haiku(cell, params), weights)


def test_haiku_vanilla_rnn_has_one_bias_or_two():
    weights = to_haiku(RELU, random_params(RELU))
    inputs, state = np.arange(5, dtype=np.float32), np.arange(5, dtype=np.float32) * 10
    weights["vanilla_rnn/linear"]["b"], weights["vanilla_rnn/linear_1"]["b"] = inputs, state
    assert_equal(from_haiku(RELU, weights)["bias"], inputs + state)
    del weights["vanilla_rnn/linear_1"]["b"]
    assert_equal(from_haiku(RELU, weights)["bias"], inputs)


# ---- Equinox


def test_equinox_modules():
    """Attributes that are no arrays are settings; biases that are None are zeros."""
    for cell in (LSTM, GRU):
        arrays = to_equinox(cell, random_params(cell))
        module = types.SimpleNamespace(**arrays, input_size=3, hidden_size=5, use_bias=True)
        assert_equal(from_equinox(cell, module), from_equinox(cell, arrays))
        none = {name: np.zeros_like(array) if "bias" in name else array for name, array in arrays.items()}
        module = types.SimpleNamespace(**arrays | dict.fromkeys((n for n in arrays if "bias" in n), None), use_bias=False)
        assert_equal(from_equinox(cell, module), from_equinox(cell, none))


def test_gradients_are_those_of_the_framework_s_weights():
    """A gate whose sign is turned has the gradient turned too; both of Keras's biases have that of their sum."""

    def loss(read, cell, weights):
        return jnp.sum(jaxrnn.dynamic_rnn(cell, read(cell, weights), jnp.ones((2, 4, 3)))[0] ** 2)

    def gradient(read, cell, weights):
        return jax.grad(lambda w: loss(read, cell, w))(jax.tree.map(jnp.asarray, weights))

    params = random_params(TF1_GRU)
    want = jax.grad(lambda p: loss(lambda _, q: q, TF1_GRU, p))(params)
    r, u, n = np.split(want["kernel"], 3, -1)
    got = gradient(from_haiku, TF1_GRU, to_haiku(TF1_GRU, params))
    np.testing.assert_allclose(got["gru"]["w_i"], np.concatenate([-u, r, n], -1), rtol=1e-5)
    params = random_params(GRU)
    want = jax.grad(lambda p: loss(lambda _, q: q, GRU, p))(params)
    r, u, n = np.split(want["bias"], 3)
    got = gradient(from_keras, GRU, to_keras(GRU, params))[2]
    np.testing.assert_allclose(got, [[*u, *r, *n], [*u, *r, *want["recurrent_bias"]]], rtol=1e-5)


# ---- errors

KERAS_LSTM = to_keras(LSTM, random_params(LSTM))
LINEN_LSTM = to_flax(LSTM, random_params(LSTM))
HAIKU_LSTM = to_haiku(LSTM, random_params(LSTM))
EQUINOX_GRU = to_equinox(GRU, random_params(GRU))
BIDIRECTIONAL = to_flax(PAIR, random_params(PAIR))
ERRORS = {
    "keras_number": (
        from_keras,
        LSTM,
        KERAS_LSTM * 2,
        ValueError,
        r"expected 3 arrays for LSTMCell\(.*\): kernel, recurrent_kernel, bias; or 2 without the biases; got 6\.",
    ),
    "keras_layers": (from_keras, STACKED, KERAS_LSTM, ValueError, r"6 arrays.*cell_0/kernel, .*cell_1/bias; or 4.*got 3"),
    "keras_mapping": (
        from_keras,
        LSTM,
        {"kernel": 1},
        TypeError,
        r"expected a list of arrays, as get_weights\(\) gives it, got a",
    ),
    "keras_shape": (
        from_keras,
        (LSTM, STACKED),
        KERAS_LSTM * 2 + to_keras(GRU, random_params(GRU)),
        ValueError,
        r"'backward/cell_1/kernel' of shape \(5, 15\), got shape \(3, 15\)",
    ),
    "keras_reset_before": (
        from_keras,
        GRU,
        to_keras(TF1_GRU, random_params(TF1_GRU)),
        ValueError,
        r"expected 'bias' of shape \(2, 15\), got shape \(15,\)",
    ),
    "keras_peepholes": (from_keras, FULL, [], ValueError, "keras: expected a LSTMCell with use_peepholes=False"),
    "keras_projection": (from_keras, jaxrnn.LSTMCell(5, num_proj=2), [], ValueError, "num_proj=None, got num_proj=2"),
    "flax_missing": (from_flax, LSTM, without(LINEN_LSTM, "hf"), ValueError, r"Missing: 'hf/kernel', 'hf/bias'\. Pass"),
    "flax_left_over": (
        from_flax,
        LSTM,
        {**LINEN_LSTM, "head": {"kernel": np.ones(2)}},
        ValueError,
        r"from_flax: .*Left over: 'head/kernel'",
    ),
    "flax_another": (from_flax, GRU, LINEN_LSTM, ValueError, r"GRUCell.*Missing: .*'ir/kernel'.*Left over: .*'hf/bias'"),
    "flax_shape": (
        from_flax,
        LSTM,
        LINEN_LSTM | {"hg": {"kernel": np.ones((5, 4)), "bias": np.ones(5)}},
        ValueError,
        r"expected 'hg/kernel' of shape \(5, 5\), got shape \(5, 4\)",
    ),
    "flax_list": (from_flax, LSTM, [1], TypeError, "expected a mapping of names to arrays or mappings, got a list"),
    "flax_one_direction": (from_flax, PAIR, LINEN_LSTM, ValueError, "Missing: .*'forward_rnn/cell/ii/kernel'"),
    "flax_two_directions": (from_flax, LSTM, BIDIRECTIONAL, ValueError, "under 'forward_rnn/cell/'|Left over"),
    "flax_stack": (
        from_flax,
        STACKED,
        LINEN_LSTM,
        TypeError,
        r"flax: expected a cell that .* got MultiRNNCell.*Convert its parts",
    ),
    "flax_reset_before": (from_flax, TF1_GRU, {}, ValueError, "flax: expected a GRUCell with reset_after=True"),
    "haiku_flat": (from_haiku, LSTM, None, TypeError, r"expected a mapping \{module: \{name: array\}\}, got a NoneType"),
    "haiku_missing": (from_haiku, LSTM, {"lstm/linear": {"w": np.ones((8, 20))}}, ValueError, "Missing: 'linear/b'"),
    "haiku_shape": (
        from_haiku,
        LSTM,
        {"lstm/linear": HAIKU_LSTM["lstm/linear"] | {"b": np.ones(15)}},
        ValueError,
        r"expected 'lstm/linear/b' of shape \(20,\), got shape \(15,\)",
    ),
    "haiku_tanh": (
        from_haiku,
        BASIC,
        {},
        ValueError,
        "haiku: expected a BasicRNNCell with activation=relu, got activation=None",
    ),
    "haiku_reset_after": (from_haiku, GRU, {}, ValueError, "haiku: expected a GRUCell with reset_after=False"),
    "haiku_pair": (
        from_haiku,
        (LSTM, LSTM),
        {},
        TypeError,
        r"haiku: expected a cell that the framework has too .*got \(LSTMCell",
    ),
    "haiku_deeper": (
        from_haiku,
        jaxrnn.MultiRNNCell([STACK]),
        {},
        ValueError,
        "haiku: expected single cells in a MultiRNNCell",
    ),
    "equinox_model": (from_equinox, LSTM, types.SimpleNamespace(cell=1), TypeError, "Pass the cell itself, not the model"),
    "equinox_another": (from_equinox, LSTM, EQUINOX_GRU, ValueError, "from_equinox: .*LSTMCell.*Left over: 'bias_n'"),
    "equinox_one_bias": (from_equinox, GRU, without(EQUINOX_GRU, "bias_n"), ValueError, "Missing: 'bias_n'"),
    "equinox_shape": (
        from_equinox,
        LSTM,
        without(EQUINOX_GRU, "bias_n"),
        ValueError,
        r"'weight_ih' of shape \(20, D\), got shape \(15, 3\)",
    ),
    "equinox_basic": (from_equinox, BASIC, {}, TypeError, r"equinox: .*has too \(LSTMCell, GRUCell; .*got BasicRNNCell"),
    "like": (
        lambda cell, like: to_flax(cell, random_params(cell), like=like),
        LSTM,
        [],
        TypeError,
        "to_flax: like: expected a map",
    ),
    "like_another": (
        lambda cell, like: to_flax(cell, random_params(cell), like=like),
        GRU,
        LINEN_LSTM,
        ValueError,
        r"to_flax: like: the names are not those of GRUCell.*Missing: .*'ir/kernel'",
    ),
}


@pytest.mark.parametrize("name", list(ERRORS))
def test_weights_of_something_else(name):
    read, cell, weights, error, text = ERRORS[name]
    with pytest.raises(error, match=text):
        read(cell, weights)


@pytest.mark.parametrize(("write", "cell"), [(to_keras, LSTM), (to_flax, LSTM), (to_haiku, LSTM), (to_equinox, LSTM)])
def test_params_of_another_cell(write, cell):
    with pytest.raises(ValueError, match=r"LSTMCell.*the params are not this cell's"):
        write(cell, random_params(GRU))
