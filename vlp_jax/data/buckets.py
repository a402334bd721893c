"""Buckets of object stores: paths such as `gs://bucket/x`, and what differs there from a disk.

A path in a bucket is an `etils.epath.Path`, which has the methods of `pathlib.Path` that this
package uses. Folders are what the names of objects have in common; an object is written whole.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vlp_jax.data.foreign import shortened

# Kind of bucket → the package that reads it, and the extra of vlp_jax that brings it.
_PACKAGES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}

_PART = 1 << 24  # bytes


def is_bucket(path: Any) -> bool:
    """Tells whether a path, or the text of one, is in a bucket."""
    return str(path).startswith(tuple(f"{kind}://" for kind in _PACKAGES))


def bucket_path(address: str, what: str) -> Path:
    """Returns the path of an address, without asking the store.

    ValueError for one without a name of a bucket, or where the package that it needs is missing.
    """
    kind, _, rest = address.partition("://")
    package, extra = _PACKAGES[kind]
    named = f'{what} "{shortened(address)}"'
    if not rest.partition("/")[0]:
        raise ValueError(f"{named} names no bucket; expected {kind}://bucket/folder")
    if not importlib.util.find_spec(package):
        raise ValueError(f'{named} needs the package "{package}": pip install "vlp_jax[{extra}]"')
    return _paths()(address)


def bucket_of(path: Path) -> Path:
    """Returns the bucket that a path is in."""
    return [path, *path.parents][-3]  # the last two are what epath puts before a bucket's name


@contextlib.contextmanager
def store_errors(shown: str) -> Iterator[None]:
    """Turns what a disk or a store's client raises into a ValueError that begins with `shown`.

    A FileNotFoundError stays one.
    """
    try:
        yield
    except (FileNotFoundError, ValueError):
        raise
    except Exception as error:  # of Google, Amazon, aiohttp …, which share no class
        raise ValueError(f"{shown}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Returns what an error of a disk or a store says, as one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shortened(" ".join(str(error).split()) or type(error).__name__)


def check_bucket_writable(folder: Path, what: str) -> None:
    """Writes a small object into a folder and removes it again; ValueError where that fails."""
    named = f"{what} {folder} cannot be written"
    probe = folder / f"probe-{uuid.uuid4().hex}"
    with store_errors(named):
        try:
            probe.write_text("Tells whether this folder can be written.\n")
        except FileNotFoundError:
            raise ValueError(f'{named}: there is no bucket "{bucket_of(folder).name}"') from None
        probe.unlink()


def object_bytes(path: Path, offset: int | None = None, size: int = 0) -> bytes:
    """Returns what an object holds, or `size` bytes of it from `offset`, in one request.

    Fewer only at its end; the errors are those of `store_errors`.
    """
    files, name = _client(path)
    with store_errors(f"{path} cannot be read"):
        return files.cat_file(name, start=offset, end=None if offset is None else offset + size)


def open_object(path: Path) -> IO[bytes]:
    """Opens an object to be read from its start to its end, in large parts."""
    files, name = _client(path)
    return files.open(name, "rb", block_size=_PART, cache_type="readahead")


def object_stamp(path: Path) -> tuple[int, int]:
    """Returns two numbers, one of them at least another one after an object was written again."""
    files, name = _client(path)
    digest = hashlib.blake2b(files.ukey(name).encode(), digest_size=7).digest()
    return files.size(name), int.from_bytes(digest, "big")


def objects_like(pattern: Path) -> list[Path]:
    """Returns the objects that a path with wildcards stands for, sorted."""
    bucket = bucket_of(pattern)
    return sorted(bucket.glob(str(pattern.relative_to(bucket))))


def object_sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of every object whose name begins with a folder's, by the rest of it."""
    files, name = _client(folder)
    found = files.find(name, detail=True)
    return {path.removeprefix(f"{name}/"): about["size"] for path, about in sorted(found.items())}


def _client(path: Path) -> tuple[Any, str]:
    """Returns fsspec's file system for a path, the same one for all, and the path's name in it."""
    import fsspec

    return fsspec.core.url_to_fs(os.fspath(path))


@functools.cache
def _paths() -> type:
    """Returns the class of paths, with the clients set up for stores that others write to, too."""
    # TensorFlow's files raise errors of their own, and are no faster.
    os.environ.setdefault("EPATH_USE_TF", "false")
    import fsspec
    from etils import epath

    for client in ("gcs", "s3"):  # which would keep lists of objects for ever
        fsspec.config.conf.setdefault(client, {}).setdefault("use_listings_cache", False)
    return epath.Path
