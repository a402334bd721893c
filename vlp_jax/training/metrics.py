"""Writes metrics: JSON lines always, TensorBoard where it is installed."""

import importlib.util
import json
import logging
import math
import os
import time
from pathlib import Path

logger = logging.getLogger(__name__)


class MetricsWriter:
    """Appends rows to `metrics.jsonl`, and to TensorBoard event files if that package is there.

    A resumed run drops the rows after `resumed_step`, which its steps write again.
    """

    def __init__(self, workdir: Path, resumed_step: int = 0):
        self.path = workdir / "metrics.jsonl"
        _keep_rows(self.path, resumed_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard_writer(workdir / "tensorboard")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one row; numbers that are not finite become null."""
        clean = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()
        if self._board is not None:
            self._board(step, {k: v for k, v in clean.items() if v is not None})

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict]:
    """Returns the rows of a `metrics.jsonl`; a half-written last line is left out."""
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
    rows = [row for row in read_metrics(path) if row["step"] <= last_step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(partial, path)


class _TensorBoard:
    """Scalars as TensorBoard events, without TensorFlow."""

    def __init__(self, directory: Path):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        directory.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(directory))

    def __call__(self, step: int, values: dict[str, float]) -> None:
        scalars = [self._summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        summary = self._summary(value=scalars)
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=summary))

    def close(self) -> None:
        self._writer.close()


def _tensorboard_writer(directory: Path) -> _TensorBoard | None:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    return _TensorBoard(directory)
