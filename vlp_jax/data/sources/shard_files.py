"""Reads byte ranges of many files from many threads, with a bounded number of files open."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

_MOST_OPEN = 256  # far below the usual limit of 1,024 open files


class ShardFiles:
    """Random access to the bytes of a list of files; thread-safe and picklable."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = [Path(path).absolute() for path in paths]
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> list[Path]:
        return self.paths

    def __setstate__(self, paths: list[Path]) -> None:
        self.__init__(paths)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Returns `size` bytes from `offset` of file number `shard`.

        OSError if the file cannot be opened, ValueError if it ends before.
        """
        data = self._file(shard).read(offset, size)
        if len(data) != size:
            raise ValueError(f"{self.paths[shard]} ends at byte {offset + len(data)}, too early")
        return data

    def _file(self, shard: int) -> "_OpenFile":
        with self._lock:
            file = self._open.get(shard)
        # Opened outside the lock, because on a network disk it takes long; twice does no harm.
        file = file or _OpenFile(self.paths[shard])
        with self._lock:
            self._open[shard] = file
            self._open.move_to_end(shard)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return file


class _OpenFile:
    """An open file that closes when nobody refers to it, so no thread reads a closed one."""

    def __init__(self, path: Path):
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, offset: int, size: int) -> bytes:
        """Returns at most `size` bytes, fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self):
        if self._descriptor >= 0:
            os.close(self._descriptor)
