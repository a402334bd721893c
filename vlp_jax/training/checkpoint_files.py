"""The files of a checkpoint as they were when it was complete.

Arrays have checksums of their own; a note of all files also finds what has changed in those that no
reader of today happens to open.
"""

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vlp_jax.data.buckets import is_bucket, object_sizes
from vlp_jax.data.whole_file import write_whole

NOTE = "FILES.json"
_SMALL = 1 << 20  # bytes; larger files hold arrays, and are compared by size
_READERS = 16  # a store is asked for many small files at once


def note_files(folder: Path) -> None:
    """Writes down name, size and, of small ones, checksum of each file of a complete checkpoint."""
    # The note itself is none of them, nor what a process killed while it wrote one has left.
    sizes = {name: size for name, size in _sizes(folder).items() if not name.startswith(NOTE)}
    write_whole(folder / NOTE, json.dumps(_prints(folder, sizes), indent=1) + "\n")


def changed_file(folder: Path) -> str | None:
    """Returns what is wrong with the first file that is not as noted, None if there is none."""
    if not (folder / NOTE).is_file():
        return None
    noted = json.loads((folder / NOTE).read_text())
    sizes = _sizes(folder)
    found = _prints(folder, {name: size for name, size in sizes.items() if name in noted})
    for name, was in noted.items():
        if name not in found:
            return f'its file "{name}" is missing'
        if found[name] != was:
            return f'its file "{name}" is not what was saved'
    return None


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each file in a folder and the folders in it."""
    if is_bucket(folder):
        return object_sizes(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _prints(folder: Path, sizes: dict[str, int]) -> dict[str, list]:
    """Returns size and, of small files, checksum by name."""

    def checksum(name: str) -> str | None:
        small = sizes[name] < _SMALL
        return f"{zlib.crc32((folder / name).read_bytes()):08x}" if small else None

    with ThreadPoolExecutor(_READERS) as pool:
        return {n: [sizes[n], found] for n, found in zip(sizes, pool.map(checksum, sizes))}
