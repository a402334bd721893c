"""What a run says of itself: rows of metrics, and a bar or lines for those who watch."""

import time
from collections.abc import Mapping
from pathlib import Path

import jax

from vlp_jax.config import write_config
from vlp_jax.training.accounts import wait_share
from vlp_jax.training.clock import Clock
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.optimizer import make_schedule
from vlp_jax.training.progress import Progress
from vlp_jax.training.state import Meter
from vlp_jax.training.writers import MetricsLog


class RunLog:
    """Of several processes the first one writes and speaks; the others are silent.

    The config is written here, once the state is there, so that a resume that is refused leaves the
    run's config as it was.
    """

    def __init__(self, experiment: Experiment, workdir: Path, start: int, clock: Clock):
        config = experiment.config
        self._clock = clock
        self._steps = config.training.steps
        self._batch_size = config.data.mean_batch_size(self._steps)
        self._schedule = make_schedule(config.optimizer, config.training.steps)
        self._last = start, time.perf_counter()
        self._rows = None
        if jax.process_index() == 0:
            write_config(config, workdir / "config.json")
            experiment.vocabulary.tokenizer.save(workdir)  # for runs that start from this one
            self._rows = MetricsLog(workdir, config, start)
        self._progress = Progress(config.training.steps, start, quiet=self._rows is None)

    def say(self, *lines: str) -> None:
        """Prints lines."""
        for line in lines:
            self._progress.say(line)

    def begin(self, step: int) -> None:
        """Notes that the steps begin now: what came before is not their speed."""
        self._schedule(step)  # compiles it
        self._last = step, time.perf_counter()

    def advance(self, step: int) -> None:
        """Shows that so many steps are done."""
        self._progress.advance(step)

    def averages(self, step: int, meters: Mapping[str, Meter]) -> None:
        """Writes and shows what the meters hold since the last time."""
        values = {k: float(m.total / m.count) for k, m in meters.items() if m.count}
        values["learning_rate"] = float(self._schedule(step - 1))
        self._write(step, values)
        (since, when), self._last = self._last, (step, time.perf_counter())
        speed = (step - since) / (self._last[1] - when)
        shown = values | {"data_wait_share": wait_share(self._clock.parts())}
        left = (self._steps - step) / speed
        self._progress.report(step, shown, speed * self._batch_size, left)

    def evaluation(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes and shows what an evaluation has found."""
        self._write(step, {f"evaluation/{k}": v for k, v in figures.items()})
        shown = "  ".join(f"{k} {v:.3f}" for k, v in figures.items())
        self.say(f"step {step}  evaluation: {shown}")

    def keep(self) -> None:
        """Makes sure that a killed process loses no row; see `RowFile`."""
        if self._rows is not None:
            self._rows.keep()

    def close(self) -> None:
        """Closes the files, and leaves the bar as it is."""
        self._progress.close()
        if self._rows is not None:
            self._rows.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._rows is not None:
            self._rows.write(step, values)
