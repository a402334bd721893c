"""Signals that ask a process to stop, remembered instead of obeyed at once."""

import signal
import threading
from types import FrameType


class CaughtSignals:
    """A context in which `SIGNALS` are caught; `received` is the name of the last one.

    Those that the process was started to ignore, as by nohup, stay ignored. Outside of the main
    thread nothing is caught: Python allows it there only.
    """

    SIGNALS: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
