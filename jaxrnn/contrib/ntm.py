"""The neural Turing machine."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import register_namedtuple_serialization
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.activation import sigmoid, tanh
from jaxrnn.cell import RNNCell
from jaxrnn.cells.initializers import glorot, split
from jaxrnn.cells.inner import output_size
from jaxrnn.cells.wrappers import dense
from jaxrnn.engine.chunk import plain_chunk
from jaxrnn.keys import as_step_key, call_cell, fold_step


class NTMControllerState(NamedTuple):
    """The state of a neural Turing machine with R read heads, K write heads and a memory of N rows of W numbers.

    `controller_state` is the controller's, `reads` `[B, R, W]` what was read, `addresses` `[B, R + K, N]` each head's weights
    of the rows, `memory` `[B, N, W]`, and `started` `[B]`, int32, 0 for a row of the batch that has not had a step, else 1.
    """

    controller_state: Any
    reads: Any
    addresses: Any
    memory: Any
    started: Any


register_namedtuple_serialization(NTMControllerState, serialized_name="jaxrnn.contrib.NTMControllerState")


@dataclasses.dataclass(frozen=True)
class NTMCell(RNNCell):
    """The neural Turing machine (Graves et al., 2014, arXiv:1410.5401) as Collier and Beel stabilise it (2018,
    arXiv:1807.08518); the `NTMCell` of TF1's `tf.contrib.rnn`.

        y, s' = controller([x; reads], s)
        p = clip(y V + b)               for each head k, beta, g, d, gamma; for each write head e, a
        u = softmax_i(softplus(beta) cos(M_i, tanh(k)))            content: over the rows M_i of the memory
        u = sigmoid(g) u + (1 - sigmoid(g)) w                      the old address w
        u_i = sum over j of softmax(d)_j u_{i - j}                 shifts j = 0, ..., S, -S, ..., -1, round the end
        w' = u^(1 + softplus(gamma)) / sum                         sharper
        reads' = sum over i of w'_i M_i                            for each read head
        M_i' = M_i (1 - w'_i sigmoid(e)) + w'_i tanh(a)            for one write head after the other
        output = clip([y; reads'] U + c)

    Where `started` is 0 a step starts from learnt reads, addresses and memory: in a run without initial_state, and after a
    reset. TF1 does so at time 0 only, for all rows at once.

    Attributes:
      controller: a cell that reads `[B, D + R W]` and puts out `[B, H]`.
      memory_size: N, the rows of the memory.
      memory_vector_dim: W, the size of a row.
      read_head_num: R.
      write_head_num: K.
      shift_range: S; 2 S + 1 shifts.
      output_dim: O; None is D. TF1's None fails in `dynamic_rnn`.
      clip_value: the bound of p and of the output.

    Params: `{"controller": the controller's, "heads": {"kernel": V [H, (R + K) (W + 2 S + 4) + 2 K W], "bias": b},
    "output": {"kernel": U [H + R W, O], "bias": c}, "initial_reads": [R, W], "initial_addresses": [R + K, N],
    "initial_memory": [N, W]}`; the initial reads are taken through tanh, the addresses through softmax. Kernels are truncated
    normal of deviation 1 / sqrt(rows), biases zeros, the memory 1e-6, reads and addresses Glorot uniform, each vector alone.
    State: `NTMControllerState`. Output: `[B, O]`.

    It is run step by step, for all of it waits for the state; "save" keeps the states, N W numbers a step and row.

    Raises:
      ValueError: if a size is below 1, or clip_value is not above 0.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.NTMCell(jaxrnn.LSTMCell(9), 16, 5, read_head_num=1, write_head_num=1, output_dim=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> outputs, state = jaxrnn.dynamic_rnn(cell, params, jax.numpy.ones((4, 7, 3)))
      >>> outputs.shape, state.memory.shape
      ((4, 7, 2), (4, 16, 5))
    """

    controller: Any
    memory_size: int
    memory_vector_dim: int
    read_head_num: int
    write_head_num: int
    shift_range: int = 1
    output_dim: int | None = None
    clip_value: float = 20.0

    def __post_init__(self) -> None:
        check.full_cell(self.controller, type(self).__name__)
        names = ("memory_size", "memory_vector_dim", "read_head_num", "write_head_num", "shift_range", "output_dim")
        check.at_least_one(self, **{name: getattr(self, name) for name in names})
        check.positive(self, clip_value=self.clip_value)

    @property
    def state_size(self) -> NTMControllerState:
        n, w, r, k = self.memory_size, self.memory_vector_dim, self.read_head_num, self.write_head_num
        return NTMControllerState(self.controller.state_size, (r, w), (r + k, n), (n, w), ())

    @property
    def output_size(self) -> int | None:
        return self.output_dim

    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        keys = split(key, 5)
        n, w, r, k = self.memory_size, self.memory_vector_dim, self.read_head_num, self.write_head_num
        controller = self.controller.init(keys[0], input_size + r * w, dtype)
        size = output_size(self.controller, controller, input_size + r * w, dtype)
        one_by_one = lambda key, count, size: jax.vmap(lambda key: glorot(key, (1, size), dtype)[0])(split(key, count))
        return {
            "controller": controller,
            "heads": _truncated(keys[1], size, (r + k) * sum(self._parts) + 2 * k * w, dtype),
            "output": _truncated(keys[2], size + r * w, self.output_dim or input_size, dtype),
            "initial_reads": one_by_one(keys[3], r, w),
            "initial_addresses": one_by_one(keys[4], r + k, n),
            "initial_memory": jnp.full((n, w), 1e-6, dtype),
        }

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> NTMControllerState:
        """Zeros, and the controller's; the step itself puts what is learnt in their place."""
        controller = self.controller.initial_state(batch_size, dtype)
        reads, addresses, memory = (jnp.zeros((batch_size, *size), dtype) for size in self.state_size[1:4])
        return NTMControllerState(controller, reads, addresses, memory, jnp.zeros(batch_size, jnp.int32))

    chunk = plain_chunk  # in four functions all would be kept that a step computes

    def __call__(self, params, inputs, state, *, key=None):
        state = self._begun(params, check.step(self, params, inputs, state, key))
        flat = lambda reads: reads.reshape(inputs.shape[0], self.read_head_num * self.memory_vector_dim)
        read, key = jnp.concatenate([inputs, flat(state.reads)], -1), fold_step(as_step_key(key), 0)
        y, controller = call_cell(self.controller, params["controller"], read, state.controller_state, key)
        addresses, erased, added = self._heads(params, y, state)
        reads = addresses[:, : self.read_head_num] @ state.memory
        memory = self._written(state.memory, addresses[:, self.read_head_num :], erased, added)
        output = self._clip(dense(params["output"], jnp.concatenate([y, flat(reads)], -1)))
        return output, NTMControllerState(controller, reads, addresses, memory, jnp.ones_like(state.started))

    def _begun(self, params, state):
        """The state, with what is learnt in the rows that have not started."""
        reads, addresses = tanh(params["initial_reads"]), jax.nn.softmax(params["initial_addresses"])
        learnt = reads, addresses, params["initial_memory"]
        fresh = (state.started == 0)[:, None, None]
        start = lambda first, now: jnp.where(jnp.broadcast_to(fresh, now.shape), jnp.broadcast_to(first[None], now.shape), now)
        reads, addresses, memory = map(start, learnt, state[1:4])
        return state._replace(reads=reads, addresses=addresses, memory=memory)

    def _heads(self, params, y, state):
        """The new addresses `[B, R + K, N]`; what to erase and what to add, `[B, K, W]`."""
        heads, size, w = self.read_head_num + self.write_head_num, sum(self._parts), self.memory_vector_dim
        p = self._clip(dense(params["heads"], y))
        addressing = p[:, : heads * size].reshape(y.shape[0], heads, size)
        writing = p[:, heads * size :].reshape(y.shape[0], self.write_head_num, 2, w)
        *ends, _ = itertools.accumulate(self._parts)
        addresses = self._addresses(jnp.split(addressing, ends, -1), state.memory, state.addresses)
        return addresses, sigmoid(writing[:, :, 0]), tanh(writing[:, :, 1])

    def _addresses(self, parts, memory, before):
        k, beta, g, shifts, gamma = parts
        k = tanh(k)
        norms = _norm(k)[:, :, None] * _norm(memory)[:, None]
        cosine = k @ jnp.swapaxes(memory, 1, 2) / (norms + 1e-8)
        wide = lambda leaf: jnp.broadcast_to(leaf, before.shape)
        content = jax.nn.softmax(wide(jax.nn.softplus(beta)) * cosine)
        g = wide(sigmoid(g))
        u = g * content + (1 - g) * before
        shifts, steps = jax.nn.softmax(shifts), [*range(self.shift_range + 1), *range(-self.shift_range, 0)]
        u = sum(wide(shifts[..., i, None]) * jnp.roll(u, step, -1) for i, step in enumerate(steps))
        u = u / lax.stop_gradient(wide(jnp.max(u, -1, keepdims=True)))  # a power of small shares would be 0 in all of them
        sharp = u ** wide(jax.nn.softplus(gamma) + 1)
        return sharp / wide(jnp.sum(sharp, -1, keepdims=True))

    def _written(self, memory, addresses, erased, added):
        for head in range(self.write_head_num):
            outer = lambda row: addresses[:, head, :, None] * row[:, head, None, :]  # noqa: B023
            memory = memory * (1 - outer(erased)) + outer(added)
        return memory

    def _clip(self, x):
        return jnp.clip(x, -self.clip_value, self.clip_value)

    @property
    def _parts(self) -> tuple[int, ...]:
        """How many numbers each of k, beta, g, d and gamma has."""
        return self.memory_vector_dim, 1, 1, 2 * self.shift_range + 1, 1


def _norm(rows: jax.Array) -> jax.Array:
    square = jnp.sum(rows * rows, -1)
    some = square > 0  # the root has no derivative at 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0)


def _truncated(key: jax.Array, inputs: int, outputs: int, dtype: DTypeLike) -> dict[str, jax.Array]:
    kernel = inputs**-0.5 * jax.random.truncated_normal(key, -2, 2, (inputs, outputs), dtype)
    return {"kernel": kernel, "bias": jnp.zeros(outputs, dtype)}
