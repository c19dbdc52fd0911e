"""Temporary memory of a training step of an LSTM, mode by mode: `python benchmarks/memory.py`.

The compiler's own count (`temp_size_in_bytes`), in multiples of T * B * H floats. Nothing is run, so it needs neither the
memory nor the time.
"""

from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn


def on_all_outputs(outputs, state):
    """A loss that reads every output."""
    return (outputs**2).sum()


def on_the_last_state(outputs, state):
    """A loss that reads the last state alone."""
    return (state.h**2).sum()


def temporaries(run, loss, time, batch, inputs, units):
    """Multiples of T * B * H floats; `run` takes (cell, params, x `[T, B, D]`)."""
    cell = jaxrnn.LSTMCell(units)
    args = jax.eval_shape(lambda: (cell.init(jax.random.key(0), inputs), jnp.zeros((time, batch, inputs))))
    step = jax.jit(jax.value_and_grad(lambda p, x: loss(*run(cell, p, x))))
    analysis: Any = step.lower(*args).compile().memory_analysis()
    return analysis.temp_size_in_bytes / (time * batch * units * 4)


def plain_scan(cell, params, x):
    """What one writes by hand: `lax.scan` of the equations."""
    h = cell.num_units

    def step(state, x):
        i, f, g, o = jnp.split(x @ params["kernel"] + state.h @ params["recurrent_kernel"] + params["bias"], 4, -1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        state = jaxrnn.LSTMStateTuple(c, jax.nn.sigmoid(o) * jnp.tanh(c))
        return state, state.h

    zeros = jnp.zeros((x.shape[1], h))
    return jax.lax.scan(step, jaxrnn.LSTMStateTuple(zeros, zeros), x)[::-1]


def with_mode(memory, time_major):
    """`dynamic_rnn` in a memory mode, from batch-major or time-major inputs."""

    def run(cell, params, x):
        return jaxrnn.dynamic_rnn(cell, params, x, memory=memory, time_major=time_major)

    return run


def table(title, loss, time, batch, inputs, units):
    """Prints a row a mode."""
    print(f"\n{title}; T, B, D, H = {time}, {batch}, {inputs}, {units}")
    print(f"{'':14}{'batch-major':>12}{'time-major':>12}")
    print(f"{'plain scan':14}{'':12}{temporaries(plain_scan, loss, time, batch, inputs, units):12.3f}")
    for mode in jaxrnn.memory.MODES:
        # For the compiler's count only the shape matters: batch-major inputs are [T, B, D] with the names exchanged.
        by_batch = temporaries(with_mode(mode, False), loss, batch, time, inputs, units)
        by_time = temporaries(with_mode(mode, True), loss, time, batch, inputs, units)
        print(f"{mode:14}{by_batch:12.3f}{by_time:12.3f}")


if __name__ == "__main__":
    print(f"jax {jax.__version__}, {jax.default_backend()}: temporary memory of a training step, in T * B * H floats")
    table("loss on all outputs", on_all_outputs, 4096, 8, 32, 64)
    table("loss on the last state", on_the_last_state, 65536, 4, 8, 64)
