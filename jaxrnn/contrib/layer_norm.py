"""Layer normalisation: of an array, and in any cell in four functions."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cell import RNNCell


@dataclasses.dataclass(frozen=True)
class LayerNormWrapper(RNNCell):
    """Layer normalisation (Ba et al., 2016, arXiv:1607.06450) in a gated cell in four functions. In TF1 some LSTMs have it.

    The inputs' product z and the state's product r are normalised apart, as in the paper's supplement, and a gate by itself, as
    in TF1: each block of H columns in each array of z and r,

        LN(a) = gamma (a - mean(a)) / sqrt(var(a) + epsilon) + beta

    with gains and shifts of its own. z and r are what the cell's `project` and `recur` return, biases included; a bias that
    they add lifts all units of a gate alike at first, which the mean takes away, and so each beta starts from it. What the cell
    multiplies elsewhere stays as it is: the candidate's product (r h) U of `GRUCell(reset_after=False)`, projections. So do
    arrays of z and r that are no blocks of H columns.

    Attributes:
      cell: the inner cell, in four functions, with H as its `num_units`. It draws nothing: a `DropoutWrapper` goes around this.
      epsilon: what is added to the variance. A state of zeros has none, and gradients times 1 / sqrt(epsilon) there.

    Params: `{"cell": the inner cell's, "input_gamma", "input_beta": [nH] for the n blocks of z, "state_gamma", "state_beta":
    [mH] for the m blocks of r}`, in the order of the cell's kernels; gammas start as ones, betas as z of zeros and r of zeros.
    State and output: the inner cell's.

    Raises:
      TypeError: if the cell is no `jaxrnn.RNNCell` in four functions, has no num_units, draws, or says by `only_products` that
        its z has more than products.
      ValueError: if epsilon is not above 0; by `init`, if neither z nor r has blocks of H columns.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.contrib.LayerNormWrapper(jaxrnn.GRUCell(5))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, params["input_gamma"].shape
      ((4, 5), (15,))
    """

    cell: Any
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check.cell_of_gates(self, self.cell)
        check.products_alone(self, self.cell)
        check.positive(self, epsilon=self.epsilon)

    state_size = property(lambda self: self.cell.state_size)
    output_size = property(lambda self: self.cell.output_size)

    def init(self, key: jax.Array, input_size: Any, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
        params = self.cell.init(key, input_size, dtype)
        inputs = jax.tree.map(lambda size: jnp.zeros((1, size), dtype), input_size)
        state = jax.tree.map(jnp.zeros_like, self.cell.initial_state(1, dtype))
        norms = {"input": self.cell.project(params, inputs), "state": self.cell.recur(params, state)}
        params = {"cell": params}
        for name, tree in norms.items():
            start = [leaf[0] for leaf in jax.tree.leaves(tree) if self._has_blocks(leaf)]
            params[f"{name}_beta"] = jnp.concatenate([jnp.zeros(0, dtype), *start])
            params[f"{name}_gamma"] = jnp.ones_like(params[f"{name}_beta"])
        check.some_blocks(self, params["input_beta"].size + params["state_beta"].size)
        return params

    def initial_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> Any:
        return self.cell.initial_state(batch_size, dtype)

    def check_inputs(self, inputs):
        return self.cell.check_inputs(inputs)

    def project(self, params, inputs):
        return self._normalized(params, "input", self.cell.project(params["cell"], inputs))

    def recur(self, params, state):
        return self.cell.recur(params["cell"], state)

    def gates(self, params, z, r, state):
        # Here, for what `recur` does is done again in the backward pass.
        return self.cell.gates(params["cell"], z, self._normalized(params, "state", r), state)

    def combine(self, params, g, state):
        return self.cell.combine(params["cell"], g, state)

    def _normalized(self, params, name, tree):
        gamma, beta, first = params[f"{name}_gamma"], params[f"{name}_beta"], 0
        leaves, structure = jax.tree.flatten(tree)
        for i, leaf in enumerate(leaves):
            if self._has_blocks(leaf):
                columns = slice(first, first + leaf.shape[1])
                normal = normalize(leaf, self.cell.num_units, self.epsilon)
                leaves[i], first = scale_and_shift(normal, gamma[columns], beta[columns]), columns.stop
        return structure.unflatten(leaves)

    def _has_blocks(self, leaf):
        return leaf.ndim == 2 and jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.shape[1] % self.cell.num_units == 0


# ---- of an array


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def normalize(a: jax.Array, units: int, epsilon: float | None = None) -> jax.Array:
    """`[..., n * units]`: each block of `units` columns less its mean and over its standard deviation, row by row.

    epsilon None is TF1's: 1e-12, in float16 1e-3. Half precision is float32 inside.
    """
    return _with_scale(a, units, epsilon)[0]


@normalize.defjvp
def _normalize_jvp(units, epsilon, primals, tangents):
    (a,), (da,) = primals, tangents
    normal, scale = _with_scale(a, units, epsilon)
    # Rather than its results the checkpoint keeps its arguments: `normal`, once, and one number a block.
    return normal, jax.checkpoint(_tangent, prevent_cse=False)(normal, scale, da)


def _with_scale(a, units, epsilon):
    """The normalised `a`, and what its blocks were multiplied by, `[..., n, 1]`."""
    if epsilon is None:
        epsilon = 1e-3 if a.dtype == jnp.float16 else 1e-12
    blocks = _blocks(a, units)
    centred = blocks - _mean(blocks)
    scale = lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + epsilon)
    return _rows(centred * jnp.broadcast_to(scale, blocks.shape), a), scale


def _tangent(normal, scale, da):
    units = da.shape[-1] // scale.shape[-2]
    n, d = _blocks(normal, units), _blocks(da, units)
    return _rows(jnp.broadcast_to(scale, d.shape) * (d - _mean(d) - n * _mean(n * d)), da)


def _blocks(a, units):
    wide = jnp.float32 if a.dtype.itemsize < 4 else a.dtype
    return a.reshape(*a.shape[:-1], -1, units).astype(wide)


def _rows(blocks, like):
    return blocks.reshape(like.shape).astype(like.dtype)


def _mean(blocks):
    return jnp.broadcast_to(jnp.mean(blocks, -1, keepdims=True), blocks.shape)


def scale_and_shift(a: jax.Array, gamma: jax.Array, beta: jax.Array) -> jax.Array:
    """`gamma a + beta`, where `a` is `[..., C]` and the others are `[C]`."""
    return a * jnp.broadcast_to(gamma, a.shape) + jnp.broadcast_to(beta, a.shape)
