"""Paths that users give: what cannot be read or written is refused before anything is done.

Readers that need a file on a disk take `local_path`; those that read bytes take `any_path`, and
with it buckets (`gs://`, `s3://`).
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

from vlp_jax.config import nearest
from vlp_jax.data.buckets import bucket_of, bucket_path, is_bucket, object_bytes, store_errors
from vlp_jax.data.foreign import shortened

_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+:/|pipe:)")


def is_address(text: str) -> bool:
    """Tells whether a text is an address, such as `gs://bucket/x`, rather than a local path."""
    return _ADDRESS.match(text) is not None


def local_path(path: Any, what: str) -> Path:
    """Returns a local path with `~` expanded; it need not exist.

    ValueError for addresses (`gs://`, `s3://`, `https://`, `pipe:`), which would otherwise become
    folders of that name, and for values that are no paths. `what` names it in messages.
    """
    path = _text(path, what)
    if is_address(path):
        raise ValueError(
            f'{what} "{shortened(path)}" is an address; only local files are read and written '
            "here: mount the bucket (gcsfuse, mountpoint-s3) or copy its files"
        )
    return Path(path).expanduser()


def any_path(path: Any, what: str) -> Path:
    """Returns a local path, as `local_path` does, or one in a bucket; it need not exist.

    ValueError for addresses of other kinds, and for buckets whose package is not installed.
    """
    path = _text(path, what)
    if is_bucket(path):
        return bucket_path(path, what)
    if is_address(path):
        raise ValueError(
            f'{what} "{shortened(path)}" is an address; expected a local path, or one in a bucket '
            "(gs://bucket/folder, s3://bucket/folder)"
        )
    return local_path(path, what)


def run_path(path: Any, what: str) -> Path:
    """Returns the folder of a run: a local path or one in a `gs://` bucket; see `any_path`."""
    path = any_path(path, what)
    if is_bucket(path) and not str(path).startswith("gs://"):
        raise ValueError(
            f'{what} "{shortened(str(path))}": checkpoints are kept in local folders and in gs:// '
            "buckets; mount this one (mountpoint-s3)"
        )
    return path


def existing_path(path: Any, what: str, buckets: bool = False) -> Path:
    """Returns the path of a local file or folder that exists; with `buckets` also of one there.

    FileNotFoundError names its nearest sibling, ValueError says why it can't be read or is none.
    """
    path = any_path(path, what) if buckets else local_path(path, what)
    shown = f"{what} {shortened(str(path))}"
    if is_bucket(path):
        return _existing_in_bucket(path, shown)
    try:
        if path.exists():
            _check_read_at_once(path)
            return path
        hint = _hint(path)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ValueError(f"{shown}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from None
    raise FileNotFoundError(f"{shown} does not exist.{hint}")


def existing_file(path: Any, what: str, buckets: bool = False) -> Path:
    """Returns the path of a file that exists; the errors are those of `existing_path`."""
    file = existing_path(path, what, buckets)
    if file.is_dir():
        raise ValueError(f"{what} {file} is a folder; expected a file")
    return file


def read_file(path: Any, what: str) -> bytes:
    """Returns what a file holds, wherever it is; FileNotFoundError or ValueError, which name it."""
    file = existing_file(path, what, buckets=True)
    with store_errors(f"{what} {file} cannot be read"):
        return file.read_bytes()


def absolute(path: Path) -> Path:
    """Returns a path that means the same in every folder; those in buckets do."""
    return path if is_bucket(path) else path.absolute()


def holds_run(folder: Path) -> bool:
    """Tells whether a folder has checkpoints; ValueError for a bucket that may not be read."""
    checkpoints = folder / "checkpoints"
    if not is_bucket(folder):
        return checkpoints.is_dir()
    with store_errors(f"the run {shortened(str(folder))}"):
        return checkpoints.exists()


def path_to_write(path: Any, what: str) -> Path:
    """Returns a local path at which a file or folder can be made, with the folders before it.

    ValueError where that is impossible, so that no work is done for nothing.
    """
    path = local_path(path, what)
    place = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not place.is_dir() or path.is_symlink() and not path.exists():
        blame = path if place.is_dir() else place
        raise ValueError(f"{what} {path} cannot be written: {blame} is no folder that is there")
    if not os.access(place, os.W_OK):
        raise ValueError(f"{what} {path} cannot be written: {place} may not be written to")
    return path


def file_bytes(path: Path) -> bytes:
    """Returns what a file holds, of the many of a data set; the OSErrors are those of opening it.

    ValueError for what is no file: who opens a pipe that nobody writes to waits for ever.
    """
    if is_bucket(path):
        return object_bytes(path)
    _check_read_at_once(path)
    return path.read_bytes()


def _text(path: Any, what: str) -> str:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"{what} is {path!r:.80}; expected a path, as text")
    path = os.fspath(path)
    if isinstance(path, bytes) or "\0" in path:
        raise ValueError(f"{what} is {path!r:.80}; expected a path, as text")
    return path


def _existing_in_bucket(path: Path, shown: str) -> Path:
    with store_errors(shown):
        if path.exists():
            return path
        hint = _bucket_hint(path)
    raise FileNotFoundError(f"{shown} does not exist.{hint}")


def _bucket_hint(path: Path) -> str:
    """Returns what may be meant by an object that is not there, as a sentence behind a space."""
    bucket, folder = bucket_of(path), path.parent
    if not bucket.exists():
        return f' There is no bucket "{bucket.name}", or it is empty.'
    if path == bucket or not folder.is_dir():
        return f" The folder {folder} does not exist either."
    return nearest(path.name, [sibling.name for sibling in folder.iterdir()])


def _check_read_at_once(path: Path) -> None:
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError("it is a pipe, a socket or a device; only files and folders are read")


def _hint(path: Path) -> str:
    """Returns what may be meant by a path that is not there, as a sentence behind a space."""
    if path.is_symlink():
        return f" It is a link to {shortened(os.readlink(path))}, which is not there."
    if path.parent.is_file():
        return f" {path.parent} is a file."
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    return nearest(path.name, [sibling.name for sibling in path.parent.iterdir()])
