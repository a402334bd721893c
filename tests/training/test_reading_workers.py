"""Runs whose batches worker processes make: the same run, stopped, resumed, and cut short."""

import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest

from tests.training.tiny import differing, tiny
from vlp_jax.data.mixture import Mixture
from vlp_jax.training.loop import DataError, train


@pytest.fixture
def before_step(monkeypatch):
    """Lets a test do something before the batch of a step, counted from 0."""
    iterate = Mixture.iterate

    def install(step: int, do: Callable[[], None]) -> None:
        def changed(mixture, start=0):
            for number, batch in enumerate(iterate(mixture, start), start):
                if number == step:
                    do()
                yield batch

        monkeypatch.setattr(Mixture, "iterate", changed)

    return install


def workers() -> list:
    return [p for p in multiprocessing.active_children() if "grain" in p.name.lower()]


@pytest.mark.slow
def test_a_run_with_workers_that_is_stopped_and_resumed_is_the_run_without(tmp_path, before_step):
    whole = train(tiny("light", training__steps=6), tmp_path / "threads")
    before_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    stopped = train(tiny("light", training__steps=6, data__workers=2), tmp_path / "workers")
    assert stopped.interrupted_by == "SIGTERM" and 0 < stopped.step < 6 and not workers()
    before_step(-1, lambda: None)
    resumed = train(tiny("light", training__steps=6, data__workers=1), tmp_path / "workers")
    assert resumed.step == 6 and differing(whole.state, resumed.state) == []
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("threads", "workers")]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_ends_in_one_sentence(tmp_path, before_step):
    before_step(1, lambda: [os.kill(worker.pid, signal.SIGKILL) for worker in workers()])
    with pytest.raises(DataError, match=r"no further batch: a worker process .*exit code -9"):
        train(tiny("light", training__steps=60, data__workers=2), tmp_path)
    assert not workers()
