"""What kind of device a program is traced for, where that decides how it is written."""

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

import jax

CUDNN_COMPUTE_CAPABILITY = 8.0

ANY = "any platform"

_KIND: ContextVar[str | None] = ContextVar("kind of device", default=None)


def traced_for() -> str:
    """Returns the kind of this process's devices, or what `tracing_for` says."""
    return _KIND.get() or device_kind()


def merging_is_free() -> bool:
    """Whether axes can be made one without a copy.

    That is so everywhere but on TPUs, whose arrays lie in tiles of the last two axes.
    """
    return traced_for() not in ("tpu", ANY)


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
def tracing_for(kind: str) -> Iterator[None]:
    """Within it, programs are traced for devices of that kind, whatever this process has."""
    token = _KIND.set(kind)
    try:
        yield
    finally:
        _KIND.reset(token)


def for_any_platform() -> contextlib.AbstractContextManager[None]:
    """Within it, nothing is traced to what suits this process's devices alone."""
    return tracing_for(ANY)
