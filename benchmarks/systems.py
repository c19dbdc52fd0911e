"""One recurrent layer in jaxrnn and in its peers, each doing the same work; what `memory.py` and `speed.py` measure.

A system is a function `(work, loss) -> (run, params)` with `run(params, inputs, lengths) -> (outputs, last)`: inputs
`[B, T, D]` of the work's dtype, lengths integers `[B]` or None, outputs `[B, T, H]`, zeros in the padding, and the last output
`[B, H]`. Every library is imported where it is used, so that a machine needs only those that it is to measure.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from options import COMPILER_OPTIONS
from own_rule import own_rule
from plain import plain_scan
from work import PRECISIONS, NotOfferedError, Work

TIME_MAJOR = ", time-major"  # such systems read [T, B, D]


def loss_of(system: str, work: Work, loss: str) -> tuple[Callable, Any]:
    """`(value, params)`: the sum of the sines of all outputs ("outputs") or of the last one alone ("state")."""
    run, params = SYSTEMS[system](work, loss)

    def value(params, inputs, lengths=None):
        outputs, last = run(params, inputs, lengths)
        return jnp.sum(jnp.sin(outputs if loss == "outputs" else last))

    return value, params


def set_precision(work: Work) -> None:
    """The precision of all matrix products of this process."""
    products = PRECISIONS[work.precision].products
    if work.precision == "tf32" and jax.default_backend() == "cpu":
        raise NotOfferedError("tf32 on a CPU")
    jax.config.update("jax_default_matmul_precision", products)


def arrays_of(work: Work, system: str = "") -> list[jax.Array]:
    """Inputs, laid out as the system reads them, and lengths on the device."""
    inputs, *lengths = map(jnp.asarray, work.arrays)
    inputs = jnp.swapaxes(inputs, 0, 1) if system.endswith(TIME_MAJOR) else inputs
    return [inputs.astype(work.dtype), *lengths]


# ---- jaxrnn


def last_output(state: Any) -> Any:
    """Of a cell whose output is a part of its state."""
    return getattr(state, "h", state)


def jaxrnn_cell(work: Work) -> Any:
    """The cell of that name."""
    import jaxrnn
    from jaxrnn import contrib

    kinds = {"lstm": jaxrnn.LSTMCell, "gru": jaxrnn.GRUCell, "basic": jaxrnn.BasicRNNCell}
    kinds |= {"layer_norm_lstm": contrib.LayerNormBasicLSTMCell, "nas": contrib.NASCell}
    kinds |= {"ind_rnn": contrib.IndRNNCell, "sru": contrib.SRUCell}
    kinds |= {"min_gru": jaxrnn.linear.MinGRUCell, "min_lstm": jaxrnn.linear.MinLSTMCell, "lru": jaxrnn.linear.LRUCell}
    return kinds[work.cell](work.units)


def jaxrnn_params(cell: Any, work: Work) -> Any:
    """Its params."""
    return cell.init(jax.random.key(0), work.inputs, work.dtype)


def jaxrnn_plan(work: Work, loss: str, mode: str) -> Any:
    """The planner's plan for a memory mode."""
    import jaxrnn

    cell = jaxrnn_cell(work)
    params = jax.eval_shape(lambda: jaxrnn_params(cell, work))
    inputs = jax.ShapeDtypeStruct((work.batch, work.time, work.inputs), work.dtype)
    plans = jaxrnn.memory_plans(cell, params, inputs, loss=loss)
    levels = recursive_levels(work.time) if mode == "recursive" else 1
    return next(plan for plan in plans if (plan.mode, plan.levels) == (mode, levels))


def recursive_levels(time: int) -> int:
    """Three, or as many as T has room for."""
    return max(1, min(3, int(math.log(time, 4)) - 1))


def jaxrnn_mode(mode: str, time_major: bool = False) -> Callable:
    """`dynamic_rnn` in a memory mode."""

    def build(work: Work, loss: str):
        import jaxrnn
        from jaxrnn.runners.offload_check import offload_fails

        if mode == "offload":
            offload_fails()  # on a GPU it is tried once in a process, here outside what is timed
        cell = jaxrnn_cell(work)
        memory = jaxrnn.memory.recursive(recursive_levels(work.time)) if mode == "recursive" else mode

        def run(params, inputs, lengths):
            options = {"sequence_length": lengths, "time_major": time_major, "memory": memory}
            outputs, state = jaxrnn.dynamic_rnn(cell, params, inputs, **options)
            return outputs, last_output(state)

        return run, jaxrnn_params(cell, work)

    return build


