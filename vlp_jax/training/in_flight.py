"""Steps that the devices have been given and that nobody has waited for yet."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax

from vlp_jax.training.clock import Clock


@dataclass(frozen=True)
class Flight:
    """One step on its way.

    Attributes:
      step: how many steps are done after it. metrics: its own, on the devices.
      kept: what is wanted of the state after it, which the next step overwrites, or None.
      given: when the devices got it. ended: when they were done with it.
    """

    step: int
    metrics: Mapping[str, jax.Array]
    kept: Any
    given: float
    ended: Future[float]


class InFlight:
    """Steps in order; a thread waits for each, so that it is known when it ended.

    The clock gets the time in which the devices were at work as "step".
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self._waiting = ThreadPoolExecutor(1, "steps")
        self._flights: deque[Flight] = deque()
        self._free = time.perf_counter()  # since when the devices have had nothing to do

    def add(self, step: int, metrics: Mapping[str, jax.Array], kept: Any, given: float) -> None:
        """Takes a step that the devices were given at `given` (`time.perf_counter()`)."""
        ended = self._waiting.submit(_end_of, metrics)
        self._flights.append(Flight(step, metrics, kept, given, ended))

    def landed(self, lag: int) -> Iterator[Flight]:
        """Waits until at most `lag` steps are left, and yields the others; errors are theirs."""
        while len(self._flights) > lag:
            flight = self._flights.popleft()
            ended = flight.ended.result()
            self._clock.add("step", ended - max(flight.given, self._free))
            self._free = ended
            yield flight

    def idle_seconds(self, since: float) -> float:
        """Returns for how long since then the devices have had nothing to do."""
        last = self._flights[-1].ended if self._flights else None
        if last and not last.done():
            return 0.0
        return time.perf_counter() - max(since, last.result() if last else self._free)

    def close(self) -> None:
        """Lets go of the thread, whatever becomes of steps that are left."""
        self._waiting.shutdown(wait=False, cancel_futures=True)


def _end_of(metrics: Mapping[str, jax.Array]) -> float:
    jax.block_until_ready(metrics)
    return time.perf_counter()
