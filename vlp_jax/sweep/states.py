"""How far each run of a sweep is, read from what it has left in its folder."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.config.files import flat
from vlp_jax.data.json_text import read_object
from vlp_jax.sweep.plan import Run

SUMMARY = "summary.json"
LOG = "train.log"
_RECORD = "sweep.json"
_FAILURE = "failure.txt"


class State(Enum):
    """What has become of a run."""

    WAITING = "not started"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """A run's state, why it failed, and its figures if it is done."""

    run: Run
    state: State
    failure: str = ""
    figures: dict[str, Any] | None = None


def progress(run: Run) -> Progress:
    """Returns how far a run is.

    Raises ValueError if its folder holds a run of another config, or a damaged file.
    """
    if not (run.workdir / _RECORD).exists():
        _check_free(run)
        return Progress(run, State.WAITING)
    _check_same_config(run)
    if (run.workdir / _FAILURE).exists():
        return Progress(run, State.FAILED, (run.workdir / _FAILURE).read_text().strip())
    if (run.workdir / SUMMARY).exists():
        return Progress(run, State.DONE, figures=read_object(run.workdir / SUMMARY))
    return Progress(run, State.UNFINISHED)


def record_start(run: Run) -> None:
    """Notes in the run's folder what it is, and that it has not failed (again) yet."""
    run.workdir.mkdir(parents=True, exist_ok=True)
    (run.workdir / _FAILURE).unlink(missing_ok=True)
    record = {"config": run.config, "spec": run.spec, "overrides": run.overrides}
    (run.workdir / _RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def record_failure(run: Run, message: str) -> None:
    """Notes why a run failed; the next start removes the note."""
    (run.workdir / _FAILURE).write_text(message + "\n")


def _check_free(run: Run) -> None:
    """A folder with a run that no sweep made may hold anything."""
    if (run.workdir / "config.json").exists():
        raise ValueError(
            f'"{run.workdir}" holds a run that was not started by a sweep: choose another --out, '
            "or remove that folder"
        )


def _check_same_config(run: Run) -> None:
    """A field that came later than the run has its default there."""
    record = run.workdir / _RECORD
    saved = to_plain(
        build(ExperimentConfig, read_object(record).get("config"), f"{record}: config")
    )
    if saved != run.config:
        there, now = flat(saved), flat(run.config)
        path = next(name for name in sorted({**now, **there}) if now.get(name) != there.get(name))
        raise ValueError(
            f'"{run.workdir}" holds a run of another config: config.{path} is '
            f"{there.get(path, 'not set')!r} there and {now.get(path, 'not set')!r} now. Choose "
            "another --out, or remove that folder"
        )
