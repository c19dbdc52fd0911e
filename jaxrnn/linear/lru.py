"""The linear recurrent unit: a complex diagonal."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxrnn import check
from jaxrnn.cells.initializers import glorot, one_program, split
from jaxrnn.cells.linear import LinearCell
from jaxrnn.cells.wrappers import Wrapper
from jaxrnn.engine.recurrence import Complex


@dataclasses.dataclass(frozen=True)
class LRUCell(Wrapper):
    """The linear recurrent unit (Orvieto et al., 2023, "Resurrecting recurrent neural networks for long sequences",
    arXiv:2303.06349).

        l = exp(-exp(nu) + i exp(theta))            |l| < 1 for any nu
        h' = l h + exp(gamma) (x B)                 complex, elementwise in h
        output = Re(h' C) + x D

    All complex numbers are pairs of reals. The product with C is made for all steps at once. The paper puts the cell into a
    block with a norm, a gated linear unit and a residual connection, which a stack of wrappers can be.

    Attributes:
      num_units: H, complex units.
      output_size: P; None is H.
      r_min, r_max: the absolute value of l starts between them, uniform over the ring's area.
      max_phase: the angle of l starts between 0 and this, in radians. Small for long sequences: pi / 10 in the paper's
        Path-X.

    Params: `nu` `[H]`, `theta` `[H]`, `gamma` `[H]` (log sqrt(1 - abs(l)^2)), `input_kernel` B `[D, 2H]` (normal, variance
    1 / 2D) and `output_kernel` C `[2H, P]` (normal, variance 1 / H), real parts first, then imaginary ones, `skip_kernel` D
    `[D, P]` (Glorot uniform). State: `Complex(re, im)`, each `[B, H]`. Output: `[B, P]`.

    Raises:
      ValueError: if a size is below 1, not 0 <= r_min < r_max <= 1, or max_phase is not above 0.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.LRUCell(num_units=8, output_size=5, r_min=0.9, r_max=0.999)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> output, state = cell(params, jax.numpy.ones((4, 3)), cell.initial_state(4))
      >>> output.shape, state.re.shape
      ((4, 5), (4, 8))
    """

    num_units: int
    output_size: int | None = None
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi

    # Products of all steps at once copy their factors, out of the cache: twice the time on a CPU, and 1.3 times the memory.
    in_chunks = True

    def __post_init__(self) -> None:
        check.at_least_one(self, num_units=self.num_units, output_size=self.output_size)
        check.finite(self, r_min=self.r_min, r_max=self.r_max)
        check.ring(self, self.r_min, self.r_max)
        check.positive(self, max_phase=self.max_phase)
        object.__setattr__(self, "output_size", self.output_size or self.num_units)

    @property
    def cell(self) -> DiagonalCell:
        """The recurrence alone, which puts out its complex state."""
        return DiagonalCell(self.num_units)

    @one_program
    def init(self, key: jax.Array, input_size: int, dtype: DTypeLike = jnp.float32) -> dict[str, jax.Array]:
        keys, h, outputs = split(key, 5), self.num_units, self.output_size or self.num_units
        normal = lambda key, *shape: jax.random.normal(key, shape, dtype)
        inner, outer = self.r_min**2, self.r_max**2
        least = jnp.finfo(dtype).tiny  # a uniform number can be 0, and so can an area
        area = jnp.clip(jax.random.uniform(keys[0], (h,), dtype, inner, outer), least, 1 - jnp.finfo(dtype).epsneg)
        phase = self.max_phase * jax.random.uniform(keys[1], (h,), dtype, least)
        return {
            "nu": jnp.log(-0.5 * jnp.log(area)),
            "theta": jnp.log(phase),
            "gamma": 0.5 * jnp.log1p(-area),
            "input_kernel": normal(keys[2], input_size, 2 * h) / (2 * max(input_size, 1)) ** 0.5,
            "output_kernel": normal(keys[3], 2 * h, outputs) / h**0.5,
            "skip_kernel": glorot(keys[4], (input_size, outputs), dtype),
        }

    def after(self, params, inputs, outputs, key):
        c_re, c_im = params["output_kernel"][: self.num_units], params["output_kernel"][self.num_units :]
        return outputs.re @ c_re - outputs.im @ c_im + inputs @ params["skip_kernel"]


@dataclasses.dataclass(frozen=True)
class DiagonalCell(LinearCell):
    """What is recurrent in an `LRUCell`: h' = l h + exp(gamma) (x B), output = h', both `Complex`, each part `[B, H]`. It reads
    the params of an `LRUCell`, some of them.

    Attributes:
      num_units: H.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear.LRUCell(num_units=8).cell
      >>> cell.initial_state(4).im.shape
      (4, 8)
    """

    num_units: int

    state_size = output_size = property(lambda self: Complex(self.num_units, self.num_units))

    def project(self, params, inputs):
        z = inputs @ params["input_kernel"]
        gamma = jnp.exp(params["gamma"])
        return Complex(*lax.split(z * jnp.broadcast_to(jnp.concatenate([gamma] * 2), z.shape), (self.num_units,) * 2, axis=1))

    def coefficients(self, params, z):
        size, angle = jnp.exp(-jnp.exp(params["nu"])), jnp.exp(params["theta"])
        in_every_row = lambda part: jnp.broadcast_to(part, z.re.shape)
        return Complex(in_every_row(size * jnp.cos(angle)), in_every_row(size * jnp.sin(angle))), z
