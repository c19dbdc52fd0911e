"""The long short-term memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.export import register_namedtuple_serialization
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import activate, resolve, sigmoid
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import diagonal, glorot, one_program, recurrent, split


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM: the cell `c` `[B, H]` and the output `h` `[B, H]`, or `[B, P]` if it is projected."""

    c: Any
    h: Any


register_namedtuple_serialization(LSTMStateTuple, serialized_name="jaxrnn.LSTMStateTuple")


@dataclasses.dataclass(frozen=True)
class LSTMCell(RNNCell):
    """The long short-term memory (Hochreiter and Schmidhuber, 1997) with a forget gate (Gers et al., 2000); TF1's
    `LSTMCell` with all that it has (Sak et al., 2014).

        i, f, g, o = x W + h U + b          in blocks of H columns, in this order
        c' = sigmoid(f + p_f c) c + sigmoid(i + p_i c) act(g)
        c' = clip(c')                       to [-cell_clip, cell_clip]
        h' = sigmoid(o + p_o c') act(c')
        h' = clip(h' V)                     to [-proj_clip, proj_clip]
        output = h'

    Attributes:
      num_units: H.
      use_peepholes: whether the gates see the cell through p_i, p_f, p_o; else these are zero.
      cell_clip: bound of the cell; None is no bound.
      num_proj: P, the size of the projected output; None is no projection, P = H.
      proj_clip: bound of the projected output, only with num_proj; None is no bound.
      forget_bias: what the forget gate's bias starts from (Jozefowicz et al., 2015). TF1 adds it in every step instead.
      activation: act, elementwise; None is tanh.

    Params: `kernel` W `[D, 4H]` (Glorot uniform), `recurrent_kernel` U `[P, 4H]` (orthogonal gate by gate), `bias` b
    `[4H]` (zeros, forget_bias in its f part); with use_peepholes `w_i_diag`, `w_f_diag`, `w_o_diag` `[H]` (uniform within
    sqrt(3/H)); with num_proj `projection_kernel` V `[H, P]` (Glorot uniform).
    State: `LSTMStateTuple(c, h)`, `[B, H]` and `[B, P]`. Output: h' `[B, P]`.

    Raises:
      ValueError: if a size is below 1, a clip is not above 0, or proj_clip comes without num_proj.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.LSTMCell(num_units=5, num_proj=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.c.shape
      ((4, 2), (4, 5))
    """

    num_units: int
    use_peepholes: bool = False
    cell_clip: float | None = None
    num_proj: int | None = None
    proj_clip: float | None = None
    forget_bias: float = 1.0
    activation: Callable | None = None

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, num_proj=self.num_proj)
        check.positive(self, cell_clip=self.cell_clip, proj_clip=self.proj_clip)
        check.finite(self, forget_bias=self.forget_bias)
        check.flags(self, use_peepholes=self.use_peepholes)
        check.functions(self, activation=self.activation)
        check.goes_with(self, "num_proj", proj_clip=self.proj_clip)

    @property
    def state_size(self) -> LSTMStateTuple:
        return LSTMStateTuple(self.num_units, self.output_size)

    @property
    def output_size(self) -> int:
        return self.num_proj or self.num_units

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        h, p = self.num_units, self.output_size
        keys = split(key, 6)
        params = {
            "kernel": glorot(keys[0], (input_size, 4 * h), dtype),
            "recurrent_kernel": recurrent(keys[1], h, 4, dtype, state_size=p),
            "bias": jnp.zeros(4 * h, dtype).at[h : 2 * h].set(self.forget_bias),
        }
        if self.use_peepholes:
            for name, k in zip(("w_i_diag", "w_f_diag", "w_o_diag"), keys[2:5], strict=True):
                params[name] = diagonal(k, h, dtype)
        if self.num_proj:
            params["projection_kernel"] = glorot(keys[5], (h, p), dtype)
        return params

    def project(self, params, inputs):
        z = inputs @ params["kernel"]
        return z + jnp.broadcast_to(params["bias"], z.shape)

    def recur(self, params, state):
        r = state.h @ params["recurrent_kernel"]
        if not self.use_peepholes:
            return r
        return r + peepholes(params, state.c)

    def gates(self, params, z, r, state):
        # With peepholes the output gate waits for the new cell.
        return activate(z + r, sigmoid, sigmoid, resolve(self.activation), identity if self.use_peepholes else sigmoid)

    def combine(self, params, g, state):
        i, f, g, o = g
        return finish(self, params, f * state.c + i * g, o)


# ---- parts of any LSTM


def finish(cell: Any, params: Any, c: jax.Array, o: jax.Array) -> tuple[jax.Array, LSTMStateTuple]:
    """`(output, new_state)` from the new cell, before its bound, and the output gate; of a `cell` with LSTMCell's fields."""
    act = resolve(cell.activation)
    if cell.cell_clip:
        c = jnp.clip(c, -cell.cell_clip, cell.cell_clip)
    if cell.use_peepholes:
        o = sigmoid(o + through_diagonal(params["w_o_diag"], c))
    h = o * act(c)
    if cell.num_proj:
        h = h @ params["projection_kernel"]
        if cell.proj_clip:
            h = jnp.clip(h, -cell.proj_clip, cell.proj_clip)
    return h, LSTMStateTuple(c, h)


def peepholes(params: Any, c: jax.Array) -> jax.Array:
    """What the gates i, f, g, o see of the old cell `[B, H]`: `[B, 4H]`."""
    none = jnp.zeros_like(c)
    return jnp.concatenate([through_diagonal(params["w_i_diag"], c), through_diagonal(params["w_f_diag"], c), none, none], -1)


def through_diagonal(w: jax.Array, c: jax.Array) -> jax.Array:
    """w c, with w `[H]` and c `[B, H]`."""
    return jnp.broadcast_to(w, c.shape) * c


def identity(a: jax.Array) -> jax.Array:
    """The activation of a gate that waits for the new cell."""
    return a
