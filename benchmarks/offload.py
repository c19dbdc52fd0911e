"""Offload in a process of its own: its proof, or what a training step of some length takes. See `gpu.py`.

    python offload.py trial T,B,D,H              what jaxrnn decides, whether gradients and plans are right, a sabotaged trial
    python offload.py SYSTEM T,B,D,H LOSS GB     bytes on the device and the host, seconds; see `memory.py`

Waits for a line, prints one of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any
from unittest import mock

import jax
import numpy as np
from memory import measure
from systems import arrays_of, jaxrnn_plan, loss_of
from work import Work


def trial(work: Work) -> dict[str, Any]:
    """jaxrnn's decision on this machine, offload's gradients and bytes beside what they should be, and a sabotaged trial."""
    from jaxrnn.runners import offload_check

    decided = offload_check.offload_fails()
    compared = {"state": compare(work, "state") | planned(work, "state"), "outputs": compare(work, "outputs")}
    return {"jax": jax.__version__, "decided": decided or "offload is used", **compared, "sabotaged": sabotaged(work)}


def compare(work: Work, loss: str) -> dict[str, float]:
    """How far offload's gradient is from that of "save", and what the compiler counts."""
    saved, _ = gradient("jaxrnn save", work, loss)
    offloaded, analysis = gradient("jaxrnn offload", work, loss)
    return {
        "difference": largest(jax.tree.map(np.subtract, saved, offloaded)),
        "gradient": largest(saved),
        "bytes": analysis.temp_size_in_bytes,
        "host_bytes": analysis.host_temp_size_in_bytes,
    }


def planned(work: Work, loss: str) -> dict[str, float]:
    """What the planner says of offload; it looks at all modes, which takes a while."""
    plan = jaxrnn_plan(work, loss, "offload")
    return {"planned": plan.device_bytes, "planned_host": plan.host_bytes}


def sabotaged(work: Work) -> dict[str, Any]:
    """What happens where offload gives a gradient that is wrong by a hundredth: the warning, and the mode that runs."""
    from jaxrnn.memory.modes import OFFLOAD
    from jaxrnn.runners import offload_check

    right = offload_check._gradients

    def wrong(mode):
        grads, size = right(mode)
        return (jax.tree.map(lambda grad: grad * 1.01, grads), max(size, 1)) if mode is OFFLOAD else (grads, size)

    offload_check._failure.cache_clear()
    as_on_a_gpu = mock.patch.object(jax, "default_backend", return_value="gpu")
    with as_on_a_gpu, mock.patch.object(offload_check, "_gradients", wrong), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        mode = offload_check.proven(OFFLOAD).name
        fallen_back, analysis = gradient("jaxrnn offload", work, "state")
    offload_check._failure.cache_clear()
    expected, _ = gradient("jaxrnn recompute", work, "state")
    return {
        "mode": mode,
        "warning": next((str(warning.message) for warning in warned), None),
        "host_bytes": analysis.host_temp_size_in_bytes,
        "difference_to_recompute": largest(jax.tree.map(np.subtract, fallen_back, expected)),
    }


def gradient(system: str, work: Work, loss: str) -> tuple[Any, Any]:
    """A system's gradient as numpy arrays, and what the compiler counts for it."""
    value, params = loss_of(system, work, loss)
    args = (params, *arrays_of(work))
    compiled = jax.jit(jax.grad(value)).lower(*args).compile()
    return jax.tree.map(np.asarray, compiled(*args)), compiled.memory_analysis()


def largest(tree: Any) -> float:
    """The largest size of any of its numbers."""
    return max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(tree))


def main() -> None:
    """Measures when told to."""
    system, sizes, *rest = sys.argv[1:]
    work = Work.of(f"lstm,{sizes}")
    sys.stdin.readline()
    if system == "trial":
        result = trial(work)
    else:
        loss, limit = rest
        result = measure(system, work.time, loss, [work.batch, work.inputs, work.units], float(limit), planned=False)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
