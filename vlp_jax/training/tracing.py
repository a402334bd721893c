"""Profiler traces of a few steps."""

from pathlib import Path

import jax


class Traces:
    """Records the steps from `steps[0]` (counted from 0) to before `steps[1]` in a folder."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path):
        self._steps = steps or ()
        self._folder = folder
        self._on = False

    def turns_at(self, step: int) -> bool:
        """Says whether recording begins or ends before this step; then none may be in flight."""
        return step in self._steps

    def turn(self, step: int) -> None:
        """Begins or ends to record if it is time; who starts amid the steps records none."""
        if step in self._steps[:1]:
            jax.profiler.start_trace(self._folder)
            self._on = True
        elif step in self._steps:
            self.close()

    def close(self) -> None:
        """Writes what has been recorded, if anything is."""
        if self._on:
            jax.profiler.stop_trace()
        self._on = False
