"""Hosts of Nvidia's GPUs that a program can be compiled for without having one."""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass, replace

from vlp_jax.config import nearest
from vlp_jax.parallel.topology import Chip, Slices

_HOST = 8
_COUNTS = (1, 2, 4, *(_HOST * 2**n for n in range(10)))
_PLUGINS = "jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12"
# The share of a GPU that JAX takes, unless the first of these that is set says otherwise.
_FRACTION = 0.75
_FRACTIONS = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"


@dataclass(frozen=True)
class Gpu(Chip):
    """A kind of GPU, as far as XLA for GPUs asks about it.

    kind: how the name that JAX gives begins. capability: what programs may use. cores: of it JAX
    sees one device; multiprocessors: what it consists of, each with `lanes` for float32 and
    `shared` bytes of its own. bandwidth: of its memory, bytes/s. cache: bytes. clock: GHz.
    Source: Nvidia's data sheets of the SXM parts, and what their drivers say.
    """

    kind: str = ""
    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    lanes: int = 128
    shared: int = 228 * 1024
    bandwidth: float = 3.35e12
    cache: int = 50 * 2**20
    clock: float = 1.98


GPUS = {
    "a100": Gpu(
        flops=312e12,
        hbm=85_100_068_864,
        kind="NVIDIA A100",
        capability=(8, 0),
        multiprocessors=108,
        lanes=64,
        shared=164 * 1024,
        bandwidth=2.04e12,
        cache=40 * 2**20,
        clock=1.41,
    ),
    "h100": Gpu(989e12, 84_942_979_072, kind="NVIDIA H100"),
    "h200": Gpu(989e12, 151_397_597_184, kind="NVIDIA H200", bandwidth=4.8e12),
}


def gpu_hosts(name: str) -> Slices:
    """Returns GPUs by kind and number, such as "h100:16": two hosts of eight.

    XLA for GPUs makes them without one. A device has the part of its memory that JAX takes.

    Raises:
      ValueError: for a name that there is not, with those there are, for a share of memory that is
        none, and where XLA's plug-in for GPUs is missing or does not load.
    """
    kind, _, count = name.partition(":")
    if kind not in GPUS or count not in map(str, _COUNTS):
        number = int(count) if count.isdecimal() else _HOST
        close = min(_COUNTS, key=lambda known: abs(known - number))
        hint = nearest(f"{kind}:{close}", [f"{known}:{close}" for known in GPUS])
        shown = f"{', '.join(GPUS)}, each with {', '.join(map(str, _COUNTS))}"
        raise ValueError(f'no GPUs "{name}".{hint} Known: {shown}')
    if not any(map(_is_there, _PLUGINS)):
        raise ValueError(
            f'compiling for {name} needs XLA for GPUs: pip install "vlp_jax[gpu]", which needs no '
            "GPU"
        )
    chip = replace(GPUS[kind], hbm=int(GPUS[kind].hbm * _fraction()))
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # for a driver that is not there
    from jax.experimental import topologies  # noqa: PLC0415

    hosts = -(-int(count) // _HOST)
    try:
        made = topologies.get_topology_desc(
            platform="cuda",
            topology_name="",
            topology=f"{hosts}x1x{int(count) // hosts}",
            target_config=_target(GPUS[kind]),
        )
    except NotImplementedError:  # it is installed, but has not joined JAX
        raise ValueError(
            f"XLA's plug-in for GPUs does not load: it has to be of jaxlib's version, "
            f'{importlib.metadata.version("jaxlib")}: pip install "vlp_jax[gpu]"'
        ) from None
    return Slices(name, tuple(made.devices), hosts, chip, ("NVLink", "network"))


def _fraction() -> float:
    name = next((name for name in _FRACTIONS if os.environ.get(name)), None)
    given = os.environ[name] if name else str(_FRACTION)
    try:
        share = float(given)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{name}={given}: expected a share of a GPU's memory above 0, up to 1")
    return share


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no plug-in at all
        return False


def _target(gpu: Gpu) -> str:
    """Returns XLA's description of a GPU, a GpuTargetConfigProto as text."""
    major, minor = gpu.capability
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {gpu.shared - 1024}
  shared_memory_per_core: {gpu.shared}
  core_count: {gpu.multiprocessors}
  fpus_per_core: {gpu.lanes}
  memory_bandwidth: {int(gpu.bandwidth)}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  device_memory_size: {gpu.hbm}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}  # any that knows the kinds above
device_description_str: "{gpu.kind}"
"""
