"""JSON lines about steps: appended, on disk at once, and cut where a run goes on from."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlp_jax.data.whole_file import write_whole

logger = logging.getLogger(__name__)


class RowFile:
    """Appends rows with a `step` to a file; those after `last_step`, which come again, are cut."""

    def __init__(self, path: Path, last_step: int):
        _keep_rows(path, last_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes one row."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


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
