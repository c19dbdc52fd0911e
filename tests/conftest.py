"""How the tests run: eight simulated devices, code compiled fast rather than fast code, warnings and mixed dtypes as errors."""

import atexit
import gc
import os
import shutil
import tempfile

# The tests compile some hundred small programs and run each a few times. LLVM's optimisations change no buffer and no
# number that a test looks at.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import jax
import pytest

from tests.random_runs import place

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# What one module compiles another need not, in whatever process of pytest-xdist: a program is the same in any of them. Several
# runs can share a folder that they are given.
if "PROGRAMS_OF_THE_TESTS" not in os.environ:
    os.environ["PROGRAMS_OF_THE_TESTS"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["PROGRAMS_OF_THE_TESTS"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["PROGRAMS_OF_THE_TESTS"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Each program in memory holds memory maps, of which a process may have some ten thousand."""
    yield
    jax.clear_caches()


@pytest.fixture
def one_device():
    """What runs where there is one device, where nothing is split."""
    with place("one_device"):
        yield


@pytest.fixture
def on_a_gpu():
    """What runs on a GPU, run by the backend that there is."""
    with place("gpu"):
        yield


@pytest.fixture
def on_a_cpu():
    """What runs on a CPU, wherever the tests run."""
    with place("cpu"):
        yield


@pytest.fixture
def compiled_for_a_cpu():
    """The bytes of its programs are others than a GPU's."""
    if jax.default_backend() != "cpu":
        pytest.skip("bytes of a CPU's program")


@pytest.fixture
def as_if_large():
    """What a CPU does with much work, done with little: tiles of two rows, halves, no product row by row."""
    with place("as_if_large"):
        yield


gc.freeze()  # what is imported stays: not to be looked through at every collection
gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def small_heap():
    """`jax.checking_leaks` collects garbage at the end of every trace, which takes long where much is alive."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
