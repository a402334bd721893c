"""Where a run's metrics go: metrics.jsonl always, and what `config.training.writers` names."""

import importlib.util
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from vlp_jax.config import ExperimentConfig, Registry, to_plain
from vlp_jax.data.buckets import is_bucket
from vlp_jax.data.spool import Spool
from vlp_jax.training.row_file import BUCKET_SECONDS, RowFile

METRICS = "metrics.jsonl"


class MetricsWriter(Protocol):
    """What takes scalars beside metrics.jsonl; the writers of CLU have these methods, too."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Takes the finite figures of a step."""

    def close(self) -> None:
        """Ends writing."""


# Name → function (workdir, config) -> MetricsWriter; the name is that of the package it needs.
WRITERS: dict[str, Callable[[Path, ExperimentConfig], MetricsWriter]] = Registry("metrics writer")


def check_writers(names: Sequence[str] | None) -> None:
    """Raises ValueError for a writer that there is not, or whose package is not installed."""
    for name in names or ():
        WRITERS.get_known(name, "config.training.writers")
        if name in _PACKAGED and not importlib.util.find_spec(name):
            raise ValueError(
                f'config.training.writers names "{name}", which is not installed: pip install '
                f"{name}, or leave it out"
            )


class MetricsLog:
    """Appends rows to `metrics.jsonl` and hands them to the writers; see `RowFile`."""

    def __init__(self, workdir: Path, config: ExperimentConfig, resumed_step: int):
        self._rows = RowFile(workdir / METRICS, resumed_step)
        self._writers = [
            WRITERS[name](workdir, config) for name in _chosen(config.training.writers)
        ]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row; numbers that are not finite become null."""
        finite = {k: v for k, v in values.items() if math.isfinite(v)}
        self._rows.write({"step": step} | dict.fromkeys(values) | finite)
        for writer in self._writers:
            writer.write_scalars(step, finite)

    def keep(self) -> None:
        """Makes sure that a killed process loses no row; see `RowFile`."""
        self._rows.keep()

    def close(self) -> None:
        """Closes the file and all writers."""
        for writer in (self._rows, *self._writers):
            writer.close()


def _chosen(names: Sequence[str] | None) -> Sequence[str]:
    if names is None:
        return ("tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    return names


@WRITERS.register("tensorboard")
class _TensorBoard:
    """Scalars as TensorBoard events, without TensorFlow."""

    def __init__(self, workdir: Path, config: ExperimentConfig):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._spool = Spool(workdir / "tensorboard")
        self._writer = EventFileWriter(str(self._spool.local))
        self._copied = time.monotonic()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [self._summary.Value(tag=k, simple_value=v) for k, v in scalars.items()]
        summary = self._summary(value=values)
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=summary))
        if time.monotonic() - self._copied > BUCKET_SECONDS:
            self._writer.flush()
            self._spool.copy()
            self._copied = time.monotonic()

    def close(self) -> None:
        self._writer.close()
        self._spool.close()


@WRITERS.register("wandb")
class _WeightsAndBiases:
    """A run of Weights & Biases, the same one for all starts in a workdir."""

    def __init__(self, workdir: Path, config: ExperimentConfig):
        import wandb

        known = workdir / "wandb_id"
        if not known.exists():
            known.write_text(uuid.uuid4().hex)
        self._run = wandb.init(
            project="vlp_jax",
            name=config.name,
            id=known.read_text(),
            resume="allow",
            dir=None if is_bucket(workdir) else str(workdir),
            config=to_plain(config),
        )

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


_PACKAGED = frozenset(WRITERS)  # those of this file, named as their packages
