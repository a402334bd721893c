"""Writes files so that a reader sees the old one or the new one, never a part."""

import os
from pathlib import Path

from vlp_jax.data.buckets import is_bucket


def write_whole(path: str | os.PathLike, data: str | bytes) -> Path:
    """Writes a file, whole or not at all, in a folder that is made if need be; returns its path.

    Text is UTF-8.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    if is_bucket(path):  # where an object is there when it is whole
        path.write_bytes(content)
        return path
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path
