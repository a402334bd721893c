"""Where each line of a TSV file starts and what its first column holds."""

import os
from pathlib import Path

import numpy as np

_CHUNK = 2**24
_START = 256  # most keys end before this
_LONGEST_KEY = 4096


def index_lines(file: Path) -> dict[str, np.ndarray]:
    """Returns offsets int64 [N + 1], the last one the file's size, and keys, UTF-8 joined by "\\n".

    The offsets come from the `.lineidx` beside the file (OSCAR's) where there is one, which is
    checked against the file; otherwise the whole file is read once.
    """
    listed = file.with_suffix(".lineidx")
    starts = _read_lineidx(listed, file) if listed.is_file() else _find_lines(file)
    offsets = np.append(starts, file.stat().st_size)
    with file.open("rb", buffering=0) as stream:
        keys = [_first_column(stream.fileno(), *at, file, listed) for at in enumerate(offsets[:-1])]
        _check_last(stream.fileno(), offsets, file, listed)
    return {"offsets": offsets, "keys": np.frombuffer(b"\n".join(keys), np.uint8)}


def _find_lines(file: Path) -> np.ndarray:
    starts, position = [0], 0
    with file.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            found = chunk.find(b"\n")
            while found >= 0:
                starts.append(position + found + 1)
                found = chunk.find(b"\n", found + 1)
            position += len(chunk)
    if not position:
        raise ValueError(f"{file} is empty, expected one picture a line")
    return np.array(starts[:-1] if starts[-1] == position else starts, np.int64)


def _read_lineidx(listed: Path, file: Path) -> np.ndarray:
    """Returns the offsets of a `.lineidx`: one a line, from 0, rising, inside the file."""
    try:
        starts = np.array(listed.read_bytes().split(), np.int64)
    except (ValueError, OverflowError):
        raise ValueError(f"{listed}: expected one whole number a line") from None
    if not len(starts) or starts[0]:
        raise ValueError(f"{listed} starts with {starts[:1].tolist()}, expected [0]")
    steps = np.flatnonzero(np.diff(starts) <= 0)
    if len(steps):
        line = int(steps[0]) + 1
        raise ValueError(
            f"{listed} line {line + 1}: offset {starts[line]} follows {starts[line - 1]}, expected "
            "rising offsets"
        )
    size = file.stat().st_size
    if starts[-1] >= size:
        raise ValueError(f"{listed} reaches to byte {starts[-1]}, but {file} has {size}. {_REMEDY}")
    return starts


_REMEDY = "Delete the .lineidx to have the lines found anew"


def _first_column(descriptor: int, line: int, offset: int, file: Path, listed: Path) -> bytes:
    """Returns the key of a line, after a check that a line starts there."""
    for length in (_START, _LONGEST_KEY):
        before = 1 if line else 0
        start = os.pread(descriptor, length, offset - before)
        if before and start[:1] != b"\n":
            raise ValueError(f"{listed} line {line + 1}: no line starts at {offset}. {_REMEDY}")
        shown, ended, _ = start[before:].partition(b"\n")
        key, tab, _ = shown.partition(b"\t")
        if tab or ended:
            break
    if not tab or not key:
        raise ValueError(f"{file} line {line + 1}: expected a key and a tab, found {key[:60]!r}")
    return key


def _check_last(descriptor: int, offsets: np.ndarray, file: Path, listed: Path) -> None:
    """A `.lineidx` older than its file would hide the lines that were added."""
    position, end = int(offsets[-2]), int(offsets[-1])
    while position < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - position), position)
        found = chunk.find(b"\n")
        if 0 <= found < end - position - 1:
            raise ValueError(f"{listed} ends before {file} does. {_REMEDY}")
        if found >= 0 or not chunk:
            return
        position += len(chunk)