def jaxrnn_packed(work: Work, loss: str):
    """`dynamic_rnn` of short sequences that share rows; the packing is the data loader's work, and known."""
    import jaxrnn

    if not work.lengths:
        raise NotOfferedError("nothing to pack")
    cell, packing = jaxrnn_cell(work), jaxrnn.pack_sequences(work.arrays[1], work.time)

    def run(params, inputs, lengths):
        outputs, _ = jaxrnn.dynamic_rnn(
            cell, params, packing.pack(inputs), sequence_length=packing.sequence_length, resets=packing.resets
        )
        return packing.unpack(outputs), packing.last(outputs)

    return run, jaxrnn_params(cell, work)


def jaxrnn_static(work: Work, loss: str):
    """`static_rnn`: a graph of T cells."""
    import jaxrnn

    cell = jaxrnn_cell(work)

    def run(params, inputs, lengths):
        steps = [inputs[:, t] for t in range(work.time)]
        outputs, state = jaxrnn.static_rnn(cell, params, steps, sequence_length=lengths)
        return jnp.stack(outputs, 1), last_output(state)

    return run, jaxrnn_params(cell, work)


# ---- the libraries


def flax_rnn(remat: bool) -> Callable:
    """`flax.linen.RNN`, with or without `nn.remat` of its cell."""

    def build(work: Work, loss: str):
        from flax import linen as nn

        cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "basic": nn.SimpleCell}[work.cell]
        cell = nn.remat(cell) if remat else cell
        normal = nn.initializers.lecun_normal()  # its default, orthogonal matrices, knows no half precision
        cell = cell(work.units, recurrent_kernel_init=normal, dtype=work.dtype, param_dtype=work.dtype)
        rnn = nn.RNN(cell, return_carry=True)

        def run(params, inputs, lengths):
            state, outputs = rnn.apply(params, inputs, seq_lengths=lengths)
            return _zero_padding(outputs, lengths), state[1] if work.cell == "lstm" else state

        return run, rnn.init(jax.random.key(0), jnp.zeros((work.batch, 2, work.inputs), work.dtype))

    return build


def nnx_rnn(work: Work, loss: str):
    """`flax.nnx.RNN`."""
    from flax import nnx

    cell = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "basic": nnx.SimpleCell}[work.cell]
    rnn = nnx.RNN(cell(work.inputs, work.units, rngs=nnx.Rngs(0)), return_carry=True)
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)  # the rest is the state of its random keys, which it counts

    def run(params, inputs, lengths):
        own = jax.tree.map(jnp.copy, rest)
        state, outputs = nnx.merge(graph, params, own)(inputs, seq_lengths=lengths)
        return _zero_padding(outputs, lengths), state[1] if work.cell == "lstm" else state

    return run, params


def haiku_unroll(work: Work, loss: str):
    """`haiku.dynamic_unroll`, which knows no lengths."""
    import haiku as hk

    if work.lengths:
        raise NotOfferedError("lengths")

    def run(inputs, lengths):
        core = {"lstm": hk.LSTM, "gru": hk.GRU, "basic": hk.VanillaRNN}[work.cell](work.units)
        outputs, state = hk.dynamic_unroll(core, inputs, core.initial_state(work.batch), time_major=False)
        return outputs, state.hidden if work.cell == "lstm" else state

    rnn = hk.without_apply_rng(hk.transform(run))
    return rnn.apply, rnn.init(jax.random.key(0), jnp.zeros((work.batch, 2, work.inputs)), None)


