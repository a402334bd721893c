"""Tests of programs for TPUs, which libtpu compiles without one.

libtpu serves one process at a time, so they run without workers: `pytest -m slow` with this file.
"""

import importlib.util
import os

import jax
import jax.numpy as jnp
import pytest

from tests.cli.measure.scanned_stack import lowered_stack
from vlp_jax.cli.main import main
from vlp_jax.cli.measure.hlo import read_program
from vlp_jax.cli.measure.hlo_collectives import traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.layers.platform import for_any_platform
from vlp_jax.losses.contrastive import make_sides
from vlp_jax.losses.contrastive_forms import SoftmaxForm
from vlp_jax.losses.ring_contrastive import ring_loss
from vlp_jax.losses.similarity_blocks import Scale
from vlp_jax.parallel import batch_sharding, make_mesh, use_mesh
from vlp_jax.parallel.ring import ring_axes
from vlp_jax.parallel.topology import CHIPS, tpu_slices

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu"),
    pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="needs libtpu for itself"),
]


@pytest.mark.parametrize("slices", [1, 2])
def test_a_scanned_stack_over_slices(slices):
    where = tpu_slices("v5e:2x2", slices)
    lowered, flops = lowered_stack(where, batch=64)
    program = read_program(lowered.compile().as_text())
    assert product_flops(program) == flops
    found = traffic(program, len(where.devices), where.slice_of)
    assert {one.net for one in found} == ({"ICI"} if slices == 1 else {"ICI", "DCN"})


def test_every_size_that_is_named_is_there():
    for generation, chip in CHIPS.items():
        for size in chip.sizes:
            assert tpu_slices(f"{generation}:{size}").devices


def test_the_ring_of_eight_chips_keeps_no_more_than_blocks():
    mesh, (size, width) = make_mesh(devices=tpu_slices("v5e:2x4").devices), (32768, 256)
    place = batch_sharding(mesh)
    vectors = jax.ShapeDtypeStruct((size, width), jnp.float32, sharding=place)
    ids = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=place)

    def loss(own, ids):
        scale, sides = Scale(jnp.float32(0.07), jnp.float32(0)), make_sides(own, None, ids, None)
        return ring_loss(SoftmaxForm(), ring_axes(size), sides, None, scale, jnp.float32(0))

    with use_mesh(mesh), for_any_platform():
        lowered = jax.jit(jax.value_and_grad(loss)).lower((vectors, vectors), ids)
    compiled = lowered.compile({"exec_time_optimization_effort": -1.0})
    assert "collective-permute" in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 2**20


def test_a_search_stops_at_what_fits(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # which the verb sets, for good
    arguments = ["--config", "tests/training/tiny_config.py:light", "--topology", "v5e:1x1"]
    assert main(["preflight", *arguments, "--search", "remat"]) == 0
    said = capsys.readouterr().out
    assert "config.training.remat = none: fits" in said and "cheap" not in said
