"""A ring over the devices of the batch: each is visited by every other's part, one at a time."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from vlp_jax.parallel.rules import BATCH_AXES, split_ways

Axes = tuple[str, ...]


def ring_axes(size: int) -> Axes:
    """Returns the axes of the current mesh over which a batch of `size` rows is split.

    There are none outside of `use_mesh`, nor where the rows cannot be divided equally.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in BATCH_AXES if axis in mesh.axis_names and mesh.shape[axis] > 1)
    return axes if axes and size % split_ways(axes, mesh) == 0 else ()


def ring_size(axes: Axes) -> int:
    """Returns how many devices the ring over these axes of the current mesh has; 1 for no axes."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in axes)


def on_each_part(
    function: Callable[[Any, Any], tuple[Any, Any]], split: Any, whole: Any, axes: Axes
) -> tuple[Any, Any]:
    """Calls `function(split, whole)` on each device with its part of the rows of `split`.

    Args:
      function: returns (rows, totals), both trees; it may use `go_round` with the same `axes`.
      split: a tree of arrays whose axis 0 is divided over the devices.
      whole: a tree of arrays that each device gets whole.
      axes: from `ring_axes`; without any the function is called once with everything.

    Returns `rows`, joined in the order of the devices, and the sum of all `totals`.
    """
    if not axes:
        return function(split, whole)

    def part(split: Any, whole: Any) -> tuple[Any, Any]:
        rows, totals = function(split, whole)
        return rows, jax.lax.psum(totals, axes)

    parted, joined = PartitionSpec(axes), PartitionSpec()
    # What varies over devices is clear from the specs; tracking it would need a cast of every
    # constant with which a carry starts.
    return jax.shard_map(
        part, in_specs=(parted, joined), out_specs=(parted, joined), check_vma=False
    )(split, whole)


def go_round(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, visitor: Any, axes: Axes
) -> tuple[Any, Any]:
    """Passes each device's `visitor` once round the ring; call it inside of `on_each_part`.

    At every device `step(carry, visitor)` returns both, changed or not, the own visitor first. In
    the end each visitor is home again, and each carry has met them all.
    """
    if not axes:
        return step(carry, visitor)
    count = ring_size(axes)
    onward = [(device, (device + 1) % count) for device in range(count)]

    def visit(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        carry, visitor = step(*state)
        return (carry, jax.lax.ppermute(visitor, axes, onward)), None

    (carry, visitor), _ = jax.lax.scan(visit, (carry, visitor), length=count)
    return carry, visitor
