"""Reads byte ranges of many files from many threads, with a bounded number of files open."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlp_jax.data.buckets import is_bucket, object_bytes
from vlp_jax.data.open_files import OpenFiles


class ShardFiles:
    """Random access to the bytes of a list of files; thread-safe and picklable."""

    def __init__(self, paths: Sequence[Path]):
        self._files = OpenFiles(_open, paths)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Returns `size` bytes from `offset` of file number `shard`.

        OSError if the file cannot be opened, ValueError if it ends before.
        """
        data = self._files.get(shard).read(offset, size)
        if len(data) != size:
            path = self._files.paths[shard]
            raise ValueError(f"{path} ends at byte {offset + len(data)}, too early")
        return data


def _open(path: Path) -> "_OpenFile | _BucketFile":
    return _BucketFile(path) if is_bucket(path) else _OpenFile(path)


@dataclass(frozen=True)
class _BucketFile:
    """An object, of which each part is a request of its own."""

    path: Path

    def read(self, offset: int, size: int) -> bytes:
        """Returns at most `size` bytes, fewer only at the end of the object."""
        return object_bytes(self.path, offset, size) if size else b""


class _OpenFile:
    """An open file that closes when nobody refers to it, so no thread reads a closed one."""

    def __init__(self, path: Path):
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY)

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
