"""When a run's state is saved, what shows that it was good, and when the run gives up."""

from collections.abc import Mapping

import jax
import numpy as np

from vlp_jax.training.checkpoint import CheckpointStore
from vlp_jax.training.checkpoint_marks import GOOD
from vlp_jax.training.state import TrainState


class NonFiniteError(RuntimeError):
    """The loss, the gradient or the update was not finite for too many steps in a row."""


class Saving:
    """Saves states that are good, and marks a checkpoint once a step after it was finite.

    Attributes:
      owed: whether a checkpoint was due while steps were bad; the next good state is saved.
    """

    def __init__(self, store: CheckpointStore, about: dict, patience: int):
        self.store = store
        self.owed = False
        self._about = about
        self._patience = patience
        latest = store.latest_step
        is_good = latest is None or store.marks.of(latest) == GOOD
        self._unproven = None if is_good else latest

    def prove(self, metrics: Mapping[str, jax.Array]) -> None:
        """Marks the last checkpoint as good if the step that came after it was finite.

        Its loss and gradient count: an update that is not finite is not the checkpoint's fault.
        """
        if self._unproven is None:
            return
        found = jax.device_get((metrics["loss"], metrics["gradient_norm"]))
        if np.isfinite(found).all():
            self.store.mark_good(self._unproven)
            self._unproven = None

    def save(self, step: int, state: TrainState, figures: Mapping[str, float]) -> bool:
        """Starts to save the state after `step`; one after a bad step is not saved, but owed."""
        self.owed = int(state.bad_steps) > 0
        if self.owed:
            return False
        if step not in self.store.steps:
            self._unproven = step
        finite = {k: float(v) for k, v in figures.items() if np.isfinite(v)}
        self.store.save(step, state, self._about, finite)
        return True

    def check_finite(self, step: int, bad: int) -> None:
        """Raises NonFiniteError if that many bad steps in a row, up to `step`, are too many."""
        if bad >= self._patience:
            self.store.wait()
            self.store.mark_diverged()
            raise NonFiniteError(self._not_finite(bad, step))

    def last(self, step: int, state: TrainState, stop: str | None) -> list[str]:
        """Saves the state with which a run ends, or stops for a signal; returns what to say.

        Raises NonFiniteError if the run is at its end and has nothing that is good.
        """
        bad = int(state.bad_steps)
        if not stop:
            self.check_finite(step, bad)
        if self.save(step, state, {}):
            goes_on = f"{stop}: saved step {step}; the same command goes on from there"
            return [goes_on] if stop else []
        if stop:
            return [
                f"{stop}: stopped at step {step}, which was not finite and is not saved. The same "
                f"command {self._goes_on()}"
            ]
        if self.store.latest_step is None:
            raise NonFiniteError(self._not_finite(bad, step))
        return [
            f"the last {bad} steps were not finite and are not saved: the newest checkpoint is of "
            f"step {self.store.latest_step}"
        ]

    def _not_finite(self, bad: int, step: int) -> str:
        return (
            f"loss, gradient or update was not finite in {bad} steps in a row up to step {step}; "
            "these steps changed nothing. Lower config.optimizer.learning_rate, set "
            f"config.optimizer.clip_norm, or look at the data. The same command {self._goes_on()}"
        )

    def _goes_on(self) -> str:
        """Says from where a run goes on, and whether that checkpoint is known to be good."""
        latest = self.store.latest_step
        if latest is None:
            return "starts anew: no checkpoint was saved yet"
        if self.store.marks.of(latest) == GOOD:
            return f"goes on from the checkpoint of step {latest}, which is good"
        return (
            f"goes on from the checkpoint of step {latest}, of which no later step has shown that "
            f'it is good; remove "{self.store.directory}" to start anew'
        )
