"""Shows how a run goes: a bar on a terminal, plain lines elsewhere."""

import sys
from typing import Any


class Progress:
    """Step, loss, examples/s, share of time spent waiting for data, and the time left."""

    def __init__(self, total_steps: int, start_step: int = 0, quiet: bool = False):
        """`quiet` shows nothing, for all processes of a run but the first."""
        self._total = total_steps
        self._quiet = quiet
        terminal = sys.stderr.isatty() and not quiet
        self._bar = _terminal_bar(total_steps, start_step) if terminal else None

    def advance(self, step: int) -> None:
        """Moves the bar to `step`."""
        if self._bar is not None:
            self._bar.update(0, completed=step)

    def report(
        self, step: int, values: dict[str, float], examples_per_second: float, seconds_left: float
    ) -> None:
        """Shows the figures of a log line."""
        text = describe(values, examples_per_second)
        if self._bar is not None:
            self._bar.update(0, completed=step, description=text)
        else:
            self.say(f"step {step}/{self._total}  {text}  {time_text(seconds_left)} left")

    def say(self, message: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False)
        elif not self._quiet:
            print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def describe(values: dict[str, float], examples_per_second: float) -> str:
    """Returns the main figures of a log line as text."""
    losses = [
        f"{k.removesuffix('_loss')} {v:.3f}" for k, v in values.items() if k.endswith("_loss")
    ]
    total = f"loss {values['loss']:.3f}" if "loss" in values else "loss -"
    parts = [total, f"({', '.join(losses)})", f"{examples_per_second:.0f} examples/s"]
    if "data_wait_share" in values:
        parts.append(f"data wait {values['data_wait_share']:.1%}")
    if values.get("non_finite_share"):
        parts.append(f"not finite {values['non_finite_share']:.1%} of steps")
    return "  ".join(parts)


def time_text(seconds: float) -> str:
    """Returns seconds as "1:02:03" or "2:03"."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _terminal_bar(total: int, start: int) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("compiling", total=total, completed=start)
    bar.start()
    return bar
