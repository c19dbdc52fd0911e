"""The parts of the benchmarks: kernels are counted, works named, measurements put in order, and one is made."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import jaxrnn

FOLDER = pathlib.Path(__file__).parent.parent / "benchmarks"

# A program as XLA writes them for a GPU, a scan and a sum, abridged: a start and its end are one kernel, a call holds a command
# buffer, and a fusion is one, whatever it is made of.
PROGRAM = """
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[16,256]{1,0}, f32[256,256]{1,0})->f32[]}

%fused_add (param_0.5: s32[]) -> s32[] {
  %param_0.5 = s32[] parameter(0)
  %constant_5_1 = s32[] constant(1)
  ROOT %add.1.1 = s32[] add(%param_0.5, %constant_5_1)
}

%region_0.2 (arg_tuple.1: (s32[], f32[16,256], f32[100,16,256])) -> (s32[], f32[16,256], f32[100,16,256]) {
  %arg_tuple.1 = (s32[], f32[16,256]{1,0}, f32[100,16,256]{2,1,0}) parameter(0)
  %get-tuple-element.8 = s32[] get-tuple-element(%arg_tuple.1), index=0
  %get-tuple-element.9 = f32[16,256]{1,0} get-tuple-element(%arg_tuple.1), index=1
  %get-tuple-element.10 = f32[100,16,256]{2,1,0:S(5)} get-tuple-element(%arg_tuple.1), index=2
  %fusion-start = ((f32[100,16,256]{2,1,0}, s32[]), f32[100,16,256]{2,1,0:S(5)}, u32[]) fusion-start(%get-tuple-element.10), \
kind=kLoop, calls=%fused_dynamic_update_slice.clone
  %fusion-done = f32[100,16,256]{2,1,0} fusion-done(%fusion-start)
  %cublas-gemm.1 = (f32[16,256]{1,0}, /*index=1*/s8[4194304]{0}) custom-call(%get-tuple-element.9), \
custom_call_target="__cublas$gemm"
  %bitcast.1.0 = f32[16,8,32]{2,1,0} bitcast(%get-tuple-element.9)
  %loop_add_fusion = s32[] fusion(%get-tuple-element.8), kind=kLoop, calls=%fused_add, control-predecessors={%fusion-start}
  ROOT %tuple.1 = (s32[], f32[16,256]{1,0}, f32[100,16,256]{2,1,0}) tuple(%loop_add_fusion, %bitcast.1.0, %fusion-done)
}

%region_1.3 (arg_tuple.3: (s32[], f32[16,256], f32[100,16,256])) -> pred[] {
  ROOT %wrapped_compare = pred[] fusion(%arg_tuple.3), kind=kLoop, calls=%wrapped_compare_computation
}

%command_buffer (p: f32[100,16,256]) -> f32[] {
  %p = f32[100,16,256]{2,1,0} parameter(0)
  %copy.1 = f32[100,16,256]{2,1,0} copy(%p)
  ROOT %input_reduce_fusion = f32[] fusion(%copy.1), kind=kInput, calls=%fused_reduce
}

ENTRY %main.4 (h.1: f32[16,256], u.1: f32[256,256]) -> f32[] {
  %h.1 = f32[16,256]{1,0} parameter(0)
  %u.1 = f32[256,256]{1,0} parameter(1)
  %loop_broadcast_fusion = f32[100,16,256]{2,1,0} fusion(), kind=kLoop, calls=%fused_broadcast
  %tuple = (s32[], f32[16,256]{1,0}, f32[100,16,256]{2,1,0}) tuple(%constant, %h.1, %loop_broadcast_fusion)
  %while = (s32[], f32[16,256]{1,0}, f32[100,16,256]{2,1,0}) while(%tuple), condition=%region_1.3, body=%region_0.2, \
backend_config={"known_trip_count":{"n":"100"},"known_init_step":{"init":"0","step":"1"}}
  %get-tuple-element.1 = f32[100,16,256]{2,1,0} get-tuple-element(%while), index=2
  ROOT %call = f32[] call(%get-tuple-element.1), to_apply=%command_buffer
}
"""


@pytest.fixture
def parts(monkeypatch):
    """The modules of the benchmarks, which import one another by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu
    import kernels
    import work

    return gpu, kernels, work


