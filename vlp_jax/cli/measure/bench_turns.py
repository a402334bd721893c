"""Times programs by turns, so that what else a machine does meets them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SHORTEST_TURN = 0.25  # seconds; shorter programs are called several times in a turn
_MOST_CALLS = 50
# Threads of one library still spin for a while after its work, and would slow the other's down.
_REST = 0.25


@dataclass(frozen=True)
class Program:
    """Something to be timed.

    Attributes:
      call: starts the work, and returns something that stands for its result.
      wait: returns when that result is there.
    """

    call: Callable[[], Any]
    wait: Callable[[Any], Any]

    def seconds(self, calls: int) -> float:
        """Returns the mean duration of `calls` calls, one behind the other."""
        start = time.perf_counter()
        for _ in range(calls):
            result = self.call()
        self.wait(result)
        return (time.perf_counter() - start) / calls


@dataclass(frozen=True)
class Measured:
    """A program, and what is known of it before it is timed.

    Attributes:
      flops: that have to be computed. recomputed: those beside them.
      memory_bytes: that it takes of a device; None where nobody counts them.
      parameters: of the model, where it is one.
    """

    program: Program
    flops: float
    memory_bytes: int | None = None
    parameters: int = 0
    recomputed: float = 0.0
    compile_seconds: float | None = None


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and the quarters of them below and above it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Returns the spread of one number or more."""
        low, median, high = np.percentile(values, (25, 50, 75))
        return cls(float(median), float(low), float(high))


def by_turns(programs: Mapping[str, Program], turns: int) -> dict[str, list[float]]:
    """Returns the seconds a call of each program in each turn: first, second, first, second …

    Programs are called once or twice before, which is not counted.
    """
    calls = {}
    for name, program in programs.items():
        program.seconds(1)
        enough = int(_SHORTEST_TURN / max(program.seconds(1), 1e-6)) + 1
        calls[name] = min(enough, _MOST_CALLS)
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(turns):
        for name, program in programs.items():
            time.sleep(_REST if len(programs) > 1 else 0.0)
            seconds[name].append(program.seconds(calls[name]))
    return seconds
