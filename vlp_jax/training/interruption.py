"""Turns SIGTERM and Ctrl-C into a request to stop after the current step."""

import time
from types import FrameType

import jax
import numpy as np

from vlp_jax.training.signals import CaughtSignals

_MOST_STEPS = 100  # so that steps which become slow are noticed


class Interruption(CaughtSignals):
    """A context in which a signal sets a flag; a second one acts as usual.

    With several processes all of them agree, so that none waits for the others in a collective.
    They do so every `agree_seconds` or after a step that takes longer, counted in steps, which are
    the same for all: each says how long its steps have taken, and the slowest one counts.
    """

    def __init__(self, agree_seconds: float = 5.0):
        super().__init__()
        self._agree_seconds = agree_seconds
        self._steps, self._next, self._since = 1, 0, time.monotonic()

    def agrees_at(self, step: int) -> bool:
        """Says whether processes ask each other after this step; none may be in flight then."""
        return jax.process_count() > 1 and step >= self._next

    def requested(self, step: int) -> str | None:
        """Returns the name of the signal to stop for at this step, or None."""
        if jax.process_count() == 1:
            return self.received
        return self._agreed(step) if self.agrees_at(step) else None

    def _agreed(self, step: int) -> str | None:
        from jax.experimental import multihost_utils

        step_seconds = (time.monotonic() - self._since) / self._steps
        mine = np.array([self.received is not None, step_seconds], np.float32)
        anyone, slowest = multihost_utils.process_allgather(mine).max(axis=0)
        self._steps = int(np.clip(self._agree_seconds / slowest, 1, _MOST_STEPS))
        self._next, self._since = step + self._steps, time.monotonic()
        return (self.received or "a signal to another process") if anyone else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        super()._receive(number, frame)
        self._put_back()
