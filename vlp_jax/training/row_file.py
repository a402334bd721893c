"""JSON lines about steps: appended, on disk at once, and cut where a run goes on from.

An object in a bucket cannot be appended to, and is written again now and then.
"""

import io
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlp_jax.data.buckets import is_bucket, reason
from vlp_jax.data.whole_file import write_whole

logger = logging.getLogger(__name__)

BUCKET_SECONDS = 30  # between two times that an object is written


class RowFile:
    """Appends rows with a `step` to a file; those after `last_step`, which come again, are cut.

    In a bucket they are there after `keep`, `close`, and at most BUCKET_SECONDS.
    """

    def __init__(self, path: Path, last_step: int):
        _keep_rows(path, last_step)
        self._seconds = BUCKET_SECONDS if is_bucket(path) else 0
        self._kept = time.monotonic()
        self._file = _BucketText(path) if is_bucket(path) else path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes one row."""
        self._file.write(json.dumps(row) + "\n")
        if time.monotonic() - self._kept >= self._seconds:
            self.keep()

    def keep(self) -> None:
        """Makes sure that a killed process loses no row of those so far."""
        self._file.flush()
        self._kept = time.monotonic()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _BucketText(io.StringIO):
    """A text of which `flush` writes the whole object; a run goes on where that fails."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self.write(path.read_text() if path.exists() else "")

    def flush(self) -> None:
        try:
            self._path.write_text(self.getvalue())
        except Exception as error:  # the clients of stores have many kinds
            logger.warning("%s is not written, for now: %s", self._path, reason(error))

    def close(self) -> None:
        self.flush()
        super().close()


def read_rows(path: Path) -> list[dict]:
    """Returns the rows of a file, none if there is no file; a half-written last one is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            logger.warning("%s: dropped an unfinished line", path)
    return rows


def _keep_rows(path: Path, last_step: int) -> None:
    """Cuts the file after `last_step`, at once, so that a kill in between loses nothing."""
    if not path.exists():
        return
    rows = [row for row in read_rows(path) if row["step"] <= last_step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
