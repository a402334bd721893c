"""What is noted of a checkpoint after it was saved: small files in its folder.

A checkpoint is good once a later step has computed a finite loss and gradient from it. One after
which no step was finite, until the run gave up, is marked as diverged.
"""

from collections.abc import Callable
from pathlib import Path

from vlp_jax.training.checkpoint_files import note_files

GOOD, DIVERGED = "GOOD", "DIVERGED"

_MEANING = {
    GOOD: "A step after this checkpoint was finite.\n",
    DIVERGED: "No step after this checkpoint was finite; the run gave up.\n",
}


class CheckpointMarks:
    """The marks of a run's checkpoints, and the notes of their files.

    Both wait until the checkpoint is completely saved.

    Of several processes all remember the marks, and the first one (`writes`) writes them.
    """

    def __init__(
        self,
        folder_of: Callable[[int], Path],
        is_complete: Callable[[int], bool],
        steps: list[int],
        writes: bool,
    ):
        self._folder_of, self._is_complete = folder_of, is_complete
        self._writes = writes
        self._waiting: dict[int, str] = {}
        self._unnoted: set[int] = set()
        self._marks = {step: mark for step in steps for mark in _MEANING if self._has(step, mark)}

    def of(self, step: int) -> str | None:
        """Returns GOOD, DIVERGED or None, if nothing is known."""
        return self._marks.get(step)

    def newest_good(self, steps: list[int]) -> int | None:
        """Returns the newest of `steps` that is good."""
        return max((step for step in steps if self.of(step) == GOOD), default=None)

    def set(self, step: int, mark: str) -> None:
        """Marks a checkpoint whose saving has been started."""
        self._marks[step] = self._waiting[step] = mark
        self.write()

    def forget(self, step: int) -> None:
        """Drops what is known of a step, whose checkpoint is new or has gone."""
        self._marks.pop(step, None)
        self._waiting.pop(step, None)
        self._unnoted.discard(step)

    def begin(self, step: int) -> None:
        """Expects a new checkpoint, of whose step nothing is known any more."""
        self.forget(step)
        self._unnoted.add(step)

    def write(self) -> None:
        """Writes notes and marks of those checkpoints that are completely saved by now."""
        for step in [step for step in self._unnoted if self._is_complete(step)]:
            if self._writes:
                note_files(self._folder_of(step))
            self._unnoted.discard(step)
        for step, mark in list(self._waiting.items()):
            if self._is_complete(step):
                if self._writes:
                    (self._folder_of(step) / mark).write_text(_MEANING[mark])
                del self._waiting[step]

    def _has(self, step: int, mark: str) -> bool:
        return (self._folder_of(step) / mark).is_file()
