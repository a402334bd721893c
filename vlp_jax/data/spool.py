"""Folders for libraries that write to disks only: in a bucket they get a copy now and then."""

import os
import tempfile
from pathlib import Path

from vlp_jax.data.buckets import is_bucket


class Spool:
    """A folder to write to, which is `folder` itself where that is on a disk.

    Attributes:
      local: the folder to write to; of one in a bucket a temporary one, until `close`.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._temporary = tempfile.TemporaryDirectory() if is_bucket(folder) else None
        self.local = Path(self._temporary.name) if self._temporary else folder
        self.local.mkdir(parents=True, exist_ok=True)

    def copy(self) -> None:
        """Writes all files to the bucket, if it is one."""
        if self._temporary is None:
            return
        for place, _, names in os.walk(self.local):
            for name in names:
                file = Path(place) / name
                (self._folder / file.relative_to(self.local)).write_bytes(file.read_bytes())

    def close(self) -> None:
        """Copies a last time, and removes what is temporary."""
        self.copy()
        if self._temporary is not None:
            self._temporary.cleanup()
