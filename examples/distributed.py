"""The character-level language model of char_lm.py, trained by several processes: on one machine or on a cluster.

On one machine the program starts its processes itself, here two with two CPU devices each:

    python examples/distributed.py --processes 2 --devices 2
    python examples/distributed.py --processes 1 --devices 4 --resume    goes on, also on other devices

On a cluster that JAX knows (SLURM, Open MPI, Kubernetes, Cloud TPU) the cluster starts the processes, and they find each other:

    srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 python examples/distributed.py --out /shared/run --resume

Elsewhere start every process by hand and say which one it is, here the first of two:

    python examples/distributed.py --out /shared/run --resume --coordinator host0:1234 --process 0 --of 2

The batch's rows are spread over all devices of all processes. A process reads the streams of its own rows and brings their
windows to its devices. The gradients cross the network once a step, and every device makes the same update. What a row
reads follows from the step and the row's number alone. So a run that goes on gives the numbers of one that never stopped:
bit for bit on as many processes and devices, else up to the order in which gradients are summed. (Training makes differences
grow: with the settings here, from 1e-6 bits in the first losses to some hundredths after 300 steps.)

Ctrl-C, or SIGTERM to any process, stops all of them after the same step, with a checkpoint; --resume goes on from there.
All processes write the checkpoints, to a directory that all of them see. Needs optax and orbax-checkpoint.
"""

import argparse
import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import traceback
import zlib
from pydoc_data.topics import topics
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn

