"""What the processes of a run tell each other beside gradients."""

import itertools

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

_BYTES = 1024
_MEETING_MILLISECONDS = 300_000


def said_by_any(text: str | None) -> str | None:
    """Returns, in every process, what the first of those says that say something.

    All processes call it; a text is cut to a kilobyte of UTF-8.
    """
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    said = (text or "").encode()[:_BYTES]
    sent = np.zeros(_BYTES, np.uint8)
    sent[: len(said)] = np.frombuffer(said, np.uint8)
    heard = [row.tobytes().rstrip(b"\0") for row in multihost_utils.process_allgather(sent)]
    return next((row.decode(errors="ignore") for row in heard if row), None)


def all_arrive(name: str) -> None:
    """Waits until every process is here, for at most five minutes."""
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=name, timeout_ms=_MEETING_MILLISECONDS)


def meet(mesh: Mesh) -> None:
    """Waits for all processes, then connects every group of devices that a step may sum over.

    Gloo, which serves CPUs, connects a group when it is first used and gives that 30 seconds: less
    than a process may lag behind another one when both compile.
    """
    all_arrive("mesh")
    if jax.process_count() == 1 or mesh.devices.flat[0].platform != "cpu":
        return
    axes = [name for name, size in mesh.shape.items() if size > 1]
    for count in range(1, len(axes) + 1):
        for group in itertools.combinations(axes, count):
            _connect(mesh, group)


def _connect(mesh: Mesh, axes: tuple[str, ...]) -> None:
    total = lambda: jax.lax.psum(1.0 * jax.lax.axis_index(axes), axes)
    # `check_vma` would refuse a result that depends on the place, although the sum does not.
    over = dict(mesh=mesh, in_specs=(), out_specs=PartitionSpec(), check_vma=False)
    jax.block_until_ready(jax.jit(jax.shard_map(total, **over))())
