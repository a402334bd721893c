"""One child process at a time, to which SIGTERM and Ctrl-C are passed on."""

import signal
import subprocess
import threading
from collections.abc import Sequence
from types import FrameType
from typing import BinaryIO


class Child:
    """A context in which signals stop the running child and are remembered in `received`.

    The child gets SIGTERM, on which a training saves a checkpoint and ends; it leads a session of
    its own, so that Ctrl-C comes to it only by this way. A second signal ends it at once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: str | None = None
        self._process: subprocess.Popen | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Child":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], output: BinaryIO) -> int:
        """Runs a command to its end with all that it prints in `output`; returns its status."""
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as self._process:
            if self.received:  # between the runs
                self._process.terminate()
            return self._process.wait()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if self._process is not None:
            self._process.terminate()