def test_kernels_are_counted(parts):
    _, kernels, _ = parts
    assert kernels.loops(PROGRAM) == [(1, 3), (100, 3)]
    assert kernels.launches(PROGRAM) == 303


def test_kernels_of_a_program_of_this_machine(parts):
    _, kernels, _ = parts
    step = lambda h, x: (jnp.tanh(h @ h) + x, None)
    run = lambda h, xs: jax.lax.scan(lambda h, xs: jax.lax.scan(step, h, xs), h, xs)[0]
    text = jax.jit(run).lower(jnp.ones((8, 8)), jnp.ones((3, 5))).compile().as_text()
    assert [loop.times for loop in kernels.loops(text)] == [1, 3, 15]
    assert kernels.launches(text) >= 15


@pytest.mark.parametrize(
    ("name", "lengths", "precision", "dtype"),
    [
        ("lstm,4,3,2,1", "", "", "float32"),
        ("gru,4,3,2,1,uniform", "uniform", "", "float32"),
        ("gru,4,3,2,1,tf32", "", "tf32", "float32"),
        ("basic,4,3,2,1,geometric,bfloat16", "geometric", "bfloat16", "bfloat16"),
    ],
)
def test_works_have_names(parts, name, lengths, precision, dtype):
    work = parts[2].Work.of(name)
    assert (work.time, work.batch, work.inputs, work.units) == (4, 3, 2, 1)
    assert (work.lengths, work.precision, work.dtype) == (lengths, precision, dtype)
    assert work.name == name


def test_the_most_important_come_first(parts):
    gpu, _, _ = parts
    jobs = gpu.jobs(gpu.parser.parse_args([]))
    assert len(set(jobs)) == len(jobs)
    assert jobs[0].system == gpu.PRODUCT
    assert jobs[1] == ("speed", "jaxrnn save", "lstm,1024,16,768,768,bfloat16", "outputs")
    kinds = [job.kind for job in jobs]
    assert kinds.index("trial") < 30
    assert {job.system for job in jobs} >= {*gpu.SYSTEMS, *gpu.COMPILER_OPTIONS}
    only = gpu.jobs(gpu.parser.parse_args(["--parts", "offload", "--lengths", "64", "128"]))
    assert [job.system for job in only] == ["trial", *["jaxrnn recompute, time-major", "jaxrnn offload, time-major"] * 4]


def test_what_jaxrnn_says_of_the_compiler_is_measured(parts):
    gpu, _, _ = parts
    assert gpu.COMPILER_OPTIONS["jaxrnn save, compiler_options"] == jaxrnn.compiler_options("gpu")


def test_a_measurement(tmp_path):
    """One row of the benchmark; a second time it is there already."""
    command = [sys.executable, str(FOLDER / "gpu.py"), "--platform", "cpu", "--parts", "speed", "--rounds", "1"]
    command += ["--rows", "lstm,8,2,3,4,bfloat16", "--systems", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert "us a step x  1.00" in done.stdout
    first = (tmp_path / "gpu.json").read_text()
    rows = json.loads(first)["rows"]
    assert [row["system"] for row in rows] == ["a matrix product", "jaxrnn save"]
    assert rows[1]["bytes"] > 0
    assert 0 < rows[1]["train"]["best"] <= rows[1]["train"]["median"]
    subprocess.run(command, capture_output=True, check=True)
    assert (tmp_path / "gpu.json").read_text() == first


def test_what_failed_is_tried_again(parts, tmp_path):
    gpu, _, _ = parts
    rows = [{"bytes": 1}, {"left_out": "work.NotOfferedError: lengths"}, {"left_out": "RuntimeError: out of memory"}]
    (tmp_path / "gpu.json").write_text(json.dumps({"rows": rows}))
    assert gpu.kept(tmp_path / "gpu.json") == rows[:2]
    assert gpu.kept(tmp_path / "none.json") == []


def test_a_compilation_is_timed(parts):
    import compile_times

    work = parts[2].Work.of("gru,7,3,5,6,uniform")
    stages = compile_times.measure("jaxrnn save", work)
    assert len(stages) == len(compile_times.STAGES)
    assert all(seconds > 0 for seconds in stages)
