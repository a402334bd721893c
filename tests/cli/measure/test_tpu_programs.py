"""Tests of what is read out of programs for TPUs, which libtpu compiles without one."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vlp_jax.cli.measure.hlo import read_program
from vlp_jax.cli.measure.hlo_collectives import traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.parallel import make_mesh
from vlp_jax.parallel.topology import CHIPS, tpu_slices

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu"),
]

LAYERS, BATCH, WIDTH = 5, 64, 256


@pytest.mark.parametrize("slices", [1, 2])
def test_a_scanned_stack_over_slices(slices):
    where = tpu_slices("v5e:2x2", slices)
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
    compiled = jax.jit(run, out_shardings=places[0]).lower(*arguments).compile()
    program = read_program(compiled.as_text())
    each = 2 * BATCH * WIDTH**2 / len(where.devices)
    assert product_flops(program) == 3 * LAYERS * each
    found = traffic(program, len(where.devices), where.slice_of)
    assert {one.net for one in found} == ({"ICI"} if slices == 1 else {"ICI", "DCN"})


def test_every_size_that_is_named_is_there():
    for generation, chip in CHIPS.items():
        for size in chip.sizes:
            assert tpu_slices(f"{generation}:{size}").devices
