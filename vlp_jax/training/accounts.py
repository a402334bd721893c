"""What the time of a run went on, over all its starts, and how much of it trained."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from vlp_jax.training.clock import Clock
from vlp_jax.training.progress import time_text
from vlp_jax.training.row_file import RowFile, read_rows

ACCOUNTS = "accounts.jsonl"

# The parts of a run's time, and what a reader calls them.
PARTS = {
    "step": "steps",
    "data": "waiting for data",
    "init": "starting",
    "compile": "compiling",
    "checkpoint": "saving",
    "evaluate": "evaluating",
    "lost": "lost after a checkpoint",
    "stopped": "not running",
    "other": "other",
}

Seconds = dict[str, float]


class Accounts:
    """Seconds by part since a run's first start; they add up to the time since then.

    Each row of `<workdir>/accounts.jsonl` holds them at one moment. A start goes on from the row of
    the checkpoint's step; the time from there to the last row is lost, and from that to now the run
    was stopped. Of several processes the first keeps them; the others know of this start only.
    """

    def __init__(self, clock: Clock, workdir: Path, step: int):
        self._clock = clock
        self._began = time.time() - clock.total()
        self._before: Seconds = {}
        self._rows = None
        if jax.process_index() == 0:
            self._before = carried_over(read_rows(workdir / ACCOUNTS), step, self._began)
            self._rows = RowFile(workdir / ACCOUNTS, step)
        self.write(step)

    def seconds(self) -> Seconds:
        """Returns the seconds of each part, up to now."""
        now = self._clock.parts()
        return {part: self._before.get(part, 0.0) + now.get(part, 0.0) for part in PARTS}

    def figures(self) -> dict[str, float]:
        """Returns `<part>_seconds`, their sum, the part of it in steps that count, and waiting."""
        seconds = self.seconds()
        total = sum(seconds.values())
        return {f"{part}_seconds": value for part, value in seconds.items()} | {
            "run_seconds": total,
            "goodput": seconds["step"] / total,
            "data_wait_share": wait_share(seconds),
        }

    def write(self, step: int) -> None:
        """Notes where the time has gone until now, with `step` steps done."""
        if self._rows is not None:
            at = self._began + self._clock.total()
            self._rows.write({"step": step, "at": at, "seconds": self.seconds()})

    def keep(self) -> None:
        """Makes sure that a killed process loses nothing of what was noted; see `RowFile`."""
        if self._rows is not None:
            self._rows.keep()

    def close(self) -> None:
        """Closes the file."""
        if self._rows is not None:
            self._rows.close()


def carried_over(rows: Sequence[Mapping], step: int, now: float) -> Seconds:
    """Returns the seconds with which a start at `now` goes on from `step`, see `Accounts`."""
    kept = [row for row in rows if row["step"] <= step]
    if not kept:
        return {}
    seconds = dict(kept[-1]["seconds"])
    for part, since, until in (
        ("lost", kept[-1]["at"], rows[-1]["at"]),
        ("stopped", rows[-1]["at"], now),
    ):
        seconds[part] = seconds.get(part, 0.0) + max(until - since, 0.0)
    return seconds


def wait_share(seconds: Mapping[str, float]) -> float:
    """Returns the part of stepping time, waits included, in which devices waited for data."""
    waited = seconds.get("data", 0.0)
    stepping = waited + seconds.get("step", 0.0)
    return waited / stepping if stepping else 0.0


def spent(figures: Mapping[str, float]) -> Seconds:
    """Returns the seconds of the parts that took any, by what a reader calls them."""
    named = {name: figures[f"{part}_seconds"] for part, name in PARTS.items()}
    least = 0.0005 * figures["run_seconds"]
    return {name: seconds for name, seconds in named.items() if seconds >= least}


def in_words(figures: Mapping[str, float]) -> str:
    """Returns where the time of a run went, and how fast its steps were, as one line."""
    total = figures["run_seconds"]
    parts = [f"{name} {seconds / total:.1%}" for name, seconds in spent(figures).items()]
    speed = [
        text.format(figures[name])
        for name, text in (
            ("examples_per_second_per_chip", "{:.0f} examples/s a chip"),
            ("mfu", "MFU {:.1%}"),
        )
        if name in figures
    ]
    where = f"{time_text(total)} since the first start: {', '.join(parts)}"
    return "; ".join([where, *speed])
