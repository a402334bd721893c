"""One child process at a time, which is told to stop when its parent is, or dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import BinaryIO

from vlp_jax.training.signals import CaughtSignals

# Asks Linux for SIGTERM when the parent dies, and becomes the command; both outlast `exec`. It is a
# program, because between fork and exec a process with threads may hang in Python.
_TIE = f"""
import ctypes, os, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, {int(signal.SIGTERM)})
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class Child(CaughtSignals):
    """A context in which signals stop the running child.

    The child gets SIGTERM, on which a training saves a checkpoint and ends; it leads a session of
    its own, so that Ctrl-C comes to it only by this way. A second signal ends it at once. On Linux
    it gets SIGTERM as well when this process dies without a chance to send it.
    """

    SIGNALS = (*CaughtSignals.SIGNALS, signal.SIGHUP)

    def __init__(self):
        super().__init__()
        self._process: subprocess.Popen | None = None

    def run(self, command: Sequence[str], output: BinaryIO) -> int:
        """Runs a command to its end with all that it prints in `output`; returns its status."""
        with subprocess.Popen(
            _tied(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as self._process:
            if self.received:  # between the runs
                self._process.terminate()
            return self._process.wait()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A closed terminal may send SIGHUP twice, which is no impatience.
        repeated = self.received is not None and number == signal.SIGHUP
        super()._receive(number, frame)
        if self._process is not None and not repeated:
            self._process.terminate()


def _tied(command: Sequence[str]) -> list[str]:
    """Returns a command that does the same and, on Linux, is told when this process dies."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
