"""What the compiler is told, by options and by the precision of products: accepted, heard everywhere, and harmless."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxrnn

CELLS = [
    jaxrnn.LSTMCell(5, use_peepholes=True, num_proj=4),
    jaxrnn.GRUCell(6),
    jaxrnn.MultiRNNCell([jaxrnn.GRUCell(4, reset_after=False)] * 2),
]


def gradient(cell, memory="save"):
    return jax.value_and_grad(lambda params, inputs: jnp.sum(jaxrnn.dynamic_rnn(cell, params, inputs, memory=memory)[0] ** 2))


def arguments(cell):
    return cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (9, 12, 3))


@pytest.mark.parametrize("platform", ["gpu", "cuda", "rocm", "cpu", "tpu", None])
def test_the_compiler_accepts_them(platform):
    """It knows every platform's options wherever it runs, and refuses those that it does not know."""
    options = jaxrnn.compiler_options(platform)
    assert bool(options) == (platform in ("gpu", "cuda", "rocm"))
    cell = jaxrnn.GRUCell(5)
    params, inputs = arguments(cell)
    jax.jit(gradient(cell), compiler_options=options).lower(params, inputs).compile()


def test_the_compiler_refuses_others():
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_gpu_no_such_option"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_no_such_option": True})(1.0)


@pytest.mark.parametrize(
    ("cell", "memory"),
    [*((cell, "save") for cell in CELLS), *((CELLS[0], memory) for memory in ("recompute", "offload"))],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_product_hears_of_a_precision(cell, memory):
    """bfloat16 products that add up in float32, and all else in float32; a CPU computes them in float32 too."""
    with jax.default_matmul_precision("BF16_BF16_F32"):
        text = jax.jit(gradient(cell, memory)).trace(*arguments(cell)).lower(lowering_platforms=("cuda",)).as_text()
    products = re.findall(r"stablehlo\.dot_general.*", text)
    assert len(products) >= 6
    assert all("lhs_precision_type = bf16" in product and "accumulation_type = f32" in product for product in products)
    assert "xbf16>" not in text  # nothing is kept in it
