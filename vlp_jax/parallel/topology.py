"""TPU slices that a program can be compiled for without having one, and what their chips can do."""

import os
from dataclasses import dataclass
from typing import Any

import jax

from vlp_jax.config import nearest

_FLAT = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16".split()
_CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16 16x16x16".split()


@dataclass(frozen=True)
class Chip:
    """A kind of chip.

    flops: its peak in bfloat16 products, FLOP/s. hbm: its bytes that a program may take.
    cores: devices that JAX sees in it.
    """

    flops: float
    hbm: int
    cores: int = 1

    @property
    def device_bytes(self) -> int:
        """What one of its devices has."""
        return self.hbm // self.cores


@dataclass(frozen=True)
class Tpu(Chip):
    """A generation of TPUs.

    sizes: slices there are. library: what libtpu calls it.
    Source: docs.cloud.google.com/tpu/docs, the pages of v4, v5e, v5p, v6e and tpu7x.
    """

    sizes: tuple[str, ...] = ()
    library: str = ""
    config: str = "default"


_GIB = 2**30
CHIPS = {
    "v4": Tpu(275e12, 32 * _GIB, 1, tuple(_CUBES), "v4", "megacore"),
    "v5e": Tpu(197e12, 16 * _GIB, 1, tuple(_FLAT), "v5e"),
    "v5p": Tpu(459e12, 95 * _GIB, 1, tuple(_CUBES), "v5", "megacore"),
    "v6e": Tpu(918e12, 32 * _GIB, 1, tuple(_FLAT), "v6e"),
    "tpu7x": Tpu(2307e12, 192 * _GIB, 2, tuple(_CUBES), "tpu7x"),
}


# libtpu would ask a cloud that is not there who its hosts are, and complain of the answer.
_WITHOUT_A_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any: the topology is named
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Slices:
    """Devices to compile for.

    Attributes:
      slices: how many equal parts of them are close together: slices of TPUs, hosts of GPUs.
      chip: None for simulated ones on this computer's processor.
      nets: what devices of one part exchange over, and what parts do.
    """

    name: str
    devices: tuple[Any, ...]
    slices: int
    chip: Chip | None
    nets: tuple[str, str] = ("ICI", "DCN")

    def slice_of(self, device: int) -> int:
        """Returns in which slice the device of that place in `devices` is."""
        return device * self.slices // len(self.devices)


def tpu_slices(name: str, slices: int = 1) -> Slices:
    """Returns `slices` TPU slices by name, such as "v5e:4x4"; libtpu makes them without a TPU.

    Raises:
      ValueError: for a name that there is not, with those there are, and where libtpu is missing.
    """
    generation, _, size = name.partition(":")
    chip = CHIPS.get(generation)
    if chip is None or size not in chip.sizes:
        known = [f"{g}:{s}" for g, c in CHIPS.items() for s in c.sizes]
        shown = "; ".join(f"{g}: {', '.join(c.sizes)}" for g, c in CHIPS.items())
        raise ValueError(f'no topology "{name}".{nearest(name, known)} Known: {shown}')
    for variable, value in _WITHOUT_A_TPU.items():
        os.environ.setdefault(variable, value)
    try:
        import libtpu  # noqa: F401, PLC0415
    except ImportError:
        raise ValueError(
            f'compiling for {name} needs libtpu: pip install "vlp_jax[tpu]", which needs no TPU'
        ) from None
    from jax.experimental import topologies  # noqa: PLC0415

    try:
        made = topologies.get_topology_desc(
            platform="tpu",
            topology_name=f"{chip.library}:{size}",
            chip_config_name=chip.config,
            num_slices=slices,
            **({"chips_per_host_bounds": (1, 1, 1)} if size == "1x1" else {}),
        )
    except jax.errors.JaxRuntimeError as error:
        if "lockfile" not in str(error):
            raise
        raise ValueError(
            "another process is using libtpu, which takes one at a time: wait for it or, where it "
            "has gone, remove /tmp/libtpu_lockfile"
        ) from None
    return Slices(f"{name} × {slices}" if slices > 1 else name, tuple(made.devices), slices, chip)


def simulated(count: int, slices: int = 1) -> Slices:
    """Returns simulated devices on this computer's processor, in `slices` equal parts.

    Raises:
      ValueError: if they cannot be parted, or JAX was started with fewer.
    """
    if count < 1 or slices < 1 or count % slices:
        raise ValueError(f"{count} devices cannot be divided into {slices} slices")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # JAX has counted its devices already
        pass
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ValueError(f"JAX has {len(devices)} simulated devices, {count} were asked for")
    return Slices(f"{count} simulated devices", tuple(devices[:count]), slices, None)
