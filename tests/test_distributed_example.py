"""examples/distributed.py with real processes: the numbers of one, also after Ctrl-C and after one of them was killed."""

import os
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_examples import EXAMPLES, ROOT, flags, load

pytest.importorskip("orbax.checkpoint", reason="examples/distributed.py saves with orbax-checkpoint: the extra `interop`")

SIZES = {"steps": 60, "batch": 4, "window": 8, "units": 8, "embedding": 4, "checkpoints": 6, "seed": 3}


@pytest.fixture
def text(tmp_path):
    """A text of a few thousand characters, real words in an order that never repeats."""
    words = (EXAMPLES / "char_lm.py").read_text().split()
    order = np.random.default_rng(0).integers(len(words), size=1000)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words[i] for i in order), encoding="utf-8")
    return path


@pytest.fixture
def start():
    """Starts the launcher, which after two minutes is killed with its processes."""
    compile_fast = "--xla_backend_optimization_level=0"
    extra = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": compile_fast, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    timers = []

    def start(*options, **more):
        command = [sys.executable, "-W", "error", str(EXAMPLES / "distributed.py"), *options, *map(str, flags(**more))]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        launcher = subprocess.Popen(command, env=os.environ | extra, start_new_session=True, **pipes)
        timers.append(threading.Timer(120, os.killpg, [launcher.pid, signal.SIGKILL]))
        timers[-1].start()
        return launcher

    yield start
    for timer in timers:
        timer.cancel()


def wait_for_a_checkpoint(launcher):
    """The processes' numbers, at the first line that reports a checkpoint."""
    lines = []
    for line in launcher.stdout:
        lines.append(line)
        if "bits per character" in line:
            return [int(pid) for pid in next(line for line in lines if line.startswith("processes")).split()[1:]]
    pytest.fail("".join(lines))


def finish(launcher, code=0):
    with launcher:
        outputs = launcher.communicate()[0]
    assert launcher.returncode == code, outputs
    return outputs


def newest(out):
    """The last checkpoint's number and its arrays."""
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(out / "checkpoints", item_handlers=ocp.StandardCheckpointHandler()) as manager:
        step = manager.latest_step()
        like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), manager.item_metadata(step).tree)
        return step, manager.restore(step, args=ocp.args.StandardRestore(like))


@pytest.mark.slow
def test_two_processes_are_stopped_and_killed_and_give_the_numbers_of_one(start, text, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(processes=1, devices=1, out=one, text=text, **SIZES))
    steps, expected = newest(one)
    assert steps == SIZES["steps"] == expected["step"]

    launcher = start(processes=2, devices=2, out=two, text=text, **SIZES)
    wait_for_a_checkpoint(launcher)
    launcher.send_signal(signal.SIGINT)
    outputs = finish(launcher, code=1)
    interrupted, got = newest(two)
    assert outputs.count(f"stopped after step {interrupted};") == 1
    assert 10 <= interrupted < steps
    np.testing.assert_allclose(got["losses"][:interrupted], expected["losses"][:interrupted], rtol=1e-5)

    launcher = start("--resume", processes=2, devices=2, out=two)
    _, pid = wait_for_a_checkpoint(launcher)
    os.kill(pid, signal.SIGKILL)
    finish(launcher, code=128 + signal.SIGKILL)
    killed, got = newest(two)
    assert interrupted < killed < steps
    np.testing.assert_allclose(got["losses"][:killed], expected["losses"][:killed], rtol=1e-5)

    finish(start("--resume", processes=1, devices=4, out=two))
    steps, got = newest(two)
    assert steps == SIZES["steps"] == got["step"]
    assert got["losses"].min() > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, expected)


def on_four_devices(text, batch, window):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    return load("distributed").Reader(text.astype(np.int32), mesh, batch, window)


def test_rows_are_the_streams_of_char_lm():
    """Over several devices, in a text that no row divides, and beyond its end."""
    text = np.random.default_rng(0).integers(50, size=97)
    reader = on_four_devices(text, 12, 5)
    for step in (0, 1, 19, 40):
        window = reader(step)
        with jax.numpy_rank_promotion("allow"):
            inputs, targets = load("char_lm").windows(jnp.asarray(text), step, 12, 5)
        np.testing.assert_array_equal(window[:, :-1], inputs)
        np.testing.assert_array_equal(window[:, 1:], targets)
        assert [shard.data.shape for shard in window.addressable_shards] == [(3, 6)] * 4


def test_gradients_cross_the_network_once_a_step():
    """One exchange, of all gradients and the loss together, outside of all loops."""
    example, reader = load("distributed"), on_four_devices(np.arange(97) % 7, 4, 30)
    cell, optimizer = example.make_cell(7, 6, 1, 4), example.make_optimizer(0.01, 8)
    params = cell.init(jax.random.key(0), None)
    training = example.Training(params, optimizer.init(params), cell.initial_state(4), jnp.zeros(8), jnp.int32(0))
    place = lambda tree, spec: jax.device_put(tree, jax.sharding.NamedSharding(reader.mesh, spec))
    training = example.Training(*map(place, training, example.Training()))
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        step = example.train_step.lower(training, reader(0), cell=cell, optimizer=optimizer, mesh=reader.mesh)
    loops, outside = step.compile().as_text().split("\nENTRY")
    assert "all-reduce" not in loops
    assert outside.count(" all-reduce(") == 1
