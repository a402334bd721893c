"""Turns SIGTERM and Ctrl-C into a request to stop after the current step."""

import signal
import threading
from types import FrameType

import jax
import numpy as np


class Interruption:
    """A context in which SIGTERM and SIGINT set a flag; a second signal acts as usual.

    With several processes all of them agree, so that none waits for the others in a collective.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, agree_every: int = 20):
        self._agree_every = agree_every
        self._name: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self, step: int) -> str | None:
        """Returns the name of the signal to stop for at this step, or None."""
        if jax.process_count() == 1:
            return self._name
        if step % self._agree_every:
            return None
        from jax.experimental import multihost_utils

        anyone = multihost_utils.process_allgather(np.array(self._name is not None))
        return (self._name or "a signal to another process") if anyone.any() else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._name = signal.Signals(number).name
        for each, handler in self._previous.items():
            signal.signal(each, handler)
