"""A small scanned stack on devices that need not be there, whose products are known."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from vlp_jax.parallel import make_mesh
from vlp_jax.parallel.topology import Slices

LAYERS, WIDTH = 5, 256


def lowered_stack(where: Slices, batch: int) -> tuple[jax.stages.Lowered, float]:
    """Returns its gradient by weights, split over data and fsdp, and the FLOPs of a device."""
    mesh = make_mesh(-1, 2, 1, devices=where.devices)
    place = lambda *names: NamedSharding(mesh, PartitionSpec(*names))
    shapes = (LAYERS, WIDTH, WIDTH), (batch, WIDTH)
    places = place(None, "fsdp"), place(("data", "fsdp"))
    arguments = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
        for shape, sharding in zip(shapes, places)
    ]
    step = lambda h, w: (jnp.tanh(h @ w), None)
    run = jax.grad(lambda w, x: jax.lax.scan(step, x, w)[0].sum())
    lowered = jax.jit(run, out_shardings=places[0]).lower(*arguments)
    return lowered, 3 * LAYERS * 2 * batch * WIDTH**2 / len(where.devices)
