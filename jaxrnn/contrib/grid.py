"""LSTMs on a grid of time and frequency."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import diagonal, glorot, one_program, recurrent, split
from jaxrnn.cells.lstm import LSTMStateTuple
from jaxrnn.contrib.time_freq import windows


@dataclasses.dataclass(frozen=True)
class GridLSTMCell(RNNCell):
    """Two LSTMs, one in time and one in frequency, over windows of the features (Kalchbrenner et al., 2015, arXiv:1507.01526;
    Sainath and Li, 2016); TF1's `tf.contrib.rnn.GridLSTMCell`.

    The features are cut into blocks, a block into windows x of F = feature_size features, S = frequency_skip apart. In every
    step the frequency LSTM l = f walks over the windows of a block, from c_f = h_f = 0. Each window has a state (c_t, h_t) of
    the time LSTM l = t. For both l:

        i, f, g, o = x W_l + h_t U_l + h_f V_l + b_l          in blocks of H columns, in this order; everything of this LSTM l
        i, f = sigmoid(i + p_if c_f + p_it c_t), sigmoid(f + p_ff c_f + p_ft c_t)
        c_l' = clip(f c_l + i tanh(g))                        to [-cell_clip, cell_clip]
        h_l' = sigmoid(o + p_of c_f' + p_ot c_t') tanh(c_l')
        output = [h_t'; h_f'] of the first window, of the second, ...

    The windows are unrolled: a step is a chain of as many small products with V.

    Attributes:
      num_units: H.
      use_peepholes: whether the gates see both cells through the p's; else these are zero.
      share_time_frequency_weights: whether both LSTMs have one set of weights, and so the same gates.
      cell_clip: bound of the cells; None is no bound.
      forget_bias: what the forget gates' biases start from. TF1 adds it in every step instead.
      feature_size: F; required.
      frequency_skip: S; required.
      num_frequency_blocks: the number of windows n_b of each block, a list or tuple; required.
      start_freqindex_list, end_freqindex_list: the features of each block b, [start_b, end_b), so that
        n_b = (end_b - start_b - F) // S + 1. None is one block of all features.
      couple_input_forget_gates: whether f = 1 - i, without weights of its own (and without forget_bias).

    Params: `{"block_0": ..., "block_1": ...}`, each with `kernel` W `[F, 8H]` (Glorot uniform), `recurrent_kernel` U and
    `frequency_kernel` V `[H, 8H]` (orthogonal gate by gate), `bias` b `[8H]` (zeros, forget_bias in the f parts), with the
    columns of the frequency LSTM first; with use_peepholes `w_i_diag_freqf` p_if, `w_i_diag_freqt` p_it of the frequency LSTM,
    `w_i_diag_timef`, `w_i_diag_timet` of the time LSTM, and so on for f and o, each `[H]` (uniform within sqrt(3/H)). Shared
    weights are half of this, the names with freq; coupled gates have 6H columns (i, g, o). `init` takes any input_size, since
    no param has that size.
    State: `state[b][k]` is the `LSTMStateTuple(c_t, h_t)` of window k of block b, each `[B, H]`. Output: `[B, 2 N H]` for N
    windows.

    Raises:
      TypeError: if feature_size, frequency_skip or num_frequency_blocks is missing, or is not what it should be.
      ValueError: if a size is below 1, cell_clip is not above 0, or the blocks do not have as many windows as
        num_frequency_blocks says; when run, if the inputs do not have the features for them.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.GridLSTMCell(num_units=5, feature_size=4, frequency_skip=2, num_frequency_blocks=[3])
      >>> params = cell.init(jax.random.key(0), input_size=8)
      >>> output, state = cell(params, jax.numpy.ones((2, 8)), cell.initial_state(2))
      >>> output.shape, state[0][2].c.shape
      ((2, 30), (2, 5))
    """

    num_units: int
    use_peepholes: bool = False
    share_time_frequency_weights: bool = False
    cell_clip: float | None = None
    forget_bias: float = 1.0
    feature_size: Any = None
    frequency_skip: Any = None
    num_frequency_blocks: Any = None
    start_freqindex_list: Any = None
    end_freqindex_list: Any = None
    couple_input_forget_gates: bool = False

    def __post_init__(self) -> None:
        named = lambda *names: {name: getattr(self, name) for name in names}
        check.given(self, **named("feature_size", "frequency_skip", "num_frequency_blocks"))
        check.at_least_one(self, **named("num_units", "feature_size", "frequency_skip"))
        check.positive(self, cell_clip=self.cell_clip)
        check.finite(self, forget_bias=self.forget_bias)
        check.flags(self, **named("use_peepholes", "share_time_frequency_weights", "couple_input_forget_gates"))
        check.frequency_blocks(self)

    @property
    def state_size(self) -> tuple:
        window = LSTMStateTuple(self.num_units, self.num_units)
        return tuple((window,) * count for count in self.num_frequency_blocks)

    @property
    def output_size(self) -> int:
        return 2 * self.num_units * sum(self.num_frequency_blocks)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        keys = split(key, len(self.num_frequency_blocks))
        return {f"block_{b}": self._init_block(key, dtype) for b, key in enumerate(keys)}

    def _init_block(self, key, dtype):
        h, columns, keys = self.num_units, len(lstms(self)) * gate_letters(self), jax.random.split(key, 4)
        params = {
            "kernel": glorot(keys[0], (self.feature_size, len(columns) * h), dtype),
            "recurrent_kernel": recurrent(keys[1], h, len(columns), dtype),
            "frequency_kernel": recurrent(keys[2], h, len(columns), dtype),
            "bias": jnp.concatenate([jnp.full(h, self.forget_bias if gate == "f" else 0, dtype) for gate in columns]),
        }
        names = peepholes(self)
        return params | {name: diagonal(k, h, dtype) for name, k in zip(names, split(keys[3], len(names)), strict=True)}

    def check_inputs(self, inputs):
        return check.features_of_blocks(self, inputs)

    def project(self, params, inputs):
        return self._project(params, inputs, self._starts)

    def _project(self, params, inputs, starts):
        blocks = []
        for p, begins in zip(_blocks(params), starts, strict=True):
            z = windows(inputs, begins, self.feature_size) @ p["kernel"]
            blocks.append(z + jnp.broadcast_to(p["bias"], z.shape))
        return tuple(blocks)

    def recur(self, params, state):
        # One product for all windows of a block, [B, n, H] by [H, 8H].
        stacked = [jnp.stack([window.h for window in block], 1) for block in state]
        return tuple(h @ p["recurrent_kernel"] for p, h in zip(_blocks(params), stacked, strict=True))

    def gates(self, params, z, r, state):
        return tuple(self._gates_of_block(*each) for each in zip(_blocks(params), z, r, state, strict=True))

    def _gates_of_block(self, p, z, r, block):
        a, gates, c_f, h_f = z + r, [], jnp.zeros_like(block[0].c), None
        for k, old in enumerate(block):
            a_k = a[:, k] if h_f is None else a[:, k] + h_f @ p["frequency_kernel"]
            gates.append(self._gates_of_window(p, a_k, c_f, old.c))
            (c_f, h_f), _ = self._cells(p, gates[k], c_f, old.c)
        return tuple(gates)

    def combine(self, params, g, state):
        outputs, new = [], []
        for p, gates, block in zip(_blocks(params), g, state, strict=True):
            c_f, states = jnp.zeros_like(block[0].c), []
            for each, old in zip(gates, block, strict=True):
                (c_f, h_f), (c_t, h_t) = self._cells(p, each, c_f, old.c)
                states.append(LSTMStateTuple(c_t, h_t))
                outputs += [h_t, h_f]
            new.append(tuple(states))
        return jnp.concatenate(outputs, -1), tuple(new)

    # ---- one window

    def _gates_of_window(self, p, a, c_f, c_t):
        letters, both = gate_letters(self), lstms(self)
        if self.use_peepholes:
            none = jnp.zeros_like(c_f)
            seen = [_seen(p, g, lstm, c_f, c_t) if g in "if" else none for lstm in both for g in letters]
            a = a + jnp.concatenate(seen, -1)
        # With peepholes the output gates wait for the new cells.
        functions = {"i": sigmoid, "f": sigmoid, "g": tanh, "o": _identity if self.use_peepholes else sigmoid}
        return activate(a, *(functions[g] for lstm in both for g in letters))

    def _cells(self, p, gates, c_f, c_t):
        """(c_f', h_f'), (c_t', h_t')"""
        letters, both = gate_letters(self), lstms(self)
        f, t = dict(zip(letters, gates, strict=False)), dict(zip(letters, gates[-len(letters) :], strict=True))
        c_f, c_t = self._cell(f, c_f), self._cell(t, c_t)
        o_f, o_t = f["o"], t["o"]
        if self.use_peepholes:
            o_f, o_t = (sigmoid(o + _seen(p, "o", lstm, c_f, c_t)) for o, lstm in ((o_f, both[0]), (o_t, both[-1])))
        return (c_f, o_f * tanh(c_f)), (c_t, o_t * tanh(c_t))

    def _cell(self, gates, c):
        f = 1 - gates["i"] if self.couple_input_forget_gates else gates["f"]
        c = f * c + gates["i"] * gates["g"]
        return jnp.clip(c, -self.cell_clip, self.cell_clip) if self.cell_clip else c

    @property
    def _starts(self) -> list[range]:
        """Where the windows of each block begin."""
        begins, skip = self.start_freqindex_list or (0,), self.frequency_skip
        return [range(b, b + n * skip, skip) for b, n in zip(begins, self.num_frequency_blocks, strict=True)]


def lstms(cell: GridLSTMCell) -> tuple[str, ...]:
    """The LSTMs that have weights, in the order of the columns."""
    return ("freq",) if cell.share_time_frequency_weights else ("freq", "time")


def gate_letters(cell: GridLSTMCell) -> str:
    """The gates that have weights, in the order of the columns of one LSTM."""
    return "igo" if cell.couple_input_forget_gates else "ifgo"


def peepholes(cell: GridLSTMCell) -> list[str]:
    """The names of a block's peepholes: a gate of one LSTM sees the cells of the frequency LSTM and of the time LSTM."""
    gates = [gate for gate in gate_letters(cell) if gate != "g"] if cell.use_peepholes else []
    return [f"w_{gate}_diag_{lstm}{seen}" for lstm in lstms(cell) for gate in gates for seen in "ft"]


def _blocks(params):
    return [params[f"block_{b}"] for b in range(len(params))]


def _seen(p, gate, lstm, c_f, c_t):
    """What a gate of an LSTM sees of both cells."""
    w_f, w_t = p[f"w_{gate}_diag_{lstm}f"], p[f"w_{gate}_diag_{lstm}t"]
    return jnp.broadcast_to(w_f, c_f.shape) * c_f + jnp.broadcast_to(w_t, c_t.shape) * c_t


def _identity(a):
    return a
