"""The training loop: batches in, steps, and what happens every so many of them."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vlp_jax.config import ExperimentConfig, nearest, write_config
from vlp_jax.config.moved import is_old
from vlp_jax.data.local_paths import local_path
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.parallel import (
    LostPeerError,
    lost_peers_named,
    put_batch,
    replicated,
    unbox,
    use_mesh,
)
from vlp_jax.training.cache_use import CacheUse
from vlp_jax.training.checkpoint import (
    CheckpointStore,
    DamagedCheckpoint,
    older_instead,
    read_run,
)
from vlp_jax.training.checkpoint_marks import GOOD
from vlp_jax.training.clock import Clock
from vlp_jax.training.experiment import Experiment, assemble, check_settings
from vlp_jax.training.interruption import Interruption
from vlp_jax.training.metrics import MetricsWriter
from vlp_jax.training.optimizer import make_schedule
from vlp_jax.training.progress import Progress
from vlp_jax.training.resume import check_records, check_resume
from vlp_jax.training.schedule import Group
from vlp_jax.training.state import TrainState
from vlp_jax.training.workdir_lock import only_trainer
from vlp_jax.weights.initial import Initialisation, read_initial_weights

logger = logging.getLogger(__name__)

# Called with the experiment and its parameters; returns figures by name.
Evaluate = Callable[[Experiment, Any], dict[str, float]]


class NonFiniteError(RuntimeError):
    """The loss, the gradient or the update was not finite for too many steps in a row."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the experiment, its last state, step, and where the time went."""

    experiment: Experiment
    state: TrainState
    step: int
    interrupted_by: str | None
    clock: Clock

    def timing(self) -> dict[str, float]:
        """Returns seconds by activity, the share of time spent waiting for data, and skips."""
        parts = ("data", "compile", "step", "checkpoint", "evaluate")
        return {f"{name}_seconds": self.clock.seconds(name) for name in parts} | {
            "data_wait_share": self.clock.share("data"),
            "skipped_training_records": self.experiment.mixture.skipped_total,
            "steps": self.step,
        }


def train(
    config: ExperimentConfig,
    workdir: str | Path,
    evaluate: Evaluate | None = None,
    allow_older: bool = False,
) -> RunResult:
    """Trains until `config.training.steps`, from the newest checkpoint in `workdir` if any.

    Writes `config.json`, `metrics.jsonl`, TensorBoard events and checkpoints. SIGTERM or Ctrl-C
    saves a checkpoint and returns early. `allow_older` goes on from an older checkpoint where the
    newest is damaged. Raises ValueError for a config that does not fit, a workdir that cannot be
    used or is in use and a damaged checkpoint, NonFiniteError when the run has diverged,
    LostPeerError when another process of it has gone: end this one then.
    """
    workdir = local_path(workdir, "workdir")
    check_place(workdir)
    check_settings(config)
    best = config.evaluation.best
    # Where nothing is yet, a misfit leaves nothing: all is put together before a file is written.
    new = not (workdir / "checkpoints").is_dir()
    start = _Start(assemble(config), fresh=True) if new else None
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            stack.enter_context(only_trainer(workdir))
        store = CheckpointStore(workdir, config.training.keep_checkpoints, best)
        stack.callback(store.close)
        _set_diverged_aside(store)
        about = _reading(store, lambda: saved_about(store), allow_older)
        if start is None or about is not None:
            vocabulary = about and Vocabulary.from_json(about["vocabulary"])
            start = _Start(assemble(config, vocabulary), fresh=about is None)
        stack.enter_context(use_mesh(start.experiment.mesh))
        run = _Run(start, workdir, store, evaluate, stack, allow_older, about)
        interruption = stack.enter_context(Interruption())
        try:
            with lost_peers_named():
                return run.until_done(interruption)
        except LostPeerError:
            stack.pop_all()  # closing would wait for the lost process
            raise


