"""Tests of the steps in flight: their order, and the time in which devices worked or waited."""

import threading
import time as real_time
from types import SimpleNamespace

import pytest

from vlp_jax.training import in_flight as module
from vlp_jax.training.clock import Clock
from vlp_jax.training.in_flight import InFlight


class Devices:
    """Stands in for JAX and the clock: steps end when the test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module, "jax", SimpleNamespace(block_until_ready=self._wait))
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.clock = Clock()
        self.flights = InFlight(self.clock)
        self._noted = []

    def give(self, step: int, at: float, fails: bool = False) -> threading.Event:
        self.now, end = at, threading.Event()
        self.flights.add(step, {"end": end, "fails": fails}, None, at)
        self._noted.append(self.flights._flights[-1].ended)
        return end

    def end(self, step: threading.Event, at: float) -> None:
        """Ends the oldest step, and waits until that is noted."""
        self.now = at
        step.set()
        deadline = real_time.monotonic() + 60
        while not self._noted[0].done() and real_time.monotonic() < deadline:
            real_time.sleep(0.001)
        self._noted.pop(0)

    def _wait(self, metrics: dict) -> None:
        assert metrics["end"].wait(60)
        if metrics["fails"]:
            raise FloatingPointError("the step")


@pytest.fixture
def devices(monkeypatch):
    devices = Devices(monkeypatch)
    yield devices
    devices.flights.close()


def landed(devices: Devices, lag: int) -> list[int]:
    return [flight.step for flight in devices.flights.landed(lag)]


def test_steps_land_in_order_and_as_many_as_allowed_stay(devices):
    ends = [devices.give(step, 0.0) for step in (1, 2, 3)]
    for end in ends[:2]:
        devices.end(end, 1.0)
    assert landed(devices, 1) == [1, 2]
    devices.end(ends[2], 2.0)
    assert landed(devices, 1) == [] and landed(devices, 0) == [3]


def test_a_step_counts_from_when_the_devices_were_free(devices):
    first, second = devices.give(1, 1.0), devices.give(2, 2.0)
    devices.end(first, 5.0)
    devices.end(second, 8.0)
    third = devices.give(3, 10.0)
    devices.end(third, 14.0)
    assert landed(devices, 0) == [1, 2, 3]
    assert devices.clock.seconds("step") == (5.0 - 1.0) + (8.0 - 5.0) + (14.0 - 10.0)


def test_devices_are_idle_only_when_no_step_is_left(devices):
    devices.now = 2.0
    assert devices.flights.idle_seconds(1.5) == 0.5
    end = devices.give(1, 2.0)
    assert devices.flights.idle_seconds(2.0) == 0.0
    devices.end(end, 6.0)
    devices.now = 9.0
    assert devices.flights.idle_seconds(4.0) == 3.0  # of five in which the host waited
    assert devices.flights.idle_seconds(8.0) == 1.0


def test_a_step_that_fails_fails_where_it_lands(devices):
    end = devices.give(1, 0.0, fails=True)
    devices.end(end, 1.0)
    with pytest.raises(FloatingPointError, match="the step"):
        landed(devices, 0)
