"""What kind of device a program is traced for, where that decides how it is written."""

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

import jax

CUDNN_COMPUTE_CAPABILITY = 8.0

ANY = "any platform"

_ANY_PLATFORM = ContextVar("any_platform", default=False)


def traced_for() -> str:
    """Returns the kind of this process's devices, or `ANY` within `for_any_platform`."""
    return ANY if _ANY_PLATFORM.get() else device_kind()


@functools.cache
def device_kind() -> str:
    """Returns "cpu", "tpu", "gpu" for those with cuDNN's flash attention, or what else it is."""
    backend, device = jax.default_backend(), jax.devices()[0]
    if backend != "gpu":
        return backend
    if "cuda" not in device.client.platform_version.lower():
        return "GPUs other than Nvidia's"
    capability = device.compute_capability
    least = CUDNN_COMPUTE_CAPABILITY
    return "gpu" if float(capability) >= least else f"compute capability {capability} < {least}"


@contextlib.contextmanager
def for_any_platform() -> Iterator[None]:
    """Within it, nothing is traced to what suits this process's devices alone."""
    token = _ANY_PLATFORM.set(True)
    try:
        yield
    finally:
        _ANY_PLATFORM.reset(token)
