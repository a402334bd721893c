"""Places host batches on the mesh: axis 0 is split over the `data` and `fsdp` axes."""

from collections import defaultdict
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlp_jax.parallel.mesh import describe_mesh
from vlp_jax.parallel.rules import BATCH_AXES, split_ways


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batch arrays: axis 0 over ("data", "fsdp"), the rest whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_share(mesh: Mesh, process: int) -> tuple[int, int]:
    """Returns which share of every batch a process loads, and of how many: (index, count).

    Processes whose devices hold the same rows, because the `tensor` axis reaches over them, load
    the same share.

    Raises:
      ValueError: if the rows of two processes overlap and are not the same.
    """
    rows = defaultdict(set)
    for device, (part,) in batch_sharding(mesh).devices_indices_map((mesh.size,)).items():
        rows[device.process_index].add((part.start or 0, part.stop))
    shares = sorted({tuple(sorted(parts)) for parts in rows.values()})
    if len(set().union(*shares)) < sum(map(len, shares)):
        local = mesh.size // len(rows)
        divisors = [size for size in range(1, mesh.size + 1) if mesh.size % size == 0]
        valid = [str(size) for size in divisors if local % size == 0 or size % local == 0]
        raise ValueError(
            f"config.mesh.tensor = {mesh.shape['tensor']} splits a part of the batch over two "
            f"processes that hold different rows beside it ({len(rows)} processes of {local} "
            f"devices, mesh {describe_mesh(mesh)}). Valid: {', '.join(valid)}"
        )
    return shares.index(tuple(sorted(rows[process]))), len(shares)


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes global arrays [B, ...] from this process's `batch_share` [B / shares, ...] of a batch.

    Raises:
      ValueError: if the arrays differ in their number of examples, or the examples of this process
        cannot be divided over its devices.
    """
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    sharding = batch_sharding(mesh)
    if arrays:
        _check_divisible(_num_examples(arrays), _local_shards(sharding), mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in arrays.items()
    }


def batch_shapes(
    batch: Mapping[str, np.ndarray], size: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and shardings of the global batch of `size` examples like those given.

    Raises:
      ValueError: if `size` cannot be divided over the mesh.
    """
    sharding = batch_sharding(mesh)
    ways = split_ways(BATCH_AXES, mesh)
    if size % ways:
        raise ValueError(
            f"config.data.batch_size = {size} cannot be divided over data × fsdp = {ways} (mesh "
            f"{describe_mesh(mesh)}). Nearest valid: {max(round(size / ways), 1) * ways}"
        )
    return {
        name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=sharding)
        for name, x in batch.items()
    }


def _num_examples(arrays: Mapping[str, np.ndarray]) -> int:
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(f'batch array "{name}" is a scalar; expected a leading batch axis')
    sizes = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"batch arrays differ in their number of examples: {listed}")
    return next(iter(sizes.values()))


def _local_shards(sharding: NamedSharding) -> int:
    """Returns how many different parts of the batch the devices of this process hold."""
    total = sharding.num_devices
    parts = sharding.addressable_devices_indices_map((total,)).values()
    return len({(part[0].start, part[0].stop) for part in parts})


def _check_divisible(size: int, shards: int, mesh: Mesh) -> None:
    if size and size % shards == 0:
        return
    below, above = size // shards * shards, (size // shards + 1) * shards
    valid = f"{below} or {above}" if below else f"{above}"
    raise ValueError(
        f"batch of {size} examples in this process cannot be divided into {shards} equal parts for "
        f"its {len(mesh.local_devices)} devices (mesh {describe_mesh(mesh)}). "
        f"Nearest valid: {valid}"
    )
