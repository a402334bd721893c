"""The training loop: devices are given steps ahead, and the host looks at those that have ended.

The host is `LAG` steps ahead of the devices, so that these never wait for it. What needs the state
itself (a checkpoint, an evaluation, the end) waits for all steps given so far, and so finds the
same with any lag.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from vlp_jax.config import ExperimentConfig, nearest
from vlp_jax.data.paths import holds_run, run_path
from vlp_jax.data.pipeline import Batch
from vlp_jax.parallel import (
    LostPeerError,
    all_arrive,
    lost_peers_named,
    put_batch,
    replicated,
    use_mesh,
)
from vlp_jax.training.accounts import Accounts, in_words
from vlp_jax.training.beginning import Beginning, begin, check_place, make_fresh
from vlp_jax.training.cache_use import CacheUse
from vlp_jax.training.checkpoint import CheckpointStore
from vlp_jax.training.clock import Clock
from vlp_jax.training.experiment import Experiment, check_settings
from vlp_jax.training.in_flight import InFlight
from vlp_jax.training.interruption import Interruption
from vlp_jax.training.out_of_memory import evaluation_advice, memory_named, training_advice
from vlp_jax.training.run_log import RunLog
from vlp_jax.training.run_steps import RunSteps
from vlp_jax.training.saving import NonFiniteError, Saving
from vlp_jax.training.state import TrainState
from vlp_jax.training.tracing import Traces
from vlp_jax.training.watchdog import Watchdog
from vlp_jax.training.workdir_lock import only_trainer

__all__ = ["LAG", "DataError", "NonFiniteError", "RunResult", "train"]

LAG = 1  # steps that may be in flight while the host makes the next one ready

# Called with the experiment and its parameters; returns figures by name.
Evaluate = Callable[[Experiment, Any], dict[str, float]]


class DataError(ValueError):
    """The data give no further batch, though the run had begun."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the experiment, its last state and step, and where the time went."""

    experiment: Experiment
    state: TrainState
    step: int
    interrupted_by: str | None
    accounts: dict[str, float]

    def timing(self) -> dict[str, float]:
        """Returns the figures of `Accounts`, steps, and records that were skipped."""
        skipped = self.experiment.mixture.skipped_total
        return self.accounts | {"skipped_training_records": skipped, "steps": self.step}


def train(
    config: ExperimentConfig,
    workdir: str | Path,
    evaluate: Evaluate | None = None,
    allow_older: bool = False,
    clock: Clock | None = None,
) -> RunResult:
    """Trains until `config.training.steps`, from the newest checkpoint in `workdir` if any.

    Writes `config.json`, `metrics.jsonl`, `accounts.jsonl`, checkpoints, and what
    `config.training.writers` names. SIGTERM or Ctrl-C saves a checkpoint and returns early.
    `allow_older` goes on from an older checkpoint where the newest is damaged. `clock` may have
    begun with the program. Raises ValueError for a config that does not fit, a workdir that cannot
    be used or is in use and a damaged checkpoint, DataError, OutOfMemoryError, NonFiniteError when
    the run has diverged, LostPeerError when another process of it has gone: end this one then.
    """
    clock = clock or Clock()
    workdir = run_path(workdir, "workdir")
    check_place(workdir)
    check_settings(config)
    # Where nothing is yet, a misfit leaves nothing: all is put together before a file is written.
    fresh = None if holds_run(workdir) else make_fresh(config)
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            stack.enter_context(only_trainer(workdir))
        store = CheckpointStore(workdir, config.training.keep_checkpoints, config.evaluation.best)
        stack.callback(store.close)
        stack.enter_context(memory_named(training_advice(config)))
        beginning = begin(config, store, fresh, allow_older)
        stack.enter_context(use_mesh(beginning.experiment.mesh))
        loop = _Loop(beginning, workdir, store, evaluate, clock, stack)
        try:
            with lost_peers_named():
                return loop.until_done(stack.enter_context(Interruption()))
        except LostPeerError:
            stack.pop_all()  # closing would wait for the lost process
            raise


