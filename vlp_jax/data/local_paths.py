"""Paths that users give: what is no path of a local file is refused before anything is done."""

import os
import re
from pathlib import Path
from typing import Any

from vlp_jax.config import nearest
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
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"{what} is {path!r:.80}; expected a path, as text")
    path = os.fspath(path)
    if isinstance(path, bytes) or "\0" in path:
        raise ValueError(f"{what} is {path!r:.80}; expected a path, as text")
    if is_address(path):
        raise ValueError(
            f'{what} "{shortened(path)}" is an address; only local files are read and written: '
            "mount the bucket (gcsfuse, mountpoint-s3) or copy its files"
        )
    return Path(path).expanduser()


def existing_path(path: Any, what: str) -> Path:
    """Returns a local path that exists.

    FileNotFoundError names its nearest sibling, ValueError says why it can't be read or is none.
    """
    path = local_path(path, what)
    try:
        if path.exists():
            return path
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ValueError(f"{what} {shortened(str(path))}: {error.strerror}") from None
    hint = nearest(path.name, siblings)
    if not path.parent.is_dir():
        hint = f" The folder {path.parent} does not exist either."
    raise FileNotFoundError(f"{what} {path} does not exist.{hint}")
