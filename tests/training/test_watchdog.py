"""A step that hangs ends the process, with its stacks; nothing else does."""

import subprocess
import sys
import threading
import time

import pytest

from tests.training.tiny import CONFIG, ROOT, environment
from vlp_jax.training.watchdog import HANG, Watchdog

DEADLINE = 600  # seconds, for a machine that has much else to do


@pytest.fixture
def ended(monkeypatch) -> list[int]:
    """The steps for which the watchdog would have ended this process."""
    steps: list[int] = []
    monkeypatch.setattr(Watchdog, "_end", lambda self, step: steps.append(step))
    return steps


def test_what_does_not_end_is_named(ended):
    deadline = time.monotonic() + DEADLINE
    with Watchdog(0.05) as watchdog, watchdog.watching(7):
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
    assert ended == [7]


def test_what_is_not_watched_may_take_long(ended):
    with Watchdog(0.02) as watchdog:
        with watchdog.watching(1):
            pass
        time.sleep(0.3)
    assert ended == []


def test_one_that_is_off_has_no_thread(ended):
    before = threading.active_count()
    with Watchdog(None) as watchdog, watchdog.watching(1):
        assert threading.active_count() == before


def test_slow_steps_are_allowed_twenty_times_the_usual():
    watchdog = Watchdog(0.01)
    assert watchdog._bound() == 0.01
    for _ in range(5):
        with watchdog.watching(1):
            time.sleep(0.01)
    assert watchdog._bound() >= 0.2


SLOW_STEP = """
import sys, time
import jax
from vlp_jax.cli.main import main
from vlp_jax.training.run_steps import RunSteps

def hang_on_purpose():
    time.sleep(1000)

give = RunSteps.give
def slow(self, step, state, batch):
    if step == 3:
        hang_on_purpose()
    return give(self, step, state, batch)
RunSteps.give = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_that_hangs_ends_with_its_status_and_its_stacks(tmp_path):
    """Compiling, the checkpoint of step 3 and starting take longer than the half second."""
    settings = {"hang_seconds": 0.5, "checkpoint_every": 3, "log_every": 1}
    overrides = [f"--config.training.{name}={value}" for name, value in settings.items()]
    run = ["train", "--config", f"{CONFIG}:light", "--workdir", str(tmp_path), *overrides]
    ended = subprocess.run(
        [sys.executable, "-c", SLOW_STEP, *run],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ended.returncode == HANG, ended.stderr
    assert "vlp-jax train: step 4 hangs: it, or getting its batch, has not" in ended.stderr
    assert "in hang_on_purpose" in ended.stderr and "Thread 0x" in ended.stderr
    assert "step 3/6" in ended.stderr
