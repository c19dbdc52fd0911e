"""Recurrent PPO with jaxrnn, with Flax's GRU and with a scan written by hand: steps a second of examples/recurrent_ppo.py.

    python benchmarks/ppo.py                                       what is installed in this environment
    python benchmarks/ppo.py --peers A/bin/python --rounds 5       and in these (see set_up_peers.sh)

All systems run the example's own update: the same mazes, the same PPO, a GRU with a linear layer on top, resets where an
episode begins. Only the cell and what runs it over a rollout are others. Each is a process of its own; they take turns, and the
best update counts. Prints a table, and writes ppo.json to --out. Options of the example (--units 128) are passed on.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import functools
import importlib
import json
import pathlib
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from places import processor, pythons
from running import HERE, Worker

SYSTEMS = ["jaxrnn", "plain lax.scan", "Flax"]


def library(system: str) -> Any:
    """What the example needs of jaxrnn, from another library."""
    import jaxrnn

    if system == "jaxrnn":
        return jaxrnn
    names = {"GRUCell": lambda units: units, "OutputProjectionWrapper": {"Flax": _Flax, "plain lax.scan": _ByHand}[system]}
    return types.SimpleNamespace(**names, dynamic_rnn=_scan, resets_from_dones=jaxrnn.resets_from_dones)


class _Peer:
    """A GRU of `units` with a linear layer on top."""

    def __init__(self, units: int, outputs: int):
        self.units, self.outputs = units, outputs

    def initial_state(self, batch: int) -> Any:
        import jax.numpy as jnp

        return jnp.zeros((batch, self.units))


class _ByHand(_Peer):
    def init(self, key: Any, input_size: int) -> Any:
        import jax
        import jax.numpy as jnp

        keys, normal = jax.random.split(key, 3), jax.random.normal
        w, u = ((input_size, 3 * self.units), (self.units, 3 * self.units))
        return {
            "w": normal(keys[0], w) / w[0] ** 0.5,
            "u": normal(keys[1], u) / u[0] ** 0.5,
            "b": jnp.zeros(3 * self.units),
            "v": jnp.zeros(3 * self.units),
            "out": {"w": normal(keys[2], (self.units, self.outputs)) / self.units**0.5, "b": jnp.zeros(self.outputs)},
        }

    def __call__(self, params: Any, x: Any, h: Any) -> Any:
        from plain import STEPS

        step, _ = STEPS["gru"]
        output, (h,) = step(params, x, h)
        return output @ params["out"]["w"] + params["out"]["b"], h


class _Flax(_Peer):
    @functools.cached_property
    def modules(self) -> Any:
        from flax import linen as nn

        return nn.GRUCell(self.units), nn.Dense(self.outputs)

    def init(self, key: Any, input_size: int) -> Any:
        import jax
        import jax.numpy as jnp

        (gru, dense), keys, state = self.modules, jax.random.split(key), jnp.zeros((1, self.units))
        return gru.init(keys[0], state, jnp.zeros((1, input_size))), dense.init(keys[1], state)

    def __call__(self, params: Any, x: Any, h: Any) -> Any:
        gru, dense = self.modules
        h, y = gru.apply(params[0], h, x)
        return dense.apply(params[1], y), h


def _scan(cell: Any, params: Any, inputs: Any, initial_state: Any, resets: Any) -> Any:
    """What one writes: a scan of the cell, whose state is zero again where an episode begins."""
    import jax.numpy as jnp
    from jax import lax

    def step(state, item):
        x, reset = item
        output, state = cell(params, x, jnp.where(reset[:, None], 0, state))
        return state, output

    state, outputs = lax.scan(step, initial_state, (inputs.swapaxes(0, 1), resets.T))
    return outputs.swapaxes(0, 1), state


def runs(system: str, arguments: list[str]) -> tuple[Callable, int]:
    """`run(seconds)`, which gives the seconds of each update; and how many steps of all mazes an update has."""
    import jax
    import optax

    sys.path.insert(0, str(HERE.parent / "examples"))
    example: Any = importlib.import_module("recurrent_ppo")
    settings, example.jaxrnn = example.parser.parse_args(arguments), library(system)
    cell = example.jaxrnn.OutputProjectionWrapper(example.jaxrnn.GRUCell(settings.units), example.ACTIONS + 1)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(settings.learning_rate, eps=1e-5))
    parts = {"cell": cell, "optimizer": optimizer, "settings": settings}
    update = jax.jit(functools.partial(example.update, **parts), donate_argnums=0)
    place = [jax.jit(functools.partial(example.init, **parts))(jax.random.key(0))]

    def run(seconds: float) -> list[float]:
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            place[0], _ = jax.block_until_ready(update(place[0], False))
            times.append(time.perf_counter() - began)
        return times

    run(0.1)  # compiles
    return run, settings.environments * settings.rollout


def answer(system: str, arguments: list[str]) -> None:
    """A line of times for every line, for as long as there are lines."""
    run, steps = None, 0
    for line in map(str.strip, sys.stdin):
        if run is None:
            run, steps = runs(system, arguments)
        print(json.dumps({"steps": steps} if line == "go" else run(float(line))), flush=True)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Pythons of environments that have peers")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS, help="which")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each system in a round")
    parser.add_argument("--out", default="out/ppo", help="where the results go")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    options, of_the_example = parser.parse_known_args()
    if options.answer:
        answer(options.answer, of_the_example)
        return
    command = lambda s, python: [python, str(HERE / "ppo.py"), *of_the_example, "--answer", s]
    workers = [Worker(s, command(s, python)) for s, python in pythons(options.systems, options.peers).items()]
    for worker in workers:
        worker.get_ready()
        if worker.about is None:
            print(f"left out: {worker.system} ({worker.last_words()})", flush=True)
    workers = [worker for worker in workers if worker.about is not None]
    times: dict[str, list[float]] = {worker.system: [] for worker in workers}
    for _ in range(options.rounds):
        for worker in workers:
            times[worker.system] += worker.ask(str(options.seconds)) or []
    results = {}
    for worker in workers:
        best, about = min(times[worker.system]), worker.about or {}
        speed = about["steps"] / best
        results[worker.system] = {"seconds_an_update": best, "steps_a_second": speed}
        print(f"{worker.system:16} {best * 1e3:8.2f} ms an update {speed:12,.0f} steps a second", flush=True)
        worker.end()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "ppo.json").write_text(json.dumps({"processor": processor(), "systems": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
