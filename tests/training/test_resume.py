"""Kills and interrupts a real training process: the run that goes on equals one never disturbed."""

import random
import signal
import subprocess
import time
from pathlib import Path

import jax
import pytest

from tests.training.tiny import CONFIG, command, differing, environment, plain, tiny
from vlp_jax.training.checkpoint import open_store
from vlp_jax.training.experiment import assemble
from vlp_jax.training.row_file import read_rows

pytestmark = pytest.mark.slow

STEPS = 40
OPTIONS = {"steps": STEPS, "log_every": 1, "checkpoint_every": 4}
DEADLINE = 600  # seconds, for a machine that has much else to do


def start(workdir: Path) -> subprocess.Popen:
    overrides = [f"--config.training.{name}={value}" for name, value in OPTIONS.items()]
    return subprocess.Popen(
        command("train", "--config", CONFIG, "--workdir", workdir, *overrides),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def signal_at_step(workdir: Path, step: int, number: int) -> tuple[int, str]:
    """Starts the run, sends a signal once `step` is in metrics.jsonl; returns status and stderr."""
    process = start(workdir)
    deadline = time.monotonic() + DEADLINE
    try:
        while last_step(workdir) < step:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    return process.returncode, errors


def last_step(workdir: Path) -> int:
    rows = read_rows(workdir / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def finish(workdir: Path) -> None:
    process = start(workdir)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors


def checkpoints(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def test_killed_and_interrupted_equals_undisturbed(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(whole)

    kill_at, stop_at = random.randint(10, 16), random.randint(20, 28)
    print(f"kill -9 at step {kill_at}, SIGTERM at step {stop_at}")
    status, errors = signal_at_step(broken, kill_at, signal.SIGKILL)
    assert status == -signal.SIGKILL, errors
    saved = checkpoints(broken)
    assert saved and max(saved) <= last_step(broken) < STEPS

    status, errors = signal_at_step(broken, stop_at, signal.SIGTERM)
    assert status == 75, errors
    assert "SIGTERM: saved step" in errors
    stopped = max(checkpoints(broken))
    assert stop_at <= stopped == last_step(broken) < STEPS
    finish(broken)

    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert last_step(whole) == STEPS
    rows = read_rows(broken / "accounts.jsonl")
    starts = [row["at"] - sum(row["seconds"].values()) for row in rows]
    assert starts == pytest.approx([starts[0]] * len(rows), abs=0.01)
    assert rows[-1]["seconds"]["stopped"] > 0 and rows[-1]["seconds"]["step"] > 0
    experiment = assemble(tiny(**{f"training__{name}": value for name, value in OPTIONS.items()}))
    target = experiment.states.abstract
    states = []
    for workdir in (whole, broken):
        with open_store(workdir) as store:
            assert store.latest_step == STEPS
            states.append(store.restore(target))
    names = plain(states[0])
    assert differing(*states) == []
    for part in (".params", ".opt_state", ".teacher", ".tasks", ".meters", ".key", ".step"):
        assert any(name.startswith(part) for name in names)
    assert int(states[0].tasks["itc"].pointer) == 8 * STEPS % 16
    assert len(jax.tree.leaves(states[0])) == len(names)
