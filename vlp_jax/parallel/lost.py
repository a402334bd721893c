"""Losing a process of a run: what JAX raises of it, as one sentence."""

import contextlib
import re
import subprocess
import sys
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


# Says its argument where its input ends without a word, as it does when the process that holds the
# other end is gone.
_WITNESS = "import sys; sys.stdin.buffer.read() or print(sys.argv[1], file=sys.stderr)"


_WAY_OUT = (
    "Look at the other logs for the reason, end the processes that are left, and start the same "
    "command everywhere: it goes on from the newest checkpoint"
)


class LostPeerError(RuntimeError):
    """Another process of the run is gone or cannot be reached."""


@contextlib.contextmanager
def lost_peers_named() -> Iterator[None]:
    """Turns what JAX raises when another process is lost into a LostPeerError.

    Where JAX's client ends this process before Python hears of the loss, or the system kills it, a
    child of it writes what is known to standard error.
    """
    try:
        with _witness(jax.process_index(), jax.process_count()):
            yield
    except Exception as error:
        from_jax = isinstance(error, (jax.errors.JaxRuntimeError, TimeoutError))
        signs = _SIGNS if from_jax else _PLAIN_SIGNS
        if jax.process_count() == 1 or not signs.search(str(error)):
            raise
        message = lost_sentence(str(error), jax.process_index(), jax.process_count())
        raise LostPeerError(message) from error


@contextlib.contextmanager
def _witness(here: int, count: int) -> Iterator[None]:
    """Keeps a child that speaks if this process ends within the context and cannot say why."""
    if count == 1:
        yield
        return
    call = [sys.executable, "-I", "-S", "-c", _WITNESS, ended_sentence(here)]
    # A session of its own: what ends this process and its group must leave the child.
    with subprocess.Popen(call, stdin=subprocess.PIPE, start_new_session=True) as child:
        try:
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):
                child.communicate(b"ended in order")


def ended_sentence(here: int) -> str:
    """Returns what to do where process `here` was ended without saying why."""
    cause = "as a kill or a lack of memory does"
    if here > 0:
        cause = f"by JAX where process 0, to which all report, is lost, or {cause}"
    return f"process {here} of the run was ended from outside, {cause}. {_WAY_OUT}"


def lost_sentence(message: str, here: int, count: int) -> str:
    """Returns what has happened and what to do, for what JAX says in process `here` of `count`."""
    tasks = [int(number) for number in _TASK.findall(message) if int(number) != here]
    lost = tasks[0] if tasks else 1 - here if count == 2 else None
    unknown = "another process (the log that ends first says which)"
    which = unknown if lost is None else f"process {lost}"
    lost = f"process {here} has lost {which} of the run: it has ended, or cannot be reached"
    return f"{lost}. {_WAY_OUT}"
