"""Wrappers with gates or attention of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import diagonal, glorot, split
from jaxrnn.cells.inner import output_size
from jaxrnn.cells.wrappers import Wrapper, dense, init_dense, inner_output_size
from jaxrnn.keys import call_cell, fold_step


@dataclasses.dataclass(frozen=True)
class HighwayWrapper(Wrapper):
    """A highway from a cell's inputs to its outputs (Srivastava et al., 2015, arXiv:1505.00387); TF1's
    `tf.contrib.rnn.HighwayWrapper`.

        c = sigmoid(x W_c + b_c)
        t = 1 - c, or sigmoid(x W_t + b_t)
        output = c x + t y          with y the inner cell's output

    Attributes:
      cell: the inner cell.
      couple_carry_transform_gates: whether t = 1 - c.
      carry_bias_init: what b_c starts from; b_t starts from its negative.

    Params: `{"cell": the inner cell's, "carry": {"kernel": W_c [D, D] (Glorot uniform), "bias": b_c [D]}}`, and likewise
    "transform" if the gates are not coupled. State: the inner cell's. Output: `[B, D]`; D is the inner cell's output size too.

    Raises:
      ValueError: when run, if the inner cell's output is not of the inputs' shape.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.HighwayWrapper(jaxrnn.GRUCell(3))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape
      (4, 3)
    """

    cell: Any
    couple_carry_transform_gates: bool = True
    carry_bias_init: float = 1.0
    output_size = inner_output_size
    has_params = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check.flags(self, couple_carry_transform_gates=self.couple_carry_transform_gates)
        check.finite(self, carry_bias_init=self.carry_bias_init)

    def init(self, key, input_size, dtype=jnp.float32):
        k1, k2, k3 = split(key, 3)
        gate = lambda key, bias: init_dense(key, input_size, input_size, dtype, bias)
        params = {"cell": self.cell.init(k3, input_size, dtype), "carry": gate(k1, self.carry_bias_init)}
        return params if self.couple_carry_transform_gates else params | {"transform": gate(k2, -self.carry_bias_init)}

    def check_inputs(self, inputs):
        return check.features(self, inputs)

    def after(self, params, inputs, outputs, key):
        check.same_shapes(self, inputs, outputs, "Make the sizes equal.")
        carry = dense(params["carry"], inputs, sigmoid)
        transform = 1 - carry if self.couple_carry_transform_gates else dense(params["transform"], inputs, sigmoid)
        return carry * inputs + transform * outputs


@dataclasses.dataclass(frozen=True)
class AttentionCellWrapper(RNNCell):
    """Attention of a cell to its own last outputs (Cheng et al., 2016, arXiv:1601.06733); TF1's
    `tf.contrib.rnn.AttentionCellWrapper`.

        y, s' = cell([x; a] W + b, s)
        q = [all parts of s'] W_q + b_q
        a' = sum over l of softmax_l(v . tanh(m_l W_m + q)) m_l
        o = [y; a'] V + d
        m' = m_2, ..., m_L, o                 output = o

    The window m has the last L outputs, the oldest first. At first they are zeros, and take part in the softmax.

    Attributes:
      cell: the inner cell. It is run in the recurrent part of each step, whatever it is.
      attn_length: L.
      attn_size: A, the size of an output; None is the inner cell's.
      attn_vec_size: Q, the size of v; None is A.
      input_size: I, what the inner cell reads; None is D.

    Params: `{"cell": the inner cell's, "kernel": the rows of W for x [D, I], "recurrent_kernel": those for a [A, I],
    "bias": b [I], "attention": {"attn_w": W_m [A, Q], "attn_v": v [Q], "kernel": W_q [S, Q], "bias": b_q [Q]},
    "projection": {"kernel": V [H + A, A], "bias": d [A]}}`, with S numbers in the inner state and H in the inner output.
    Kernels are Glorot uniform, v is uniform within sqrt(3/Q), biases are zeros.
    State: a tuple of the inner cell's, a `[B, A]` and m `[B, L A]`, as in TF1. Output: `[B, A]`.

    Raises:
      ValueError: if a size is below 1, attn_size is None where the inner cell does not say its output size, or a part of the
        inner state is not `[B, size]`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.AttentionCellWrapper(jaxrnn.LSTMCell(5), attn_length=4)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> outputs, (inner, attention, window) = jaxrnn.dynamic_rnn(cell, params, jax.numpy.ones((2, 7, 3)))
      >>> outputs.shape, attention.shape, window.shape
      ((2, 7, 5), (2, 5), (2, 20))
    """

    cell: Any
    attn_length: int
    attn_size: int | None = None
    attn_vec_size: int | None = None
    input_size: int | None = None

    def __post_init__(self) -> None:
        check.full_cell(self.cell, type(self).__name__)
        check.at_least_one(self, attn_length=self.attn_length, attn_size=self.attn_size, attn_vec_size=self.attn_vec_size)
        check.at_least_one(self, input_size=self.input_size)
        check.attends(self)

    @property
    def state_size(self) -> tuple:
        return self.cell.state_size, self.output_size, self.attn_length * self.output_size

    @property
    def output_size(self) -> int:
        return self.attn_size or self.cell.output_size

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        keys = split(key, 6)
        a, q, i = self.output_size, self.attn_vec_size or self.output_size, self.input_size or input_size
        inner = self.cell.init(keys[0], i, dtype)
        state = jax.tree.leaves(jax.eval_shape(lambda: self.cell.initial_state(1, dtype)))
        attention = init_dense(keys[1], sum(part.shape[1] for part in state), q, dtype)
        both = glorot(keys[2], (input_size + a, i), dtype)
        return {
            "cell": inner,
            "kernel": both[:input_size],
            "recurrent_kernel": both[input_size:],
            "bias": jnp.zeros(i, dtype),
            "attention": attention | {"attn_w": glorot(keys[3], (a, q), dtype), "attn_v": diagonal(keys[4], q, dtype)},
            "projection": init_dense(keys[5], output_size(self.cell, inner, i, dtype) + a, a, dtype),
        }

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> tuple:
        check.batch_size(batch_size)
        inner = self.cell.initial_state(batch_size, dtype)
        return inner, *(jnp.zeros((batch_size, size), dtype) for size in self.state_size[1:])

    def project(self, params, inputs, *, key=None):
        z = inputs @ params["kernel"]
        return z + jnp.broadcast_to(params["bias"], z.shape), fold_step(key, 0)

    def recur(self, params, state):
        _, attention, window = state
        return attention @ params["recurrent_kernel"], self._slots(window) @ params["attention"]["attn_w"]

    def gates(self, params, z, r, state):
        (inputs, key), (more, features), (inner, _, window) = z, r, state
        output, inner = call_cell(self.cell, params["cell"], inputs + more, inner, key)
        query = dense(params["attention"], jnp.concatenate(jax.tree.leaves(inner), -1))
        seen = tanh(features + jnp.broadcast_to(query[:, None], features.shape))
        share = jax.nn.softmax(seen @ params["attention"]["attn_v"])
        attention = jnp.einsum("bl,bla->ba", share, self._slots(window))
        return dense(params["projection"], jnp.concatenate([output, attention], -1)), inner, attention

    def combine(self, params, g, state):
        output, inner, attention = g
        return output, (inner, attention, jnp.concatenate([state[2][:, self.output_size :], output], -1))

    def _slots(self, window):
        """`[B, L, A]`."""
        return window.reshape(window.shape[0], self.attn_length, self.output_size)
