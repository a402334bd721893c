"""Profiler traces of a few steps."""

from pathlib import Path

import jax

from vlp_jax.data.spool import Spool


class Traces:
    """Records the steps from `steps[0]` (counted from 0) to before `steps[1]` in a folder."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path):
        self._steps = steps or ()
        self._folder = folder
        self._spool: Spool | None = None

    def turns_at(self, step: int) -> bool:
        """Says whether recording begins or ends before this step; then none may be in flight."""
        return step in self._steps

    def turn(self, step: int) -> None:
        """Begins or ends to record if it is time; who starts amid the steps records none."""
        if step in self._steps[:1]:
            self._spool = Spool(self._folder)
            jax.profiler.start_trace(self._spool.local)
        elif step in self._steps:
            self.close()

    def close(self) -> None:
        """Writes what has been recorded, if anything is."""
        if self._spool is not None:
            jax.profiler.stop_trace()
            self._spool.close()
        self._spool = None
