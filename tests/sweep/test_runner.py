"""Tests of running: what is skipped, what goes on, what a failure and a signal do."""

import os
import signal
import sys
import threading
import time

import pytest

from tests.sweep.runs import finish, plan_in
from vlp_jax.sweep import State, Stopped, execute, progress, runner
from vlp_jax.sweep.states import LOG

DONE = "open(f'{workdir}/summary.json', 'w').write('{\"i2t_r1\": 0.5}')"


@pytest.fixture
def trainings(monkeypatch):
    """Replaces the training of a run by Python code; returns the code by run name."""
    code: dict[str, str] = {}

    def command(run):
        return [sys.executable, "-c", f"workdir = {str(run.workdir)!r}\n{code.get(run.name, DONE)}"]

    monkeypatch.setattr(runner, "command", command)
    return code


def states(plan) -> list[State]:
    return [progress(run).state for run in plan.runs]


def test_a_failure_is_noted_and_the_others_go_on(tmp_path, trainings):
    plan = plan_in(tmp_path)
    trainings["a, seed 1"] = "print('step 1'); raise SystemExit('no such fusion')"
    trainings["a training.steps=8, seed 0"] = "import os; os.kill(os.getpid(), 9)"
    trainings["a training.steps=8, seed 1"] = "pass"
    said = []
    found = execute(plan.runs, said.append)
    assert [p.state for p in found] == [State.DONE, State.FAILED, State.FAILED, State.FAILED]
    assert [p.failure for p in found[1:]] == [
        "ended with status 1: step 1 no such fusion",
        "ended with signal 9: it printed nothing",
        "ended with status 0: it printed nothing",
    ]
    assert said[0].startswith("[1/4] a, seed 0: starts, log in ")
    assert said[3] == "[2/4] a, seed 1: failed: ended with status 1: step 1 no such fusion"


def test_what_is_done_is_skipped_and_the_rest_goes_on(tmp_path, trainings):
    plan = plan_in(tmp_path, variants=[()])
    finish(plan.runs[0], i2t_r1=0.25)
    trainings["a, seed 0"] = "raise SystemExit('was run again')"
    trainings["a, seed 1"] = "print('first'); raise SystemExit(1)"
    execute(plan.runs, lambda line: None)
    trainings["a, seed 1"] = "print('second')\n" + DONE
    said = []
    found = execute(plan.runs, said.append)
    assert [p.figures for p in found] == [{"i2t_r1": 0.25}, {"i2t_r1": 0.5}]
    assert said[0] == "[1/2] a, seed 0: done already"
    assert said[1].startswith("[2/2] a, seed 1: goes on")
    assert (plan.runs[1].workdir / LOG).read_text() == "first\nsecond\n"  # one log for all attempts


def test_all_folders_are_checked_before_the_first_run(tmp_path, trainings):
    plan = plan_in(tmp_path, variants=[()])
    plan.runs[1].workdir.mkdir(parents=True)
    (plan.runs[1].workdir / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="not started by a sweep"):
        execute(plan.runs, lambda line: None)
    assert not plan.runs[0].workdir.exists()


# A second SIGTERM ends a training without a checkpoint, which a closed terminal should not do.
@pytest.mark.parametrize("numbers", [["SIGTERM"], ["SIGINT"], ["SIGHUP", "SIGHUP"]])
def test_a_signal_reaches_the_training_and_stops_the_sweep(tmp_path, trainings, numbers):
    plan = plan_in(tmp_path, variants=[()])
    workdir = plan.runs[0].workdir
    trainings["a, seed 0"] = (
        "import os, signal, sys, time\n"
        "def stop(*_):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "    open(f'{workdir}/asked', 'w').close()\n"
        "    while not os.path.exists(f'{workdir}/go'): time.sleep(0.01)\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open(f'{workdir}/ready', 'w').close()\n"
        "time.sleep(60)"
    )

    def interrupt():
        for number, after in zip(numbers, ("ready", "asked")):
            while not (workdir / after).exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.Signals[number])
        time.sleep(0.2)
        (workdir / "go").touch()

    number = signal.Signals[numbers[0]]
    before = signal.signal(number, signal.SIG_DFL)  # it may have been ignored from the start
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(Stopped, match=f"{number.name}: stopped a, seed 0"):
            execute(plan.runs, lambda line: None)
    finally:
        signal.signal(number, before)
    assert (workdir / LOG).read_text() == "saved\n"
    assert states(plan) == [State.UNFINISHED, State.WAITING]


def test_the_command_is_that_of_vlp_jax(tmp_path):
    run = plan_in(tmp_path).runs[3]
    assert runner.command(run) == [
        sys.executable, "-m", "vlp_jax", "train",
        "--config", str(tmp_path / "a.py"), "--workdir", str(run.workdir), "--report",
        "--config.training.steps=8", "--config.seed=1",
    ]  # fmt: skip
