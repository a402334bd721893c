"""How a run begins: anew, with given weights if there are any, or from its newest checkpoint."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.moved import is_old
from vlp_jax.data.buckets import check_bucket_writable, is_bucket
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.parallel import unbox, use_mesh
from vlp_jax.training.checkpoint import (
    CheckpointStore,
    DamagedCheckpoint,
    older_instead,
    read_run,
)
from vlp_jax.training.experiment import Experiment, assemble
from vlp_jax.training.resume import check_records, check_resume
from vlp_jax.training.state import TrainState
from vlp_jax.weights.initial import Initialisation, read_initial_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fresh:
    """A run that is new: its experiment, and the given weights with which it starts."""

    experiment: Experiment
    given: Initialisation


@dataclass(frozen=True)
class Beginning:
    """A run before its first step; `news` are lines on what was filled, or is another one now."""

    experiment: Experiment
    state: TrainState
    news: Sequence[str]


def check_place(workdir: Path) -> Path:
    """Returns the folder in which a workdir would be made, itself where it is there.

    ValueError where none can be made, before anything is computed for it.
    """
    if is_bucket(workdir):
        check_bucket_writable(workdir, "workdir")
        return workdir
    there = next(path for path in (workdir, *workdir.resolve().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "cannot be written" if there.is_dir() else "is no folder"
        raise ValueError(f'cannot create "{workdir}": "{there}" {reason}')
    return there


def make_fresh(config: ExperimentConfig) -> Fresh:
    """Puts a new run together; every misfit is a ValueError here."""
    experiment = assemble(config)
    return Fresh(experiment, given_weights(experiment))


def given_weights(experiment: Experiment) -> Initialisation:
    """Returns the weights with which a new run starts; ValueError where they do not fit."""
    params, vocabulary = unbox(experiment.boxed), experiment.vocabulary
    return read_initial_weights(experiment.config, experiment.model, params, vocabulary, read_run)


def begin(
    config: ExperimentConfig, store: CheckpointStore, fresh: Fresh | None, allow_older: bool
) -> Beginning:
    """Returns the run as its newest checkpoint has it, else as `fresh` does.

    Raises ValueError for a checkpoint of another run, DamagedCheckpoint for a damaged one unless
    `allow_older` and there is one that is not.
    """
    _set_diverged_aside(store)
    about = _reading(store, lambda: _saved_about(store), allow_older)
    if about is None:
        return _anew(fresh or make_fresh(config))
    experiment = assemble(config, Vocabulary.from_json(about["vocabulary"]))
    logger.info("%s", experiment.states.report.text())
    with use_mesh(experiment.mesh):
        state = _reading(store, lambda: store.restore(experiment.states.abstract), allow_older)
    return Beginning(experiment, state, _changes(about, experiment))


def _anew(fresh: Fresh) -> Beginning:
    states = fresh.experiment.states
    logger.info("%s", states.report.text())
    with use_mesh(fresh.experiment.mesh):
        state = states.create()
        params, teacher = fresh.given.fill(state.params, state.teacher)
    filled = state.replace(params=params, teacher=teacher)
    return Beginning(fresh.experiment, filled, fresh.given.news)


def _saved_about(store: CheckpointStore) -> dict | None:
    """Returns the description of the checkpoint to go on from, None where there is none."""
    if store.latest_step is None:
        return None
    about = store.about()
    if is_old(about["config"]):
        raise ValueError(
            f'the checkpoint in "{store.directory}" is of an earlier layout, in which tasks were '
            "not yet config.tasks, and cannot go on. Its weights can still be used: start a new "
            'workdir with config.init_from = [{"path": …, "kind": "run"}], or vlp_jax.load it'
        )
    return about


def _changes(about: dict, experiment: Experiment) -> list[str]:
    """Says what is another one than when the checkpoint was saved."""
    return [
        *check_resume(about["config"], experiment.config),
        *check_records(about.get("records"), experiment.records),
    ]


def _set_diverged_aside(store: CheckpointStore) -> None:
    """Clears the way for a run that goes on from the last checkpoint before it diverged."""
    for step in [s for s in store.steps if store.latest_step is not None and s > store.latest_step]:
        store.set_aside(step, "diverged")
        logger.warning(
            "the checkpoint of step %d is set aside: no step after it was finite. The run goes on "
            "from step %d",
            step,
            store.latest_step,
        )


def _reading(store: CheckpointStore, read: Callable[[], Any], allow_older: bool) -> Any:
    """Returns what `read` reads of the newest checkpoint, of an older one if that is allowed."""
    while True:
        try:
            return read()
        except DamagedCheckpoint as error:
            if not allow_older or error.undamaged is None:
                raise
            logger.warning("%s", older_instead(error))
            for step in [s for s in store.steps if s > error.undamaged]:
                store.set_aside(step, "damaged")
