"""Where the time of a run goes: waiting for data, stepping, saving, evaluating."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Adds up seconds by name; `share` compares one name with the time since the start."""

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

    def share(self, name: str) -> float:
        """Returns the part of stepping time, data waits included, that `name` took."""
        spent = self.seconds("step") + self.seconds("data")
        return self.seconds(name) / spent if spent else 0.0
