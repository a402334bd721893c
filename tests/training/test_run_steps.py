"""Tests of how fast a run's steps were."""

from collections import Counter
from types import SimpleNamespace

import jax
import pytest

from vlp_jax.training import run_steps as module
from vlp_jax.training.clock import Clock
from vlp_jax.training.flops import Flops
from vlp_jax.training.run_steps import RunSteps


@pytest.fixture
def steps(monkeypatch) -> RunSteps:
    """Three steps of one group and one of another, on four chips."""
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    flops = {("mlm",): Flops(1e9, 2e9, 5e9), ("itm",): Flops(4e9, 7e9, 0.0)}
    monkeypatch.setattr(module, "step_flops", lambda made, group, batch: flops[group])
    steps = RunSteps.__new__(RunSteps)
    steps._experiment = SimpleNamespace(
        batch_size=lambda source: 16, abstract_batch=lambda source: {}
    )
    steps.given = Counter({("a", ("mlm",)): 2, ("b", ("mlm",)): 1, ("a", ("itm",)): 1})
    return steps


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    for name, seconds in (("step", 1.5), ("data", 0.5), ("compile", 90.0)):
        clock.add(name, seconds)
    return clock


def test_examples_are_counted_by_chip_and_second_of_stepping(steps, clock, monkeypatch):
    monkeypatch.setattr(module, "peak_flops", lambda device: None)
    assert steps.speed(clock) == {"examples_per_second_per_chip": 4 * 16 / 2.0 / 4}


def test_the_mfu_counts_nothing_that_is_computed_again(steps, clock, monkeypatch):
    monkeypatch.setattr(module, "peak_flops", lambda device: 10e9)
    assert steps.speed(clock)["mfu"] == pytest.approx((3 * 3e9 + 11e9) / 2.0 / 4 / 10e9)
