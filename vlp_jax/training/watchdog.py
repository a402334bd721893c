"""Ends a process that hangs in a step, after it has said where."""

import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

HANG = 7  # the exit status
_LOOKS = 10  # at what hangs before it is ended
_SLOWER = 20  # than its median a step may be, however long that is
_KEPT = 100  # durations of which the median is taken


class Watchdog:
    """A context with a thread that looks whether what is watched comes to its end.

    It may take `seconds`, or twenty times the median of what was watched, if that is more; None
    watches nothing. Looks are counted instead of seconds, so that a process that was stopped for a
    while (Ctrl-Z, a suspended machine) is not taken for one that hangs.
    """

    def __init__(self, seconds: float | None):
        self._seconds = seconds
        self._watched: tuple[int, float] | None = None
        self._took: deque[float] = deque([0.0], maxlen=_KEPT)
        self._closed = threading.Event()

    def __enter__(self) -> "Watchdog":
        if self._seconds is not None:
            threading.Thread(target=self._look, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()

    @contextlib.contextmanager
    def watching(self, step: int) -> Iterator[None]:
        """Expects an end of what is inside: to get the batch of a step, or to wait for one."""
        began = time.perf_counter()
        self._watched = step, began
        try:
            yield
        finally:
            self._watched = None
            self._took.append(time.perf_counter() - began)

    def _bound(self) -> float:
        return max(self._seconds, _SLOWER * statistics.median(list(self._took)))

    def _look(self) -> None:
        seen, times = None, 0
        while not self._closed.wait(self._bound() / _LOOKS):
            now = self._watched
            times = times + 1 if now is not None and now is seen else 0
            seen = now
            if times == _LOOKS:
                self._end(now[0])

    def _end(self, step: int) -> None:
        print(
            f"vlp-jax train: step {step} hangs: it, or getting its batch, has not ended after "
            f"{self._bound():.0f} s (config.training.hang_seconds, or {_SLOWER} times the usual). "
            f"This process ends with status {HANG}; the same command goes on from the newest "
            "checkpoint. What each of its threads was doing:",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        os._exit(HANG)
