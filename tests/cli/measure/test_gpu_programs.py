"""Tests of programs for GPUs, which XLA compiles without one where its plug-in is installed."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vlp_jax.cli.main import main
from vlp_jax.cli.measure.hlo import read_program
from vlp_jax.cli.measure.hlo_collectives import traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.parallel import make_mesh
from vlp_jax.parallel.gpu_topology import GPUS, gpu_hosts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("jax_cuda13_plugin"), reason="needs XLA's plug-in for GPUs"
    ),
]

LAYERS, BATCH, WIDTH = 5, 256, 256
PREFLIGHT = ["preflight", "--config", "albef/pretrain:smoke", "--config.training.dtype=bfloat16"]


@pytest.mark.parametrize("name", ["h100:8", "a100:16"])
def test_a_scanned_stack_over_hosts(name):
    where = gpu_hosts(name)
    mesh = make_mesh(-1, 2, 1, devices=where.devices)
    place = lambda *names: NamedSharding(mesh, PartitionSpec(*names))
    shapes = (LAYERS, WIDTH, WIDTH), (BATCH, WIDTH)
    places = place(None, "fsdp"), place(("data", "fsdp"))
    arguments = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
        for shape, sharding in zip(shapes, places)
    ]
    step = lambda h, w: (jnp.tanh(h @ w), None)
    run = jax.grad(lambda w, x: jax.lax.scan(step, x, w)[0].sum())
    lowered = jax.jit(run, out_shardings=places[0]).lower(*arguments)
    each = 2 * BATCH * WIDTH**2 / len(where.devices)
    for by_cublas in (True, False):
        options = {"xla_gpu_enable_triton_gemm": not by_cublas}
        text = lowered.compile(options).as_text()
        assert ("__cublas" in text) == by_cublas
        program = read_program(text)
        assert product_flops(program) == 3 * LAYERS * each
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


def test_a_preflight_in_half_precision(capsys, monkeypatch):
    """Attention is cuDNN's there, also of the 5 tokens of such a picture, an odd number."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    main([*PREFLIGHT, "--topology", "h100:8"])
    said = capsys.readouterr().out
    assert "h100:8, 8 devices, mesh data=8" in said
    assert "of 39.6 GiB of a device" in said and "over NVLink  all-reduce" in said
    assert "it fits" in said
    needed = float(said.split(" times the ")[0].split()[-1])
    assert 1.0 <= needed <= 1.1


def test_what_does_not_fit_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.0001")
    assert main([*PREFLIGHT, "--topology", "h100:1"]) == 1
    said = capsys.readouterr().out
    assert "it does not fit: a chip needs 0.0" in said and "and has 0.01 GiB" in said
