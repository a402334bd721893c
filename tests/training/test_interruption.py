"""Tests of signals: the first asks, the second acts as usual, and all processes agree."""

import os
import signal
import threading

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from vlp_jax.training.interruption import Interruption


@pytest.mark.parametrize("number", Interruption.SIGNALS)
def test_a_signal_asks_to_stop(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.requested(1) is None
        os.kill(os.getpid(), number)
        assert interruption.requested(2) == signal.Signals(number).name
        # A second one, in impatience, finds the usual handler.
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_a_second_control_c_interrupts():
    with pytest.raises(KeyboardInterrupt):
        with Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in Interruption.SIGNALS]
    with pytest.raises(ValueError), Interruption():
        raise ValueError
    assert [signal.getsignal(number) for number in Interruption.SIGNALS] == before


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


def test_processes_agree_every_so_many_steps(monkeypatch):
    asked = []

    def gather(value):
        asked.append(bool(value))
        return np.array([value, True])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    with Interruption(agree_every=4) as interruption:
        assert [interruption.requested(step) for step in (1, 2, 3)] == [None] * 3
        assert asked == []
        assert interruption.requested(4) == "a signal to another process"
    assert asked == [False]
