"""Losing a process of a run: what JAX raises of it, as one sentence."""

import contextlib
import re
from collections.abc import Iterator

import jax

# What the collectives (Gloo, NCCL) and the coordination service say when a peer has gone.
_SIGNS = re.compile(
    r"gloo|nccl|peer|heartbeat|coordination|unavailable|connection|socket|task is set to error|"
    r"deadline_exceeded|barrier",
    re.IGNORECASE,
)
# Where a library below has made another error of it, only what names the collectives counts.
_PLAIN_SIGNS = re.compile(r"\b(gloo|nccl)\b|coordination ?service|heartbeat timeout", re.IGNORECASE)
_TASK = re.compile(r"task[ :/]+(\d+)", re.IGNORECASE)


class LostPeerError(RuntimeError):
    """Another process of the run is gone or cannot be reached."""


@contextlib.contextmanager
def lost_peers_named() -> Iterator[None]:
    """Turns what JAX raises when another process is lost into a LostPeerError."""
    try:
        yield
    except Exception as error:
        from_jax = isinstance(error, (jax.errors.JaxRuntimeError, TimeoutError))
        signs = _SIGNS if from_jax else _PLAIN_SIGNS
        if jax.process_count() == 1 or not signs.search(str(error)):
            raise
        message = lost_sentence(str(error), jax.process_index(), jax.process_count())
        raise LostPeerError(message) from error


def lost_sentence(message: str, here: int, count: int) -> str:
    """Returns what has happened and what to do, for what JAX says in process `here` of `count`."""
    tasks = [int(number) for number in _TASK.findall(message) if int(number) != here]
    lost = tasks[0] if tasks else 1 - here if count == 2 else None
    unknown = "another process (the log that ends first says which)"
    which = unknown if lost is None else f"process {lost}"
    return (
        f"process {here} has lost {which} of the run: it has ended, or cannot be reached. Look at "
        "its log for the reason, end the processes that are left, and start the same command "
        "everywhere: it goes on from the newest checkpoint"
    )