class _Loop:
    """One process's run: the state, its steps, and what happens beside them."""

    def __init__(
        self,
        beginning: Beginning,
        workdir: Path,
        store: CheckpointStore,
        evaluate: Evaluate | None,
        clock: Clock,
        stack: contextlib.ExitStack,
    ):
        self.experiment, self.state = beginning.experiment, beginning.state
        self.config, self.training = self.experiment.config, self.experiment.config.training
        self.start = int(self.state.step)
        self.evaluate, self.clock = evaluate, clock
        self.saving = Saving(store, self.experiment.about, self.training.nan_patience)
        closed = lambda part: stack.enter_context(contextlib.closing(part))
        self.log = closed(RunLog(self.experiment, workdir, self.start, clock))
        self.traces = closed(Traces(self.training.profile, workdir / "profile"))
        self.in_flight = closed(InFlight(clock))
        clock.add("init", clock.total())
        self.accounts = closed(Accounts(clock, workdir, self.start))
        self.watchdog = stack.enter_context(Watchdog(self.training.hang_seconds))
        self.log.say(*beginning.news)

    def until_done(self, interruption: Interruption) -> RunResult:
        """Runs the remaining steps; returns early when a signal asks for it."""
        steps, stop = None, None
        if self.start < self.training.steps:
            steps = self._compile()
            stop = self._run(steps, interruption)
        step = int(self.state.step)
        with self.clock.measure("checkpoint"):
            said = self.saving.last(step, self.state, stop)
            self.saving.store.wait()
        all_arrive(f"the end at step {step}")  # a launcher may kill others once one has ended
        self.accounts.write(step)
        whole = steps and not stop  # after a signal there may be little time to count in
        figures = self.accounts.figures() | (steps.speed(self.clock) if whole else {})
        self.log.say(*[in_words(figures)] * bool(steps), *said)
        return RunResult(self.experiment, self.state, step, stop, figures)

    def _compile(self) -> RunSteps:
        with self.clock.measure("compile"), CacheUse() as cache:
            steps = RunSteps(self.experiment, self.state)
            self.log.begin(self.start)
        self.log.say(f"compiled in {self.clock.seconds('compile'):.0f} s ({cache})")
        self.accounts.write(self.start)
        return steps

    def _run(self, steps: RunSteps, interruption: Interruption) -> str | None:
        """Goes through the steps, and returns the signal that ended them early."""
        with contextlib.closing(self.experiment.mixture.iterate(self.start)) as batches:
            for done in range(self.start + 1, self.training.steps + 1):
                self.traces.turn(done - 1)
                with self.watchdog.watching(done):
                    self._give(steps, done, batches)
                    stands = self._stands_at(done) or interruption.agrees_at(done)
                    self._look(0 if stands else LAG)
                self._save_and_evaluate(done)
                if stop := interruption.requested(done):
                    self._look(0)
                    return stop
        return None

    def _give(self, steps: RunSteps, done: int, batches: Iterator[Batch]) -> None:
        """Gives the devices a step, after which `done` are done."""
        batch = self._next_batch(batches)
        self.state, metrics, when = steps.give(done - 1, self.state, batch)
        kept = steps.averages(self.state) if done % self.training.log_every == 0 else None
        self.in_flight.add(done, metrics, kept, when)

    def _next_batch(self, batches: Iterator[Batch]) -> dict[str, jax.Array]:
        asked = time.perf_counter()
        try:
            batch = next(batches)
        except (ValueError, OSError) as error:
            raise DataError(f"the data give no further batch: {error}") from error
        placed = put_batch(batch, self.experiment.mesh)
        self.clock.add("data", self.in_flight.idle_seconds(asked))
        return placed

    def _look(self, lag: int) -> None:
        """Waits until no more than `lag` steps are in flight, and looks at those that ended."""
        for flight in self.in_flight.landed(lag):
            self.saving.prove(flight.metrics)
            self.log.advance(flight.step)
            if flight.kept is not None:
                meters, bad = jax.device_get(flight.kept)
                self.log.averages(flight.step, meters)
                self.accounts.write(flight.step)
                self.saving.check_finite(flight.step, int(bad))

    def _stands_at(self, done: int) -> bool:
        """Says whether the state is needed after a step, or may be."""
        wanted = self._saves_at(done) or self._evaluates_at(done) or self.traces.turns_at(done)
        return wanted or done == self.training.steps

    def _saves_at(self, done: int) -> bool:
        return self.saving.owed or done % self.training.checkpoint_every == 0

    def _evaluates_at(self, done: int) -> bool:
        every = self.training.evaluate_every
        return bool(self.evaluate and every) and done % every == 0

    def _save_and_evaluate(self, done: int) -> None:
        """Does both where it is time.

        An evaluation that fails costs no checkpoint. Where the best one is kept, figures are saved
        with it, so that it comes after them; and every step that was evaluated needs one.
        """
        due, best, figures = self._saves_at(done), self.config.evaluation.best, {}
        if due and not best:
            self._save(done, figures)
        try:
            if self._evaluates_at(done):
                figures = self._measured(done)
        finally:
            if best and (due or figures):
                self._save(done, figures)

    def _save(self, done: int, figures: dict[str, float]) -> None:
        self.log.keep()  # first: what goes on from this checkpoint writes no row of before it
        with self.clock.measure("checkpoint"):
            self.saving.save(done, self.state, figures)
        self.accounts.write(done)
        self.accounts.keep()

    def _measured(self, done: int) -> dict[str, float]:
        """Evaluates, and returns the figures."""
        with self.clock.measure("evaluate"), memory_named(evaluation_advice(self.config)):
            params = self.state.params
            if jax.process_count() > 1:  # the evaluation reads its results on every host
                params = replicated(params, self.experiment.mesh)
            figures = self.evaluate(self.experiment, params)
        best = self.config.evaluation.best
        if best and best not in figures:
            raise ValueError(
                f'config.evaluation.best = "{best}": the evaluation gave no such figure.'
                f"{nearest(best, figures)} It gave: {', '.join(sorted(figures))}"
            )
        self.log.evaluation(done, figures)
        return figures
