"""What ends a run in its first minute, looked at beforehand: data, weights, workdir, tasks."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlp_jax.cli.measure.assumed import StandIn, feature_width, provided, words
from vlp_jax.config import ExperimentConfig, replace
from vlp_jax.data.assemble import open_source, source_class
from vlp_jax.data.buckets import is_bucket
from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources.base import Source
from vlp_jax.parallel.report import size_text
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.evaluation import check_before_training
from vlp_jax.training.beginning import check_place, given_weights
from vlp_jax.training.experiment import Experiment, sources_too_late
from vlp_jax.weights.initial import initial_weights


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; "assumed" is what is not there, and made up for compiling."""

    about: str
    verdict: Literal["ok", "wrong", "assumed"]
    said: str


def open_or_assume(config: ExperimentConfig) -> tuple[dict[str, Source], list[Check]]:
    """Returns the training split of each source, or a stand-in, and what was found."""
    sources: dict[str, Source] = {}
    checks = []
    for name in config.data.sources:
        about = f"data {name}"
        try:
            sources[name] = open_source(config.data, name, "train")
            holds = ", ".join(sorted(sources[name].provides))
            checks.append(Check(about, "ok", f"{len(sources[name]):,} records with {holds}"))
        except (OSError, ValueError) as error:
            sources[name] = source = _stand_in(config, name)
            verdict = "assumed" if isinstance(error, FileNotFoundError) else "wrong"
            checks.append(Check(about, verdict, f"{error}; assumed: {_described(config, source)}"))
    return sources, checks


def _stand_in(config: ExperimentConfig, name: str) -> StandIn:
    kind = source_class(config.data, name, "config.data.source")
    options = config.data.source_args.get(name, {})
    return StandIn(config.data, config.model, provided(config.model, kind, options))


def _described(config: ExperimentConfig, source: StandIn) -> str:
    holds = ", ".join(sorted(source.provides))
    features = f", regions of {feature_width(config.model)} numbers"
    wide = features if "region_features" in source.provides else ""
    return f"{words(config.model):,} word pieces, records with {holds}{wide}"


def check_tasks(config: ExperimentConfig, experiment: Experiment) -> list[Check]:
    """Says which tasks train on what, which no source can feed, and which source comes too late."""
    asked = {name for name, task in build_tasks(config).items() if task.trains}
    checks = [
        Check(f"tasks of {source}", "ok", ", ".join("+".join(group) for group in groups))
        for source, groups in experiment.schedule.groups.items()
    ]
    unfed = sorted(asked - experiment.tasks.keys())
    checks += [Check(f"task {name}", "wrong", "no source feeds it") for name in unfed]
    return checks + [Check("sources", "wrong", line) for line in sources_too_late(config)]


def check_evaluations_run(
    config: ExperimentConfig, experiment: Experiment, sources: Mapping[str, Source]
) -> list[Check]:
    """Opens what is evaluated, and says which evaluations cannot run.

    Nothing is looked at where training data are not there: those to evaluate on are not, either.
    """
    names = [key for task in build_tasks(config).values() for key in task.evaluate]
    if not names:
        return [Check("evaluations", "ok", "none")]
    if any(isinstance(source, StandIn) for source in sources.values()):
        return [Check("evaluations", "assumed", ", ".join(names))]
    often = replace(config, "training.evaluate_every", config.training.evaluate_every or 1)
    tasks = build_tasks(often)
    with warnings_kept() as said:
        try:
            check_before_training(often, experiment.vocabulary, experiment.model, tasks, sources)
        except (OSError, ValueError) as error:
            said.append(str(error))
    if said:
        return [Check("evaluations", "wrong", text) for text in said]
    return [Check("evaluations", "ok", ", ".join(names))]


def check_initial_weights(experiment: Experiment, data_are_there: bool) -> list[Check]:
    """Looks for the weights that a new run starts from; with the data, whether they fit, too."""
    entries = initial_weights(experiment.config.init_from)
    checks = [_found(f"config.init_from[{i}].path", entry.path) for i, entry in enumerate(entries)]
    if not checks or not data_are_there or any(check.verdict == "wrong" for check in checks):
        return checks
    try:
        given = given_weights(experiment)
    except (OSError, ValueError) as error:
        return [Check("weights", "wrong", str(error))]
    return [Check("weights", "ok", line) for line in given.news]


def _found(where: str, path: str) -> Check:
    try:
        return Check("weights", "ok", f"{existing_path(path, where, buckets=True)} is there")
    except (OSError, ValueError) as error:
        return Check("weights", "wrong", str(error))


def check_workdir(workdir: Path, checkpoint: int, kept: int) -> Check:
    """Says whether a workdir can be written, and whether its disk has room for the checkpoints.

    checkpoint: bytes of one. kept: how many are kept; beside these are the last good one and that
    which is being written.
    """
    try:
        there = check_place(workdir)
    except ValueError as error:
        return Check("workdir", "wrong", str(error))
    needed = checkpoint * (kept + 2)
    room = f'"{workdir}": {kept + 2} checkpoints take {size_text(needed)}'
    if is_bucket(there):
        return Check("workdir", "ok", room)
    free = shutil.disk_usage(there).free
    verdict = "ok" if needed < free else "wrong"
    return Check("workdir", verdict, f"{room}, {size_text(free)} are free")


@contextlib.contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """Gives a list that takes up what this package warns of, in place of the log."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("vlp_jax")
    before, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)
        log.propagate = before