parser = argparse.ArgumentParser(
    description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
parser.add_argument("--processes", type=int, help="start this many, on this machine")
parser.add_argument("--devices", type=int, default=1, help="CPU devices of a process; with --processes also its GPUs")
parser.add_argument("--coordinator", help="where process 0 is, host:port; without it JAX asks the cluster")
parser.add_argument("--process", type=int, help="with --coordinator: which process this is, from 0")
parser.add_argument("--of", type=int, help="with --coordinator: how many processes there are")
parser.add_argument("--out", default="out/distributed", help="where the checkpoints go; all processes have to see it")
parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if any, with its settings")
parser.add_argument("--text", help="a text file in UTF-8, instead of Python's documentation")
parser.add_argument("--steps", type=int, default=300, help="training steps")
parser.add_argument("--batch", type=int, default=16, help="B, parallel streams of all processes together")
parser.add_argument("--window", type=int, default=64, help="K, characters a stream and step")
parser.add_argument("--units", type=int, default=128, help="H, in each LSTM layer")
parser.add_argument("--layers", type=int, default=1, help="LSTM layers")
parser.add_argument("--embedding", type=int, default=32, help="size of a character's embedding")
parser.add_argument("--learning-rate", type=float, default=1.6e-2, help="at its peak; a warm-up first, then a cosine to 0")
parser.add_argument("--checkpoints", type=int, default=6, help="checkpoints, and held-out evaluations, in the run")
parser.add_argument("--seed", type=int, default=0, help="of the first params")

MAY_CHANGE = {"processes", "devices", "coordinator", "process", "of", "out", "resume"}  # when a run goes on
WHOLE, ROWS = P(), P("data")  # the same on all devices; rows of the batch, spread over them


# ---- processes


def launch(processes: int) -> int:
    """Starts this program as several processes; returns 0, or the code of the first that fails, which ends all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the processes inherit it: they get Ctrl-C from here, as a SIGTERM
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_COORDINATOR_BIND_ADDRESS": address}  # out of other machines' reach
    command = [sys.executable, *sys.orig_argv[1:], "--coordinator", address, "--of", str(processes), "--process"]
    workers = [subprocess.Popen([*command, str(i)], env=environment) for i in range(processes)]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: [worker.terminate() for worker in workers])
    print("processes", *(worker.pid for worker in workers), flush=True)
    codes = [None]
    while None in codes and not any(codes):
        time.sleep(0.1)
        codes = [worker.poll() for worker in workers]
    for worker in workers:  # the others would wait for ever for one that failed
        worker.kill()
        worker.wait()
    code = next(filter(None, codes), 0)
    return code if code >= 0 else 128 - code  # of a signal, as a shell says it


def join(options: argparse.Namespace) -> None:
    """Meets the other processes; before JAX looks for devices."""
    jax.config.update("jax_num_cpu_devices", options.devices)
    own = None  # which GPUs: those that the machine or the cluster shows
    if options.processes:
        own = range(options.process * options.devices, (options.process + 1) * options.devices)
    try:
        jax.distributed.initialize(options.coordinator, options.of, options.process, local_device_ids=own)
    except ValueError as error:
        sys.exit(f"{error} JAX knows no cluster here: give --processes, or --coordinator, --process and --of.")


def leave(message: str) -> None:
    """Ends the program in all processes, which all come here; one says why."""
    sys.exit(message if jax.process_index() == 0 else 1)


# ---- the text


def read_text(path: str | None) -> str:
    """The file's text; or Python's documentation, in which a paragraph that several topics share is taken once."""
    if path:
        return pathlib.Path(path).read_text(encoding="utf-8")
    paragraphs = "\n\n".join(topics[name].strip() for name in sorted(topics)).split("\n\n")
    return "\n\n".join(dict.fromkeys(paragraphs))


class Reader(NamedTuple):
    """Reads a text in B streams, a window a step; each process reads the streams of its own rows.

    The streams start at the B parts of the text and read on for ever, into the next part and from the text's end to its
    start: where they are follows from the step alone, and their states are never reset.
    """

    text: np.ndarray
    mesh: Mesh
    batch: int
    window: int

    def __call__(self, step: int) -> jax.Array:
        """A step's characters and the one behind them, `[B, K + 1]`, spread over all devices by rows."""
        own = [device.process_index == jax.process_index() for device in self.mesh.devices.flat]
        rows = np.arange(self.batch).reshape(self.mesh.size, -1)[own].reshape(-1, 1)
        positions = rows * (len(self.text) // self.batch) + step * self.window + np.arange(self.window + 1)
        return jax.make_array_from_process_local_data(
            NamedSharding(self.mesh, ROWS), self.text[positions % len(self.text)], (self.batch, self.window + 1)
        )


def read(settings: argparse.Namespace, mesh: Mesh) -> tuple[int, Reader, Reader]:
    """The number of different characters, the training text and the held-out text."""
    text = read_text(settings.text)
    multihost_utils.assert_equal(np.uint32(zlib.crc32(text.encode())), "The processes have different texts.")
    vocabulary, ids = np.unique(list(text), return_inverse=True)
    ids, held_out_from = ids.astype(np.int32), len(ids) * 9 // 10
    if len(ids) - held_out_from < settings.batch * settings.window:
        leave("The text is too short: a tenth of it has to fill a window of the batch.")
    train_text = Reader(ids[:held_out_from], mesh, settings.batch, settings.window)
    return len(vocabulary), train_text, train_text._replace(text=ids[held_out_from - 1 :])


# ---- the model


def make_cell(classes: int, units: int, layers: int, embedding: int) -> jaxrnn.RNNCell:
    """The whole model as one cell, from a character's id to the logits of the next one."""
    lstm = jaxrnn.MultiRNNCell([jaxrnn.LSTMCell(units)] * layers)
    return jaxrnn.OutputProjectionWrapper(jaxrnn.EmbeddingWrapper(lstm, classes, embedding), classes)


def make_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW with clipped gradients; the rate warms up, then falls to zero along a cosine."""
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(50, steps // 2), steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=0.1))


class Training(NamedTuple):
    """All that a training step changes, and so all that a checkpoint has to hold; here also how it is spread."""

    params: Any = WHOLE
    opt_state: Any = WHOLE
    carry: Any = ROWS  # the LSTM's state after the last window, leaves [B, H]
    losses: Any = WHOLE  # [steps], bits per character
    step: Any = WHOLE


def bits_per_character(params, carry, window, cell):
    """A window's mean loss in bits over all devices' rows, and the LSTM's state after it; runs on each device's rows."""
    logits, carry = jaxrnn.dynamic_rnn(cell, params, window[:, :-1], initial_state=carry)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, window[:, 1:])
    total, count = lax.psum((losses.sum(), losses.size), "data")
    return total / count / jnp.log(2), carry


@functools.partial(jax.jit, static_argnames=("cell", "optimizer", "mesh"), donate_argnames="training")
def train_step(training: Training, window: jax.Array, *, cell, optimizer, mesh) -> Training:
    """One step of truncated back-propagation through time."""
    params, opt_state, carry, losses, step = training

    def on_each_device(params, carry, window):  # the gradient of what is the same on all devices is summed over them
        return jax.value_and_grad(bits_per_character, has_aux=True)(params, carry, window, cell)

    specs = {"in_specs": (WHOLE, ROWS, ROWS), "out_specs": ((WHOLE, ROWS), WHOLE)}
    (loss, carry), grads = jax.shard_map(on_each_device, mesh=mesh, **specs)(params, carry, window)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return Training(optax.apply_updates(params, updates), opt_state, carry, losses.at[step].set(loss), step + 1)


@functools.partial(jax.jit, static_argnames=("cell", "mesh"))
def held_out_step(params: Any, carry: Any, window: jax.Array, *, cell, mesh) -> tuple[jax.Array, Any]:
    """The bits per character of a window without a training step, and the LSTM's state after it."""
    on_each_device = functools.partial(bits_per_character, cell=cell)
    specs = {"in_specs": (WHOLE, ROWS, ROWS), "out_specs": (WHOLE, ROWS)}
    return jax.shard_map(on_each_device, mesh=mesh, **specs)(params, carry, window)


def evaluate(params: Any, text: Reader, cell: jaxrnn.RNNCell) -> float:
    """Bits per character of a whole text, read as in training: in streams, the state carried from window to window."""
    begin = jax.jit(lambda: cell.initial_state(text.batch), out_shardings=NamedSharding(text.mesh, ROWS))
    carry, bits = begin(), []
    for step in range((len(text.text) - 1) // text.batch // text.window):
        loss, carry = held_out_step(params, carry, text(step), cell=cell, mesh=text.mesh)
        bits.append(loss)
    return float(np.mean(jax.device_get(bits)))


# ---- the run


def open_checkpoints(settings: argparse.Namespace) -> ocp.CheckpointManager:
    """The run's checkpoints, and its settings beside them."""
    out = pathlib.Path(settings.out).absolute()
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)  # a step gives its arrays away
    manager = ocp.CheckpointManager(out / "checkpoints", options=options)
    if manager.all_steps() and not settings.resume:
        leave(f"{out} has checkpoints: --resume goes on from the last one, --out writes elsewhere")
    if jax.process_index() == 0:
        stored = {name: value for name, value in vars(settings).items() if name not in MAY_CHANGE}
        (out / "settings.json").write_text(json.dumps(stored))
    return manager


def train(training: Training, text: Reader, held_out: Reader, manager: ocp.CheckpointManager, cell, optimizer, settings):
    """Runs the steps that are left; saves and evaluates now and then, and when a signal stops the run."""
    say = print if jax.process_index() == 0 else lambda *_, **__: None
    steps, first, began = settings.steps, int(training.step) + 1, time.perf_counter()
    say(f"{jax.process_count()} processes, {jax.device_count()} devices, from step {first}", flush=True)
    for step in range(first, steps + 1):
        training = train_step(training, text(step - 1), cell=cell, optimizer=optimizer, mesh=text.mesh)
        stop = multihost_utils.reached_preemption_sync_point(step)  # at the same step in all processes
        if stop or step % max(1, steps // settings.checkpoints) == 0 or step == steps:
            manager.save(step, args=ocp.args.StandardSave(training), force=True)
            bits, seconds = float(training.losses[max(0, step - 10) : step].mean()), time.perf_counter() - began
            seen = f"{bits:.3f} training, {evaluate(training.params, held_out, cell):.3f} held out"
            say(f"step {step:>{len(str(steps))}}/{steps}  bits per character: {seen}  {seconds:.0f} s", flush=True)
        if stop and step < steps:
            leave(f"stopped after step {step}; --resume goes on from there")


def main(settings: argparse.Namespace) -> None:
    """Reads, begins or goes on, trains."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    if settings.batch % mesh.size:
        leave(f"--batch {settings.batch} does not divide by {mesh.size} devices")
    manager = open_checkpoints(settings)
    classes, text, held_out = read(settings, mesh)
    cell = make_cell(classes, settings.units, settings.layers, settings.embedding)
    optimizer = make_optimizer(settings.learning_rate, settings.steps)

    def begin():
        params = cell.init(jax.random.key(settings.seed), None)
        carry, losses = cell.initial_state(settings.batch), jnp.zeros(settings.steps)
        return Training(params, optimizer.init(params), carry, losses, jnp.int32(0))

    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), Training())
    training = jax.jit(begin, out_shardings=shardings)()
    if manager.all_steps():  # onto the devices that there are now
        training = cast(Training, manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(training)))
    train(training, text, held_out, manager, cell, optimizer, settings)


if __name__ == "__main__":
    options = parser.parse_args()
    if options.processes and options.process is None:
        sys.exit(launch(options.processes))
    stored = pathlib.Path(options.out) / "settings.json"
    if options.resume and stored.exists():
        vars(options).update(json.loads(stored.read_text()))
    join(options)
    try:
        main(options)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # JAX's end of a process waits for the others, which wait for this one
