"""One system in a process of its own: compiles, says so, and then runs whenever it is told to. See `speed.py`.

    python worker.py SYSTEM CELL,T,B,D,H[,LENGTHS]

Prints a line of JSON when it is ready, and for every line "forward" or "train" that it reads the seconds of each run that it
made of it.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from work import Work

PATIENCE = 0.15  # seconds for the runs of one turn, three at least


def jax_steps(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """What JAX compiles: the outputs, and the loss with its gradient with respect to the params."""
    import jax
    from systems import SYSTEMS, loss_of

    value, params = loss_of(system, work, "outputs")
    run, _ = SYSTEMS[system](work, "outputs")
    args = (params, *map(jax.numpy.asarray, work.arrays))
    outputs = lambda params, x, lengths=None: run(params, x, lengths)[0]
    began = time.perf_counter()
    train = jax.jit(jax.value_and_grad(value)).lower(*args).compile()
    took = time.perf_counter() - began
    forward = jax.jit(outputs).lower(*args).compile()
    analysis: Any = train.memory_analysis()
    about = {"jax": jax.__version__, "compile": took, "bytes": analysis.temp_size_in_bytes}
    call = lambda compiled: lambda: jax.block_until_ready(compiled(*args))
    return {"forward": call(forward), "train": call(train)}, about


def products(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """A large matrix product: the rate that the machine has, against which the others are held."""
    import jax

    a = jax.numpy.ones((1024, 1024))
    product = jax.jit(lambda a: a @ a)
    run = lambda: jax.block_until_ready(product(a))
    return {"forward": run, "train": run}, {"jax": jax.__version__, "operations": 2 * 1024**3}


def torch_steps(system: str, work: Work) -> tuple[dict[str, Callable], dict[str, Any]]:
    """`torch.nn.LSTM`, `GRU`, `RNN`; rows with lengths are packed, as its users do."""
    import torch
    from torch.nn.utils import rnn

    torch.set_num_threads(os.cpu_count() or 1)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "basic": torch.nn.RNN}[work.cell]
    layer, (x, *lengths) = layer(work.inputs, work.units, batch_first=True), map(torch.from_numpy, work.arrays)

    def outputs():
        if not lengths:
            return layer(x)[0]
        packed = rnn.pack_padded_sequence(x, lengths[0].long(), batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=work.time)[0]

    def forward():
        with torch.no_grad():
            outputs()

    def train():
        layer.zero_grad()
        outputs().sin().sum().backward()

    return {"forward": forward, "train": train}, {"torch": torch.__version__}


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
    """Gets ready, and runs when told to."""
    system, work = sys.argv[1], Work.of(sys.argv[2])
    build = {"torch": torch_steps, "TF1": tf1_steps, "a matrix product": products}.get(system, jax_steps)
    steps, about = build(system, work)
    began = time.perf_counter()
    for step in steps.values():
        step()
    print(json.dumps(about | {"first": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        step, times = steps[line.strip()], []
        step()
        while len(times) < 3 or sum(times) < PATIENCE:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
