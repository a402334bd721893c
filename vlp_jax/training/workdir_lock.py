"""Keeps a second training out of a workdir."""

import contextlib
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from vlp_jax.data.buckets import is_bucket

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def only_trainer(workdir: Path) -> Iterator[None]:
    """Holds `<workdir>/lock`, which the system releases when this process ends, however it does.

    The file stays, since another process may be about to lock it. Where it cannot be locked (a file
    system without flock, a bucket) the run goes on without. Raises ValueError if another process
    holds it.
    """
    if is_bucket(workdir):
        yield
        return
    path = workdir / "lock"
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "a+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f'another process trains in "{workdir}" ({file.read() or "pid unknown"}). Wait for '
                f'it, choose another workdir, or remove "{path}" if that process is no more'
            ) from None
        except OSError as error:
            logger.debug("%s is not locked: %s", workdir, error)
        else:
            file.truncate(0)
            file.write(f"pid {os.getpid()} on {platform.node()}")
            file.flush()
        yield
