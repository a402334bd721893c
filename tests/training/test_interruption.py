"""Tests of signals: the first asks, the second acts as usual, and all processes agree."""

import signal
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from vlp_jax.training import interruption as module
from vlp_jax.training.interruption import Interruption


@pytest.fixture(autouse=True)
def usual_handlers():
    """What a shell starts in the background ignores Ctrl-C; here it does not."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# `raise_signal` reaches this thread before it returns; `os.kill` may reach another one first.
@pytest.mark.parametrize("number", Interruption.SIGNALS)
def test_a_signal_asks_to_stop(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.requested(1) is None
        signal.raise_signal(number)
        assert interruption.requested(2) == signal.Signals(number).name
        # A second one, in impatience, finds the usual handler.
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_a_second_control_c_interrupts():
    with pytest.raises(KeyboardInterrupt):
        with Interruption():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in Interruption.SIGNALS]
    with pytest.raises(ValueError), Interruption():
        raise ValueError
    assert [signal.getsignal(number) for number in Interruption.SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested(1) is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_other_threads_change_no_handler():
    """Python allows it in the main thread only; a run in another one can't be asked to stop."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Interruption() as interruption:
            seen.extend([signal.getsignal(signal.SIGTERM), interruption.requested(1)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]


class TwoProcesses:
    """Stands in for JAX and the clock in the first of two processes; the other one is slower."""

    def __init__(self, monkeypatch):
        self.now, self.asked, self.other = 0.0, [], False
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(multihost_utils, "process_allgather", self._gather)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _gather(self, mine: np.ndarray) -> np.ndarray:
        self.asked.append(bool(mine[0]))
        return np.stack([mine, np.array([self.other, 2 * mine[1]], np.float32)])

    def steps_at_which_they_agree(self, interruption, steps: range, seconds: float) -> list[int]:
        """Takes steps that last `seconds` in the slower process."""
        agreed = []
        for step in steps:
            self.now += seconds / 2
            before = len(self.asked)
            assert interruption.requested(step) is None
            agreed += [step] * (len(self.asked) - before)
        return agreed


def test_processes_agree_by_the_seconds_of_the_slowest(monkeypatch):
    processes = TwoProcesses(monkeypatch)
    interruption = Interruption(agree_seconds=4)
    agree = lambda *arguments: processes.steps_at_which_they_agree(interruption, *arguments)
    assert agree(range(8, 9), 60.0) == [8]  # the first step compiles
    assert agree(range(9, 30), 0.5) == [9, 17, 25]
    assert agree(range(30, 35), 8.0) == [33, 34]  # as planned before, and then after each step
    assert agree(range(35, 300), 0.001) == [35, 135, 235]


def test_it_is_known_before_when_processes_agree(monkeypatch):
    assert not Interruption().agrees_at(1)
    processes = TwoProcesses(monkeypatch)
    interruption = Interruption(agree_seconds=4)
    for step in range(1, 30):
        processes.now += 0.5
        agrees, before = interruption.agrees_at(step), len(processes.asked)
        interruption.requested(step)
        assert agrees == (len(processes.asked) > before)
    assert 1 < len(processes.asked) < 29


def test_all_processes_stop_for_a_signal_to_one(monkeypatch):
    processes = TwoProcesses(monkeypatch)
    with Interruption() as interruption:
        processes.now = 60.0
        processes.other = True
        assert interruption.requested(1) == "a signal to another process"
        processes.now, processes.other = 120.0, False
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested(2) == "SIGTERM"
    assert processes.asked == [False, True]
