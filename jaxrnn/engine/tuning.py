"""What is fastest where: every question about platform, devices, JAX's version and sizes is asked here.

A run asks with `current()` when it is traced, and hands the answer to its backward pass. The figures behind a rule stand beside
it. Those of a CPU were measured on two cores with jax 0.10.2 and 0.12; what is said of a GPU was counted in compiled programs.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator

import jax
from jax.export import is_symbolic_dim
from jax.sharding import AxisType

from jaxrnn import check
from jaxrnn.memory.blocks import chunk_near, levels_of
from jaxrnn.memory.modes import Mode
from jaxrnn.typing import Dim

ROWS_TO_COMPARE = 1024  # are ordered by comparing each with each: a sort takes 0.1 s to compile
ROWS_OF_ANY_BATCH = 16  # what a batch counts as whose size is known when an exported program is called, no sooner
GPUS = ("gpu", "cuda", "rocm")
PLATFORMS = ("cpu", "tpu", *GPUS)

_FEW_ROWS = range(2, 5)


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Where a program will run.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      sharded: whether rows may be split over devices.
      old_loops: whether XLA is that of jax before 0.11.
      of_four: what runs a chunk of a cell in four functions (`jaxrnn.experimental`, or Newton's method); None is the engine.
      steps_of_four: steps of a chunk that it runs.
      engine: what runs a linear recurrence, where somebody has chosen it; see `recurrence`.
      tile_rows, weights_of_small_tiles: see `tile`.
      rows_of_halves, weights_of_halves: see `halves`.
      little_work: multiplications of a recurrent product that XLA had better do as products of vectors, in a run that is
        differentiated; least_work: in one that is not.
      weights_of_one_row: see `in_one_scan`.
      many_rows: of a batch whose step's product is one of matrices.
    """

    platform: str
    sharded: bool
    old_loops: bool
    of_four: Callable | None = None
    steps_of_four: int = 256
    engine: str | None = None
    tile_rows: int = 8
    weights_of_small_tiles: int = 100_000
    rows_of_halves: int = 16
    weights_of_halves: range = range(2**16 + 1, 2**21)
    little_work: int = 50_000
    least_work: int = 4096
    weights_of_one_row: int = 12_500
    many_rows: int = 8

    @property
    def on_one_cpu(self) -> bool:
        return self.platform == "cpu" and not self.sharded

    @property
    def keeps(self) -> str:
        """What a chunk keeps for its backward pass if the mode does not say it.

        On a CPU the product that makes gates of states costs most. On a GPU the kernels of a loop take time to start, and a
        backward pass from states has one loop less: a third less time.
        """
        return "gates" if self.platform == "cpu" else "states"

    @property
    def unroll(self) -> int:
        """How many steps the body of the loop over time has.

        A GPU waits for the kernels of small steps to start. A loop of one step has kernels for its counter and for results of
        each step; in one of four steps these are shared. With that, and 64 steps a chunk, an LSTM's training step takes 0.70
        of the time on an H100 (B = 16, H = 768), a GRU's 0.65, a plain cell's 0.5. Eight steps gain 4 to 11 % more, and double
        what is compiled.
        """
        return 4 if self.platform == "gpu" else 1

    @property
    def recurrence(self) -> str:
        """What runs a linear recurrence: "sequential", "chunked" or "associative" (`jaxrnn.engine.recurrence`).

        A CPU has no use for steps that are joined in pairs: 12 ms for 2.4 (T, B, H = 1024, 8, 128, value and gradient). On an
        H100 (1024, 16, 768) the loop takes 37.5 ms, 8 steps of it at once 5.5, the associative scan 2.6, and blocks of 256
        steps 1.33.
        """
        return self.engine or ("sequential" if self.platform == "cpu" else "chunked")

    @property
    def merges_rows(self) -> bool:
        """Whether K steps of B rows are run as K B rows.

        The transpose of a product over two axes of rows makes XLA copy its factors: a sixth of a training step on a CPU. Rows
        that are split over devices cannot become one axis with the steps.
        """
        return not self.sharded

    def tile(self, batch: Dim, weights: int) -> int | None:
        """How many of a batch's rows run together, where rows end at different steps; None is all of them.

        Tiles of rows that end at about the same step take 0.8 to 0.9 of a training step's time where lengths are uniform
        (B = 32), and 0.4 where they are geometric (B = 64). The more recurrent weights a step reads, the more rows should
        share them.
        """
        few = self.tile_rows if weights <= self.weights_of_small_tiles else 2 * self.tile_rows
        if not self.on_one_cpu or is_symbolic_dim(batch) or batch < 2 * few:
            return None
        return math.ceil(batch / (batch // few))

    def halves(self, rows: Dim, gates: int, state: int, weights: int) -> bool:
        """Whether a batch is run as two halves side by side: 5 to 20 % less of a training step on two cores.

        This holds under three conditions: the gates are more work than the state; the weights are large enough for XLA to
        share a half's product among the cores, and small enough for the cache, since they are read twice; and the gates are so
        few that XLA does not share their work. `gates` and `state` are numbers of elements in a step.
        """
        if not self.on_one_cpu or is_symbolic_dim(rows) or rows < self.rows_of_halves or rows % 2:
            return False
        return 2 * state <= gates < 96_000 and weights in self.weights_of_halves

    def row_by_row(self, rows: Dim, weights: int, differentiated: bool = True) -> bool:
        """Whether a product of a few rows is done as products of vectors.

        From jax 0.11 on XLA compiles a loop of small arrays into one function, with the products of vectors in it; for a
        product of matrices it calls a library at every step. 0.45 to 0.8 of a training step's time with two rows, 0.65 to 0.9
        with four; with five and six up to 1.6. A forward pass alone has less beside the product: it gains where the product
        is tiny (0.5 with two rows of 16 units), and else takes up to 1.7 of the time.
        """
        asked = self.on_one_cpu and not self.old_loops and not is_symbolic_dim(rows)
        most = self.little_work if differentiated else self.least_work
        return asked and rows in _FEW_ROWS and 0 < rows * weights <= most

    def in_one_scan(self, rows: Dim, weights: int) -> bool:
        """Whether a run that is not differentiated is one scan of whole steps, each with its own inputs' product.

        XLA compiles such a loop of one row into one function: 0.57 to 0.87 of a forward pass's time with 16 to 64 units. With
        128 units it takes 1.0 to 1.06. With more rows XLA calls a library in every step.
        """
        return self.on_one_cpu and not self.old_loops and rows == 1 and weights <= self.weights_of_one_row

    def transposes_matrices(self, rows: Dim) -> bool:
        """Whether the backward loop reads transposed copies of the recurrent matrices: 5 to 20 % of a training step on a CPU.

        With fewer rows the products are of vectors, for which it is slower, up to five times.
        """
        return not is_symbolic_dim(rows) and rows >= self.many_rows

    def carries_gates(self, rows: Dim, parts: int) -> bool:
        """Whether a forward pass hands each step's gates to the next step, which does not read them.

        XLA before jax 0.11 computes them inside the loop that makes the new state, not vectorised, if nothing else takes them.
        That is so where the state is one array: a GRU's forward pass takes 1.5 to 2.7 times as long.
        """
        return self.old_loops and self.platform == "cpu" and parts == 1 and not is_symbolic_dim(rows) and rows >= self.many_rows

    def chunk_size(self, time: Dim, batch: Dim, mode: Mode, in_tiles: bool = False, at_once: bool = False) -> int:
        """Steps a chunk, where the caller names none; in tiles each ends with a chunk.

        About 512 rows give a matrix product that runs near the machine's full rate (on CPU; more steps gain nothing), and a
        chunk of at most 128 steps keeps its own temporaries small beside a long sequence. What is saved anyway and has no more
        than four times the rows is one chunk: a loop of a few costs some 5 % of so short a run. With several levels a chunk is
        no longer than a block, or its temporaries would be most of the memory. On a GPU a chunk has some 30 kernels of its own,
        as many as 4 steps: it has 32 steps, and 64 where these are small (0.92 of the time, on an H100; 128 gain no more).
        Steps that are run `at_once` are as many as `recurrence` takes together.

        A program exported for any T (`jax.export`) has chunks of one step: no other size divides every T, and one chunk of T
        steps would project all inputs at once, which takes more memory and no less time.
        """
        if is_symbolic_dim(time):
            return 1
        batch = ROWS_OF_ANY_BATCH if is_symbolic_dim(batch) else batch
        rows = 2048 if mode.name == "save" and time * batch <= 2048 else 512
        fewest, most = 4 if self.platform == "cpu" else 32, 128
        if self.platform == "gpu":
            rows, most = 4096 if mode.name == "save" else rows, 64
        if self.of_four or at_once:  # a chunk is one kernel, or one system of equations, and what is around it
            at_once_by = time if self.recurrence == "associative" else 256
            fewest = most = self.steps_of_four if self.of_four else at_once_by
        if in_tiles and self.on_one_cpu and batch >= 2 * self.tile_rows:
            rows, batch = 160, self.tile_rows
        aim = min(max(math.ceil(rows / max(batch, 1)), fewest), most)
        if mode.levels != 1:
            levels = mode.levels or max(1, levels_of(time) - 1)
            aim = min(aim, math.ceil(time ** (1 / (levels + 1)) - 1e-9))
        return chunk_near(time, aim)


_chosen: contextvars.ContextVar[Tuning | None] = contextvars.ContextVar("jaxrnn_tuning", default=None)


def current() -> Tuning:
    """That of the innermost `tuned_for`, or else of the default backend and the devices that there are.

    What is split over devices is not known while tracing, but for two cases: types of explicit axes say it, be it of one
    device; and inside a `jax.shard_map` over all axes each device has whole arrays.
    """
    kinds, chosen = jax.sharding.get_abstract_mesh().axis_types, _chosen.get()
    explicit = AxisType.Explicit in kinds
    if chosen is not None:
        return dataclasses.replace(chosen, sharded=chosen.sharded or explicit)
    mapped = len(kinds) > 0 and all(kind == AxisType.Manual for kind in kinds)
    return _of(jax.default_backend(), explicit or (jax.device_count() > 1 and not mapped))


def _of(platform: str, sharded: bool) -> Tuning:
    name = "gpu" if platform in GPUS else platform
    return Tuning(name, sharded, old_loops=jax.__version_info__ < (0, 11))


@contextlib.contextmanager
def tuned_for(platform: str, *, sharded: bool = False) -> Iterator[None]:
    """Runs that are traced inside are tuned for a platform; outside it is the default backend's. No number changes.

    Args:
      platform: "cpu", "gpu" (or "cuda", "rocm") or "tpu".
      sharded: whether arrays will be split over devices. Outside every host with several devices counts as such a case.

    Returns:
      A context manager, for runs of any shape.

    Raises:
      ValueError: if there is no such platform.
      TypeError: if sharded is not a bool.

    Example: a program for a GPU, made on a machine without one.

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.GRUCell(5)
      >>> params, inputs = cell.init(jax.random.key(0), 3), jnp.ones((4, 7, 3))
      >>> run = jax.jit(lambda params, inputs: jaxrnn.dynamic_rnn(cell, params, inputs)[0])
      >>> with jaxrnn.tuned_for("cuda"):
      ...     exported = jax.export.export(run, platforms=["cuda"])(params, inputs)
      >>> exported.platforms
      ('cuda',)
    """
    check.platform(platform, PLATFORMS)
    with using(_of(platform, check.flag("sharded", sharded))):
        yield


@contextlib.contextmanager
def using(tuning: Tuning) -> Iterator[None]:
    """Runs that are traced inside have this tuning."""
    token = _chosen.set(tuning)
    try:
        yield
    finally:
        _chosen.reset(token)