def equinox_loop(kind: Literal["lax", "checkpointed"]) -> Callable:
    """A loop over Equinox's cells, "lax" or "checkpointed"; it has no layer and no plain cell."""

    def build(work: Work, loss: str):
        import equinox as eqx
        from equinox.internal import scan

        if work.lengths or work.cell == "basic":
            raise NotOfferedError("lengths" if work.lengths else "a plain cell")
        cell = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[work.cell]
        params, static = eqx.partition(cell(work.inputs, work.units, key=jax.random.key(0)), eqx.is_array)
        zeros = jnp.zeros((work.batch, work.units))

        def run(params, inputs, lengths):
            cell = jax.vmap(eqx.combine(params, static))

            def step(state, x):
                state = cell(x, state)
                output = state[0] if work.cell == "lstm" else state
                return state, output if loss == "outputs" else None

            start = (zeros, zeros) if work.cell == "lstm" else zeros
            state, outputs = scan(step, start, jnp.swapaxes(inputs, 0, 1), kind=kind)
            outputs = None if outputs is None else jnp.swapaxes(outputs, 0, 1)
            return outputs, state[0] if work.cell == "lstm" else state

        return run, params

    return build


def keras_layer(work: Work, loss: str):
    """Keras 3 on JAX; its layer takes a mask."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "basic": keras.layers.SimpleRNN}[work.cell]
    layer = layer(
        work.units,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype=work.dtype,
        recurrent_initializer="glorot_uniform",  # its default, orthogonal matrices, knows no half precision
    )
    layer.build((work.batch, work.time, work.inputs))
    rest = [variable.value for variable in layer.non_trainable_variables]

    def run(params, inputs, lengths):
        mask = None if lengths is None else jnp.arange(work.time)[None] < lengths[:, None]
        (outputs, last, *_), _ = layer.stateless_call(params, rest, inputs, mask=mask)
        return outputs, last

    return run, [variable.value for variable in layer.trainable_variables]


# ---- cuDNN


def cudnn_lstm(work: Work, loss: str):
    """`jax.experimental.rnn.lstm`, on CUDA alone; like it, float32 and tf32 alone."""
    from jax.experimental import rnn

    if work.cell != "lstm" or work.lengths or work.precision not in ("", "float32", "tf32"):
        raise NotOfferedError(f"{work.name}, but an LSTM in float32 or tf32")
    if jax.default_backend() != "gpu":
        raise NotOfferedError("without CUDA")
    sizes = {"input_size": work.inputs, "hidden_size": work.units, "num_layers": 1, "bidirectional": False}
    zeros, lengths = jnp.zeros((1, work.batch, work.units)), jnp.full(work.batch, work.time, jnp.int32)

    def run(params, inputs, _):
        outputs, last, _ = rnn.lstm(inputs, zeros, zeros, params, lengths, **sizes, dropout=0.0)
        return outputs, last[0]

    return run, rnn.init_lstm_weight(jax.random.key(0), work.inputs, work.units, 1, False)


def _zero_padding(outputs, lengths):
    """Flax leaves what the cell made of the padding."""
    if lengths is None:
        return outputs
    return jnp.where((jnp.arange(outputs.shape[1])[None] < lengths[:, None])[..., None], outputs, 0.0)


SYSTEMS: dict[str, Callable] = {
    "jaxrnn save": jaxrnn_mode("save"),
    "jaxrnn offload": jaxrnn_mode("offload"),
    "jaxrnn recompute": jaxrnn_mode("recompute"),
    "jaxrnn recursive": jaxrnn_mode("recursive"),
    "jaxrnn packed": jaxrnn_packed,
    "jaxrnn static_rnn": jaxrnn_static,
    "plain lax.scan": plain_scan,
    "lax.scan, own rule": own_rule,
    "Flax": flax_rnn(remat=False),
    "Flax, nn.remat": flax_rnn(remat=True),
    "Flax nnx": nnx_rnn,
    "Haiku": haiku_unroll,
    "Equinox": equinox_loop("lax"),
    "Equinox, checkpointed": equinox_loop("checkpointed"),
    "Keras": keras_layer,
    "jax.experimental.rnn": cudnn_lstm,
}
SYSTEMS |= {f"jaxrnn {mode}{TIME_MAJOR}": jaxrnn_mode(mode, time_major=True) for mode in ("recompute", "offload")}
SYSTEMS |= {variant: jaxrnn_mode("save") for variant in COMPILER_OPTIONS}
