"""A run ahead of its devices is the run that waits for each step, to the last bit."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from jax import monitoring

from tests.training.tiny import differing, tiny
from vlp_jax.data.mixture import Mixture
from vlp_jax.training import loop
from vlp_jax.training.checkpoint import CheckpointStore, open_store
from vlp_jax.training.loop import DataError, train
from vlp_jax.training.run_steps import RunSteps

STEPS = dict(training__steps=9, optimizer__schedule="constant", optimizer__warmup_steps=0)


@pytest.fixture
def batch_of_step(monkeypatch):
    """Lets a test change batches by step, counted from 0, whenever a run begins."""
    iterate = Mixture.iterate

    def install(changes: dict) -> None:
        def changed(mixture, start=0):
            for step, batch in enumerate(iterate(mixture, start), start):
                yield changes.get(step, lambda b: b)(batch)

        monkeypatch.setattr(Mixture, "iterate", changed)

    return install


def poison(batch: dict) -> dict:
    return batch | {"answer_scores": np.full_like(batch["answer_scores"], np.nan)}


def interrupt(batch: dict) -> dict:
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


def what_is_left(workdir: Path) -> tuple:
    with open_store(workdir) as store:
        marks = {step: store.marks.of(step) for step in store.steps}
    return marks, (workdir / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_lag_leaves_what_waiting_leaves(tmp_path, batch_of_step, monkeypatch):
    """Through bad steps, an owed checkpoint, the figures of the best one, and a stop at step 7."""
    changes = {1: poison, 2: poison, 6: interrupt}
    batch_of_step(changes)
    saved, save = [], CheckpointStore.save
    spy = lambda self, step, *more: (saved[-1].append(step), save(self, step, *more))
    monkeypatch.setattr(CheckpointStore, "save", spy)
    settings = dict(training__evaluate_every=4, evaluation__best="vqa_accuracy")
    left, states = [], []
    for lag in (0, 1):
        monkeypatch.setattr(loop, "LAG", lag)
        saved.append([])
        changes[6] = interrupt
        figures = iter([0.75, 0.5])
        evaluate = lambda experiment, params: {"vqa_accuracy": next(figures)}
        config = tiny("light", **STEPS | settings)
        workdir = tmp_path / str(lag)
        assert train(config, workdir, evaluate).step == 7
        del changes[6]
        states.append(train(config, workdir, evaluate).state)
        left.append(what_is_left(workdir))
    assert saved[0] == saved[1] == [4, 6, 7, 8, 9, 9]
    assert left[0] == left[1] and differing(*states) == []


@pytest.mark.slow
def test_with_two_steps_between_lines_the_devices_are_never_without_one(tmp_path, monkeypatch):
    """A step is given before the one before it has been waited for, but where all have to end."""
    order, give, landed = [], RunSteps.give, loop.InFlight.landed
    note = lambda what, result: (order.append(what), result)[1]
    monkeypatch.setattr(RunSteps, "give", lambda s, n, *a: note(("give", n + 1), give(s, n, *a)))
    waits = lambda s, lag: (note(("wait", f.step), f) for f in landed(s, lag))
    monkeypatch.setattr(loop.InFlight, "landed", waits)
    train(tiny("light", training__steps=5, training__checkpoint_every=3), tmp_path)
    steps = ["give 1", "give 2", "wait 1", "give 3", "wait 2", "wait 3"]
    steps += ["give 4", "give 5", "wait 4", "wait 5"]
    assert [f"{what} {step}" for what, step in order] == steps


@pytest.mark.slow
def test_nothing_is_compiled_after_the_second_step(tmp_path, monkeypatch):
    names, compiled, give = [], [], RunSteps.give

    def listen(event: str, seconds: float, **named) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(named.get("fun_name"))

    def counted(steps, step, *arguments):
        compiled.append(list(names))
        names.clear()
        return give(steps, step, *arguments)

    monkeypatch.setattr(RunSteps, "give", counted)
    monitoring.register_event_duration_secs_listener(listen)
    try:
        train(tiny("light", **STEPS | dict(training__log_every=4)), tmp_path)
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert compiled[0] and compiled[2:] == [[]] * 7


@pytest.mark.slow
def test_a_batch_of_another_shape_is_named(tmp_path, batch_of_step):
    batch_of_step({2: lambda batch: batch | {"answer_scores": batch["answer_scores"][:, :2]}})
    message = r"batch of step 3 from source emoji_scenes is none .*: answer_scores is float32\[8, 2"
    with pytest.raises(ValueError, match=message):
        train(tiny("light", **STEPS), tmp_path)


@pytest.mark.slow
def test_steps_are_recorded_for_the_profiler(tmp_path):
    train(tiny("light", training__steps=4, training__profile=(1, 3)), tmp_path)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.slow
def test_data_that_end_during_the_run_are_told_from_mistakes(tmp_path, batch_of_step):
    def gone(batch: dict) -> dict:
        raise OSError(5, "Input/output error", "shard-7")

    batch_of_step({4: gone})
    with pytest.raises(DataError, match="give no further batch: .*error: 'shard-7'"):
        train(tiny("light", **STEPS), tmp_path)
    with open_store(tmp_path) as store:
        assert store.latest_step == 3


@pytest.mark.parametrize("steps", [(3, 3), (5, 2)])
def test_steps_to_record_have_an_order(steps):
    with pytest.raises(ValueError, match="config.training.profile = .*: expected the first step"):
        tiny("light", training__profile=steps)
