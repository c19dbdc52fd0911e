"""Two real processes with two devices each give what one process with one device gives: rows, hidden units and layers split."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import cases_of_processes
from tests import test_distributed as cases

ROOT = pathlib.Path(__file__).parents[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the two processes have computed, by name."""
    folder = tmp_path_factory.mktemp("processes")
    port, file, started = free_port(), folder / "results.npz", []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/one_of_several_processes.py"), str(port)]
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(open(folder / f"{i}.log", "w+")) for i in range(2)]
        for i, log in enumerate(logs):
            process = subprocess.Popen([*command, str(i), "2", str(file)], cwd=ROOT, env=environment, stdout=log, stderr=log)
            stack.callback(process.kill)
            started.append(process)
        for process, log in zip(started, logs, strict=True):
            code = process.wait(timeout=900)
            log.seek(0)
            assert code == 0, log.read()[-3000:]
    return dict(np.load(file))


def wanted(kind, memory):
    """The same gradient by one device, leaf by leaf, in the order of the processes' results."""
    options = {"memory": memory, "chunk_size": 3}
    if kind == "units":
        units, _ = cases.over_units(cases.LSTM, options)
        _, (params, *args) = cases_of_processes.units(memory)
        value, (ct_params, ct_inputs) = jax.jit(cases.on_one(cases.LSTM, options))(units.join(params), *args)
        return value, (units.split(ct_params), ct_inputs)
    if kind == "layers":
        cell, along, flags, one, _ = cases.pipeline("gru", memory)
        params = cases.random(cell.init(jax.random.key(0), 5))
        value, (ct_params, ct_inputs, ct_states) = jax.jit(one)(params, cases.SQUARE, along, flags)
        stacked = {key: cases.stack_layers(states) for key, states in ct_states.items()}
        return value, (cases.stack_layers(ct_params), ct_inputs, stacked)
    _, args = cases_of_processes.rows(memory)
    return jax.jit(jax.value_and_grad(cases.of_rows(cases.LSTM, options), (0, 1)))(*args)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases_of_processes.CASES)
def test_two_processes(results, name):
    for i, leaf in enumerate(jax.tree.leaves(wanted(*name.split()))):
        np.testing.assert_allclose(results[f"{name} {i}"], leaf, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_fast_forms_run_in_every_process(results):
    """Each step has the operations of one device with its own rows."""
    assert str(results["operations"]) == repr(cases.operations_on_one(cases.LSTM))
