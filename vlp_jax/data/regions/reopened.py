"""Resources that can't be pickled or shared with a forked process: opened again on first use."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Reopened(Generic[T]):
    """Calls `open_(*arguments)` on first use, and again after pickling or in a forked process."""

    def __init__(self, open_: Callable[..., T], *arguments: Any):
        self._open = open_
        self._arguments = arguments
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._value: tuple[int, T] | None = None

    def get(self) -> T:
        """Returns the open resource of this process."""
        held = self._value
        if held is not None and held[0] == os.getpid():
            return held[1]
        with self._lock:
            if self._value is None or self._value[0] != os.getpid():
                self._value = (os.getpid(), self._open(*self._arguments))
            return self._value[1]

    def __getstate__(self) -> tuple[Callable[..., T], tuple[Any, ...]]:
        return self._open, self._arguments

    def __setstate__(self, state: tuple[Callable[..., T], tuple[Any, ...]]) -> None:
        self._open, self._arguments = state
        self._reset()
