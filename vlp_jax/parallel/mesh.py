"""The device mesh: three axes, `data`, `fsdp` and `tensor`, over all devices of all processes."""

import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

MESH_AXES = ("data", "fsdp", "tensor")


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Builds a mesh with the axes ("data", "fsdp", "tensor") over `devices` (default: all).

    One size may be -1: that axis takes the devices the others leave. Over several TPU slices,
    between which the network is slow, `data` alone reaches. Axis types are Auto because Linen's
    Embed and Dropout refuse an Explicit mesh.

    Raises:
      ValueError: if a size is invalid, the sizes do not multiply to the number of devices, or
        `data` cannot be divided over the slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = _resolve_shape((data, fsdp, tensor), len(devices))
    axis_types = (AxisType.Auto,) * len(MESH_AXES)
    # Other platforms number what shares a host as a slice, or nothing.
    slices = {d.slice_index for d in devices if d.platform == "tpu" and hasattr(d, "slice_index")}
    if len(slices) > 1:
        return Mesh(_over_slices(shape, len(slices), devices), MESH_AXES, axis_types=axis_types)
    return jax.make_mesh(shape, MESH_AXES, axis_types=axis_types, devices=devices)


def _over_slices(shape: tuple[int, ...], slices: int, devices: Sequence[jax.Device]) -> np.ndarray:
    data, *within = shape
    if data % slices:
        largest = len(devices) // slices
        raise ValueError(
            f"mesh {_describe(MESH_AXES, shape)}: data = {data} cannot be divided over {slices} "
            f"slices, which only data reaches over: fsdp × tensor must divide {largest}, the chips "
            "of a slice"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (data // slices, *within), (slices, 1, 1), devices, allow_split_physical_axes=True
    )


def describe_mesh(mesh: Mesh) -> str:
    """Returns the axes and sizes of a mesh as text, such as "data=4, fsdp=2, tensor=1"."""
    return _describe(mesh.axis_names, mesh.axis_sizes)


def _resolve_shape(asked: tuple[int, ...], num_devices: int) -> tuple[int, ...]:
    asked_text = _describe(MESH_AXES, asked)
    for name, size in zip(MESH_AXES, asked):
        if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
            raise ValueError(
                f"mesh axis {name}={size!r}: expected a positive whole number, "
                "or -1 for the devices the other axes leave"
            )
    if asked.count(-1) > 1:
        raise ValueError(f"mesh {asked_text}: at most one axis may be -1")
    product = math.prod(size for size in asked if size != -1)
    if num_devices % product or (-1 not in asked and product != num_devices):
        raise ValueError(
            f"mesh {asked_text}: the sizes multiply to {product}, but {num_devices} "
            f"device{'s are' if num_devices != 1 else ' is'} available. "
            f"Nearest valid shape: {_describe(MESH_AXES, _nearest_shape(asked, num_devices))}"
        )
    return tuple(num_devices // product if size == -1 else size for size in asked)


def _nearest_shape(asked: tuple[int, ...], num_devices: int) -> tuple[int, ...]:
    """Returns the factorisation of `num_devices` whose sizes are closest to `asked` in ratio."""

    def distance(shape: tuple[int, ...]) -> float:
        return sum(abs(math.log(s / a)) for s, a in zip(shape, asked) if a != -1)

    return min(_factorisations(num_devices, len(asked)), key=distance)


def _factorisations(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (number,)
        return
    for first in range(1, number + 1):
        if number % first == 0:
            for rest in _factorisations(number // first, parts - 1):
                yield (first, *rest)


def _describe(names: Sequence[str], sizes: Sequence[int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in zip(names, sizes))
