"""Tests of programs for GPUs, which XLA compiles without one where its plug-in is installed."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import pytest

from tests.cli.measure.scanned_stack import lowered_stack
from vlp_jax.cli.main import main
from vlp_jax.cli.measure.hlo import read_program
from vlp_jax.cli.measure.hlo_collectives import traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.parallel.gpu_topology import GPUS, gpu_hosts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("jax_cuda13_plugin"), reason="needs XLA's plug-in for GPUs"
    ),
]

PREFLIGHT = ["preflight", "--config", "albef/pretrain:smoke", "--config.training.dtype=bfloat16"]


@pytest.mark.parametrize("name", ["h100:8", "a100:16"])
def test_a_scanned_stack_over_hosts(name):
    where = gpu_hosts(name)
    lowered, flops = lowered_stack(where, batch=256)
    for by_cublas in (True, False):
        options = {"xla_gpu_enable_triton_gemm": not by_cublas}
        text = lowered.compile(options).as_text()
        assert ("__cublas" in text) == by_cublas
        program = read_program(text)
        assert product_flops(program) == flops
        found = traffic(program, len(where.devices), where.slice_of, where.nets)
        nets = {"NVLink"} if where.slices == 1 else {"NVLink", "network"}
        assert {one.net for one in found} == nets


@pytest.mark.parametrize("kind", GPUS)
def test_every_kind_can_be_compiled_for(kind):
    (device,) = gpu_hosts(f"{kind}:1").devices
    place = jax.sharding.SingleDeviceSharding(device)
    x = jax.ShapeDtypeStruct((64, 64), jnp.bfloat16, sharding=place)
    compiled = jax.jit(lambda x: jnp.tanh(x @ x)).lower(x).compile()
    assert compiled.memory_analysis().output_size_in_bytes == 64 * 64 * 2


@pytest.mark.parametrize(("stride", "slack"), [(1, 0), (2, 0.05)])
def test_convolutions_and_their_gradients_are_counted_as_on_cpus(stride, slack):
    """Padding that is not the same on both sides is made beforehand, and counts there."""

    def run(image, kernel):
        dims = ("NHWC", "HWIO", "NHWC")
        made = jax.lax.conv_general_dilated(image, kernel, (stride,) * 2, "SAME", None, None, dims)
        return jnp.square(made.astype(jnp.float32)).sum()

    place = jax.sharding.SingleDeviceSharding(gpu_hosts("h100:1").devices[0])
    both = jax.value_and_grad(run, (0, 1))
    shapes = (8, 32, 32, 64), (3, 3, 64, 128)
    here = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    there = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in shapes]
    text = jax.jit(both).lower(*there).compile().as_text()
    assert text.count('custom_call_target="__cudnn$conv') == 3
    on_cpu = read_program(jax.jit(both).lower(*here).compile().as_text())
    assert product_flops(read_program(text)) == pytest.approx(product_flops(on_cpu), rel=slack)


def test_a_preflight_in_half_precision(capsys, monkeypatch):
    """Attention is cuDNN's there, also of the 5 tokens of such a picture, an odd number."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    main([*PREFLIGHT, "--topology", "h100:8"])
    said = capsys.readouterr().out
    assert "h100:8, 8 devices, mesh data=8" in said
    assert "of 39.6 GiB of a device" in said and "over NVLink  all-reduce" in said
    assert "it fits" in said
    needed = float(said.split(" times the ")[0].split()[-1])
    # Attention is over 6 tokens, and its probabilities are computed once more.
    assert 1.1 <= needed <= 1.3


def test_what_does_not_fit_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.00001")
    assert main([*PREFLIGHT, "--topology", "h100:1"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"it does not fit: a chip needs 0.0\d GiB of HBM and has 0.00 GiB", said)
