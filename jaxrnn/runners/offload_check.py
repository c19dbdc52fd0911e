"""Offload proves itself before it is used: silently wrong gradients have been seen (jaxlib 0.11.0), and silent no-ops."""

from __future__ import annotations

import dataclasses
import functools
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import RNNCell
from jaxrnn.memory.modes import OFFLOAD, RECOMPUTE, SAVE, Mode
from jaxrnn.runners.loop import run
from jaxrnn.runners.problem import Problem


def proven(mode: Mode) -> Mode:
    """`mode`, or "recompute" in the place of an offload that does not work here, with a warning that says why."""
    reason = offload_fails() if mode.name == OFFLOAD.name else None
    if reason is None:
        return mode
    warnings.warn(f"memory='offload' is run as memory='recompute': {reason}", stacklevel=_callers_level())
    return RECOMPUTE


def _callers_level() -> int:
    """The stack level, for `proven`, of the first function that is not of this package."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("jaxrnn."):
        level, frame = level + 1, frame.f_back
    return level


def offload_fails() -> str | None:
    """What is wrong with offload on the default backend; None if nothing is. It is tried once, on a GPU or TPU.

    A CPU has no other memory to move anything to: JAX makes nothing of the transfers there, and the states stay.
    """
    platform = _platform()
    return None if platform == "cpu" else _failure(platform)


def _platform() -> str:
    """That of the backend which would move the states, whatever a run is tuned for."""
    return jax.default_backend()


@functools.cache
def _failure(platform: str) -> str | None:
    """Runs a small problem on the device with and without offload. Eight chunks, since what went wrong in jaxlib 0.11.0 was
    the order in which the backward pass read them; tiles of [8, 128], the least that a TPU transfers."""
    versions = f"with jax {jax.__version__} on this {platform}"
    grads, _ = _gradients(SAVE)
    try:
        offloaded, host_bytes = _gradients(OFFLOAD)
    except Exception as error:  # of any kind: whatever a back end that lacks this says
        return f"{versions} a small problem fails with {type(error).__name__}: {error!s:.200}"
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(offloaded), strict=True)
    difference = max(np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in pairs)
    if not difference <= 1e-3:
        return (
            f"{versions} the gradient of a small problem differs by {difference:.2g} of its size from the one without offload."
        )
    return None if host_bytes else f"{versions} the compiled program of a small problem uses no host memory."


def _gradients(mode: Mode) -> tuple[Any, int]:
    """The gradient of the small problem in a mode, and the bytes that it takes on the host."""
    size, batch, time = 128, 8, 16
    random = np.random.default_rng(0)
    normal = lambda *shape: (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
    params = {"w": normal(size), "u": normal(size, size)}
    inputs = normal(time, batch, size)

    def loss(params, inputs):
        nothing = dict.fromkeys(("sequence_length", "initial_state", "resets", "key"))
        problem = Problem(params=params, inputs=inputs, cell=_SmallCell(size), time_major=True, **nothing)
        return jnp.sum(run(problem, mode, chunk_size=2)[0] ** 2)

    # Compiled ahead of time and called with numpy arrays, it runs also in the middle of a caller's own trace.
    compiled = jax.jit(jax.grad(loss)).lower(params, inputs).compile()
    analysis: Any = compiled.memory_analysis()
    return jax.tree.map(np.asarray, compiled(params, inputs)), analysis.host_temp_size_in_bytes


@dataclasses.dataclass(frozen=True)
class _SmallCell(RNNCell):
    """h' = tanh(w x + h U)."""

    num_units: int
    state_size = output_size = property(lambda self: self.num_units)

    def init(self, key, input_size, dtype=jnp.float32):
        return {"w": jnp.zeros(input_size, dtype), "u": jnp.zeros((self.num_units, self.num_units), dtype)}

    def project(self, params, inputs):
        return inputs * jnp.broadcast_to(params["w"], inputs.shape)

    def recur(self, params, state):
        return state @ params["u"]

    def gates(self, params, z, r, state):
        return jnp.tanh(z + r)

    def combine(self, params, g, state):
        return g, g
