"""A TSV file with random access to its lines by number, whose first column is a key."""

import os
from io import FileIO
from pathlib import Path

from vlp_jax.data.kept_arrays import keep_arrays
from vlp_jax.data.regions.line_index import index_lines
from vlp_jax.data.regions.reopened import Reopened


class TsvFile:
    """The lines of a TSV file; thread-safe and picklable. The line index is made once and kept."""

    def __init__(self, path: Path):
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected a TSV file")
        index = keep_arrays(path, "lines", index_lines)
        self.path = path
        self.keys = _decoded(path, index["keys"].tobytes())
        self._offsets = index["offsets"]
        self._stream = Reopened(open_unbuffered, path)

    def __len__(self) -> int:
        return len(self.keys)

    def columns(self, row: int) -> list[memoryview]:
        """Returns the columns of a line; ValueError if the file has become shorter.

        They are views of the line, because a column of features is some 400 kB long.
        """
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        line = read_exactly(self._stream.get().fileno(), end - start, start)
        if len(line) < end - start:
            raise ValueError("the file has become shorter since its lines were found")
        return _split(line)


def _split(line: bytes) -> list[memoryview]:
    """Returns what stands between tabs, without the end of the line."""
    end = len(line)
    while end and line[end - 1] in b"\r\n":
        end -= 1
    view, columns, start = memoryview(line), [], 0
    while (tab := line.find(b"\t", start, end)) >= 0:
        columns.append(view[start:tab])
        start = tab + 1
    return [*columns, view[start:end]]


def _decoded(path: Path, keys: bytes) -> list[str]:
    try:
        return keys.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: keys are not UTF-8 text: {error}") from None


def open_unbuffered(path: Path) -> FileIO:
    """Returns a file whose descriptor `read_exactly` takes; it closes with its last user."""
    return path.open("rb", buffering=0)


def read_exactly(descriptor: int, size: int, offset: int) -> bytes:
    """Returns `size` bytes from `offset`, fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    while 0 < len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
