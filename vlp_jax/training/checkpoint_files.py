"""The files of a checkpoint as they were when it was complete.

Arrays have checksums of their own; a note of all files also finds what has changed in those that no
reader of today happens to open.
"""

import json
import os
import zlib
from pathlib import Path

NOTE = "FILES.json"
_SMALL = 1 << 20  # bytes; larger files hold arrays, and are compared by size


def note_files(folder: Path) -> None:
    """Writes down name, size and, of small ones, checksum of each file of a complete checkpoint."""
    unfinished = folder / f"{NOTE}.unfinished"  # a process may be killed while it writes
    unfinished.unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): _print(path) for path in files}
    unfinished.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(unfinished, folder / NOTE)


def changed_file(folder: Path) -> str | None:
    """Returns what is wrong with the first file that is not as noted, None if there is none."""
    if not (folder / NOTE).is_file():
        return None
    noted = json.loads((folder / NOTE).read_text())
    for name, was in noted.items():
        path = folder / name
        if not path.is_file():
            return f'its file "{name}" is missing'
        if _print(path) != was:
            return f'its file "{name}" is not what was saved'
    return None


def _print(path: Path) -> list:
    size = path.stat().st_size
    return [size, f"{zlib.crc32(path.read_bytes()):08x}" if size < _SMALL else None]
