"""Tests of the seconds a run counts."""

import pytest

from vlp_jax.training import clock as module
from vlp_jax.training.clock import Clock


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time that `perf_counter` gives; set its only entry."""
    value = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: value[0])
    return value


def test_seconds_add_up_by_name(now):
    clock = Clock()
    for name, seconds in (("data", 1.0), ("step", 3.0), ("data", 0.5)):
        with clock.measure(name):
            now[0] += seconds
    now[0] += 10.0
    assert (clock.seconds("data"), clock.seconds("step"), clock.seconds("other")) == (1.5, 3.0, 0.0)
    assert clock.total() == 14.5


def test_parts_add_up_to_the_total(now):
    clock = Clock()
    clock.add("step", 2.0)
    now[0] += 5.0
    assert clock.parts() == {"step": 2.0, "other": 3.0}


def test_time_counts_when_the_work_fails(now):
    clock = Clock()
    with pytest.raises(KeyError), clock.measure("step"):
        now[0] += 2.0
        raise KeyError
    assert clock.seconds("step") == 2.0