def check_place(workdir: Path) -> None:
    """Raises ValueError where no workdir can be made, before anything is computed for it."""
    there = next(path for path in (workdir, *workdir.resolve().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "cannot be written" if there.is_dir() else "is no folder"
        raise ValueError(f'cannot create "{workdir}": "{there}" {reason}')


def saved_about(store: CheckpointStore) -> dict | None:
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


class _Start:
    """An experiment, and the given weights with which a run that is new would begin."""

    def __init__(self, experiment: Experiment, fresh: bool):
        self.experiment = experiment
        self.given = Initialisation((), ())
        if fresh:
            self.given = read_initial_weights(
                experiment.config,
                experiment.model,
                unbox(experiment.boxed),
                experiment.vocabulary,
                read_run,
            )


class _Run:
    """One process's run: the state, and the things that happen beside the step."""

    def __init__(
        self,
        start: _Start,
        workdir: Path,
        store: CheckpointStore,
        evaluate: Evaluate | None,
        stack: contextlib.ExitStack,
        allow_older: bool,
        about: dict | None,
    ):
        self.experiment = experiment = start.experiment
        self.training = experiment.config.training
        self.best = experiment.config.evaluation.best
        self.store = store
        self.evaluate = evaluate
        self.clock = Clock()
        self.figures: dict[str, float] = {}
        self.state, news = self._start_state(allow_older, start.given)
        if about is not None:
            news = _changes(about, experiment)
        self.start = int(self.state.step)
        self._metrics: dict[str, Any] = {}
        self._unproven = _unproven(store)  # the step of a checkpoint not known to be good
        self._owed = False  # whether a checkpoint was due while steps were bad
        self.writer = self._open_files(workdir, stack)
        self.progress = Progress(self.training.steps, self.start, quiet=self.writer is None)
        stack.callback(self.progress.close)
        for line in news:
            self.progress.say(line)
        self.schedule = make_schedule(experiment.config.optimizer, self.training.steps)
        self.steps: dict[tuple[str, Group], Any] = {}
        self._last_log = (self.start, time.perf_counter())

    def until_done(self, interruption: Interruption) -> RunResult:
        """Runs the remaining steps; returns early when a signal asks for it."""
        stop = None
        if self.start < self.training.steps:
            with self.clock.measure("compile"), CacheUse() as cache:
                self.steps = self.experiment.compiled_steps(self.state)
            self.progress.say(f"compiled in {self.clock.seconds('compile'):.0f} s ({cache})")
        self._last_log = (self.start, time.perf_counter())
        batches = self.experiment.mixture.iterate(self.start)
        with contextlib.closing(batches):
            for step in range(self.start, self.training.steps):
                self._one_step(step, batches)
                self._after(step + 1)
                stop = interruption.requested(step + 1)
                if stop:
                    self._stop(stop, step + 1)
                    break
        done = int(self.state.step)
        if not stop:
            self._end(done)
        with self.clock.measure("checkpoint"):
            self.store.wait()
        return RunResult(self.experiment, self.state, done, stop, self.clock)

    def _stop(self, why: str, step: int) -> None:
        if self._save(step):
            self.progress.say(f"{why}: saved step {step}; the same command goes on from there")
        else:
            self.progress.say(
                f"{why}: stopped at step {step}, which was not finite and is not saved. The same "
                f"command {_goes_on(self.store)}"
            )

    def _end(self, step: int) -> None:
        bad = int(self.state.bad_steps)
        self._check_finite(step, bad)
        if self._save(step):
            return
        if self.store.latest_step is None:
            raise NonFiniteError(_not_finite(bad, step, self.store))
        self.progress.say(
            f"the last {bad} steps were not finite and are not saved: the newest checkpoint is of "
            f"step {self.store.latest_step}"
        )

    def _open_files(self, workdir: Path, stack: contextlib.ExitStack) -> MetricsWriter | None:
        """Of several processes only the first writes files, but for checkpoints: all write those.

        The config is written once the state is there, so that a resume that is refused leaves the
        run's config as it was.
        """
        if jax.process_index() > 0:
            return None
        write_config(self.experiment.config, workdir / "config.json")
        self.experiment.vocabulary.tokenizer.save(workdir)  # for the runs that start from this one
        writer = MetricsWriter(workdir, self.start)
        stack.callback(writer.close)
        return writer

    def _start_state(
        self, allow_older: bool, given: Initialisation
    ) -> tuple[TrainState, tuple[str, ...]]:
        """Returns the state of the newest checkpoint, else a fresh one with given weights.

        Of the latter, the lines say what was filled.
        """
        states = self.experiment.states
        logger.info("%s", states.report.text())
        if self.store.latest_step is not None:
            read = lambda: self.store.restore(states.abstract)
            return _reading(self.store, read, allow_older), ()
        state = states.create()
        params, teacher = given.fill(state.params, state.teacher)
        return state.replace(params=params, teacher=teacher), given.news

    def _one_step(self, step: int, batches: Any) -> None:
        source = self.experiment.mixture.choice(step)
        with self.clock.measure("data"):
            batch = put_batch(next(batches), self.experiment.mesh)
        group = self.experiment.schedule.group(step, source)
        with self.clock.measure("step"):
            self.state, self._metrics = self.steps[source, group](self.state, batch)
            # Waiting here keeps the data time honest; the next batch is already being made.
            jax.block_until_ready(self.state.step)

    def _after(self, step: int) -> None:
        training = self.training
        self._prove()
        self.progress.advance(step)
        if step % training.log_every == 0:
            self._log(step)
        self.figures = {}
        due = self._owed or step % training.checkpoint_every == 0
        # An evaluation that fails costs no checkpoint. Where the best one is kept, figures are
        # saved with it, so that it comes after them; and every step that was evaluated needs one.
        if due and not self.best:
            self._save(step)
        try:
            if self.evaluate and training.evaluate_every and step % training.evaluate_every == 0:
                self._evaluate(step)
        finally:
            if self.best and (due or self.figures):
                self._save(step)

    def _log(self, step: int) -> None:
        meters, bad = jax.device_get((self.state.meters, self.state.bad_steps))
        values = {k: float(m.total / m.count) for k, m in meters.items() if m.count}
        values["learning_rate"] = float(self.schedule(step - 1))
        self._write(step, values)
        since, when = self._last_log
        speed = (step - since) / (time.perf_counter() - when)
        self._last_log = (step, time.perf_counter())
        shown = values | {"data_wait_share": self.clock.share("data")}
        examples = speed * self.experiment.config.data.batch_size
        self.progress.report(step, shown, examples, (self.training.steps - step) / speed)
        self._check_finite(step, int(bad))

    def _prove(self) -> None:
        """Marks the last checkpoint as good if the step that came after it was finite.

        Its loss and gradient count: an update that is not finite is not the checkpoint's fault.
        """
        if self._unproven is None:
            return
        found = jax.device_get((self._metrics["loss"], self._metrics["gradient_norm"]))
        if np.isfinite(found).all():
            self.store.mark_good(self._unproven)
            self._unproven = None

    def _check_finite(self, step: int, bad: int) -> None:
        if bad >= self.training.nan_patience:
            self.store.wait()
            self.store.mark_diverged()
            raise NonFiniteError(_not_finite(bad, step, self.store))

    def _evaluate(self, step: int) -> None:
        with self.clock.measure("evaluate"):
            params = self.state.params
            if jax.process_count() > 1:  # the evaluation reads its results on every host
                params = replicated(params, self.experiment.mesh)
            self.figures = self.evaluate(self.experiment, params)
        if self.best and self.best not in self.figures:
            raise ValueError(
                f'config.evaluation.best = "{self.best}": the evaluation gave no such figure.'
                f"{nearest(self.best, self.figures)} It gave: {', '.join(sorted(self.figures))}"
            )
        self._write(step, {f"evaluation/{k}": v for k, v in self.figures.items()})
        shown = "  ".join(f"{k} {v:.3f}" for k, v in self.figures.items())
        self.progress.say(f"step {step}  evaluation: {shown}")

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self.writer is not None:
            self.writer.write(step, values)

    def _save(self, step: int) -> bool:
        """Starts to save the state, unless the step was bad; then the next good one is saved."""
        self._owed = int(self.state.bad_steps) > 0
        if self._owed:
            return False
        with self.clock.measure("checkpoint"):
            metrics = {k: float(v) for k, v in self.figures.items() if np.isfinite(v)}
            if step not in self.store.steps:
                self._unproven = step
            self.store.save(step, self.state, self.experiment.about, metrics)
        return True


def _unproven(store: CheckpointStore) -> int | None:
    """Returns the step of the newest checkpoint if it is not known to be good."""
    latest = store.latest_step
    return None if latest is None or store.marks.of(latest) == GOOD else latest


def _not_finite(bad: int, step: int, store: CheckpointStore) -> str:
    return (
        f"loss, gradient or update was not finite in {bad} steps in a row up to step {step}; these "
        "steps changed nothing. Lower config.optimizer.learning_rate, set "
        f"config.optimizer.clip_norm, or look at the data. The same command {_goes_on(store)}"
    )


def _goes_on(store: CheckpointStore) -> str:
    """Says from where a run goes on, and whether that checkpoint is known to be good."""
    latest = store.latest_step
    if latest is None:
        return "starts anew: no checkpoint was saved yet"
    if store.marks.of(latest) == GOOD:
        return f"goes on from the checkpoint of step {latest}, which is good"
    return (
        f"goes on from the checkpoint of step {latest}, of which no later step has shown that it "
        f'is good; remove "{store.directory}" to start anew'
    )
