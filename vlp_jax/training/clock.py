"""Adds up the seconds of one process by what they went on."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Seconds by name since the clock was made; what is in no name is `other`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds to `name`."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def seconds(self, name: str) -> float:
        """Returns the seconds added to `name`."""
        return self._seconds.get(name, 0.0)

    def total(self) -> float:
        """Returns the seconds since the clock was made."""
        return time.perf_counter() - self._started

    def parts(self) -> dict[str, float]:
        """Returns all seconds by name; with `other` they add up to the total."""
        return self._seconds | {"other": self.total() - sum(self._seconds.values())}
