"""One system in a process of its own: compiles, says so, and then runs whenever it is told to. See `running.py`.

    python worker.py SYSTEM CELL,T,B,D,H[,LENGTHS][,PRECISION]

For the first line that it reads it compiles, and prints a line of JSON when it is ready; for every line "forward" or "train"
the seconds of each run that it made of it; for "kernels" how many of them each launches.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from kernels import loops
from options import COMPILER_OPTIONS
from work import NotOfferedError, Work

PATIENCE = 0.15  # seconds for the runs of one turn, three at least


def jax_steps(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """What JAX compiles: the outputs, and the loss with its gradient with respect to the params."""
    import jax
    from systems import SYSTEMS, arrays_of, loss_of, set_precision

    set_precision(work)
    value, params = loss_of(system, work, "outputs")
    run, _ = SYSTEMS[system](work, "outputs")
    args = (params, *arrays_of(work))
    outputs = lambda params, x, lengths=None: run(params, x, lengths)[0]
    compiled_for = lambda function: jax.jit(function).lower(*args).compile(COMPILER_OPTIONS.get(system))
    began = time.perf_counter()
    train = compiled_for(jax.value_and_grad(value))
    took = time.perf_counter() - began
    forward = compiled_for(outputs)
    analysis: Any = train.memory_analysis()
    sizes = {"bytes": analysis.temp_size_in_bytes, "host_bytes": analysis.host_temp_size_in_bytes}
    call = lambda compiled: lambda: jax.block_until_ready(compiled(*args))
    return {
        "forward": call(forward),
        "train": call(train),
        "kernels": lambda: {"forward": loops(forward.as_text() or ""), "train": loops(train.as_text() or "")},
    }, {"jax": jax.__version__, "device": jax.devices()[0].device_kind, "compile": took, **sizes}


def products(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """A large matrix product: the rate that the machine has, against which the others are held."""
    import jax
    from systems import set_precision

    set_precision(work)
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size), work.dtype)  # of ones or zeros a GPU makes products faster
    product = jax.jit(lambda a: a @ a)
    run = lambda: jax.block_until_ready(product(a))
    about = {"jax": jax.__version__, "device": jax.devices()[0].device_kind, "operations": 2 * size**3}
    return {"forward": run, "train": run}, about


def torch_steps(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """`torch.nn.LSTM`, `GRU`, `RNN`, on a GPU those of cuDNN; rows with lengths are packed, as its users do."""
    import torch
    from torch.nn.utils import rnn

    if work.precision in ("mixed", "high"):
        raise NotOfferedError(work.precision)
    torch.set_num_threads(os.cpu_count() or 1)
    wanted, on_gpu = os.environ.get("JAX_PLATFORMS"), torch.cuda.is_available()
    if wanted == "cuda" and not on_gpu:
        raise RuntimeError("this torch finds no GPU")
    on_gpu = on_gpu and wanted != "cpu"
    place = {"device": "cuda" if on_gpu else "cpu", "dtype": getattr(torch, work.dtype)}
    if work.precision:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = work.precision == "tf32"
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "basic": torch.nn.RNN}[work.cell]
    layer, (x, *lengths) = layer(work.inputs, work.units, batch_first=True, **place), map(torch.from_numpy, work.arrays)
    x = x.to(**place)

    def outputs():
        if not lengths:
            return layer(x)[0]
        packed = rnn.pack_padded_sequence(x, lengths[0].long(), batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=work.time)[0]

    def forward():
        with torch.no_grad():
            outputs()
        finish()

    def train():
        layer.zero_grad()
        outputs().sin().sum().backward()
        finish()

    finish = torch.cuda.synchronize if on_gpu else lambda: None
    steps: dict[str, Callable] = {"forward": forward, "train": train}
    if not on_gpu:
        return steps, {"torch": torch.__version__}
    steps["kernels"] = lambda: {what: torch_loops(steps[what]) for what in ("forward", "train")}
    about = {"torch": torch.__version__, "device": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    return steps, about | {"bytes": torch_peak(train)}


def torch_peak(step: Callable) -> int:
    """The most bytes that a step has on the GPU at a time, what was there before left out."""
    import torch

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


def torch_loops(step: Callable) -> list[tuple[int, int]]:
    """The kernels that a step launches, as one loop of one round; see `kernels.loops`."""
    from torch import profiler

    kinds = profiler.ProfilerActivity
    with profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profile:
        step()
    return [(1, sum(event.device_type.name == "CUDA" for event in profile.events()))]


def tf1_steps(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """TensorFlow 1's `dynamic_rnn` in a session."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    cell = {"lstm": tf1.nn.rnn_cell.LSTMCell, "gru": tf1.nn.rnn_cell.GRUCell, "basic": tf1.nn.rnn_cell.BasicRNNCell}[work.cell]
    x, *lengths = work.arrays
    x, lengths = tf1.get_variable("x", initializer=x, trainable=False), lengths[0] if lengths else None
    outputs, _ = tf1.nn.dynamic_rnn(cell(work.units), x, sequence_length=lengths, dtype=tf.float32)
    loss = tf.reduce_sum(tf.sin(outputs))
    grads = [tf.convert_to_tensor(grad) for grad in tf1.gradients(loss, tf1.trainable_variables())]
    session = tf1.Session()
    session.run(tf1.global_variables_initializer())
    steps = {"forward": session.make_callable(outputs.op), "train": session.make_callable([loss.op, *[g.op for g in grads]])}
    return steps, {"tensorflow": tf.__version__}


def main() -> None:
    """Imports, gets ready, and runs when told to."""
    system, work = sys.argv[1], Work.of(sys.argv[2])
    build = {"torch": torch_steps, "TF1": tf1_steps, "a matrix product": products}.get(system, jax_steps)
    importlib.import_module({"torch": "torch", "TF1": "tensorflow"}.get(system, "jax"))
    sys.stdin.readline()
    steps, about = build(system, work)
    began = time.perf_counter()
    for what in ("forward", "train"):
        steps[what]()
    print(json.dumps(about | {"first": time.perf_counter() - began}), flush=True)
    for line in map(str.strip, sys.stdin):
        if line == "kernels":
            print(json.dumps(steps[line]() if line in steps else {}), flush=True)
            continue
        step, times = steps[line], []
        step()
        while len(times) < 3 or sum(times) < PATIENCE:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
