"""A list of files of which those that are in use stay open, up to a bounded number."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from vlp_jax.data.paths import absolute

T = TypeVar("T")

_MOST_OPEN = 256  # far below the usual limit of 1,024 open files


class OpenFiles(Generic[T]):
    """Calls `open_(path)` when a file is first asked for; thread-safe and picklable.

    The file that was asked for longest ago is let go first. What `open_` returns must close when
    nobody refers to it, so no thread reads a closed file. Another process opens its own.
    """

    def __init__(self, open_: Callable[[Path], T], paths: Sequence[Path]):
        self.paths = [absolute(path) for path in paths]
        self._open_file = open_
        self._held: OrderedDict[tuple[int, int], T] = OrderedDict()  # by process and number
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Callable[[Path], T], list[Path]]:
        return self._open_file, self.paths

    def __setstate__(self, state: tuple[Callable[[Path], T], list[Path]]) -> None:
        self.__init__(*state)

    def get(self, number: int) -> T:
        """Returns the open file `number` of this process; the errors are those of `open_`."""
        place = os.getpid(), number
        with self._lock:
            file = self._held.get(place)
        if file is None:
            # Opened outside the lock, because on a network disk it takes long; twice does no harm.
            file = self._open_file(self.paths[number])
        with self._lock:
            self._held[place] = file
            self._held.move_to_end(place)
            if len(self._held) > _MOST_OPEN:
                self._held.popitem(last=False)
        return file
