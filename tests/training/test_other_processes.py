"""A run of two processes is killed, and goes on with another number of processes and devices."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import CONFIG, plain, start_processes
from vlp_jax.training.row_file import read_rows

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

STEPS = 24
# Rounding differs between meshes. Adam divides by the size of a gradient and would make steps of
# full length out of gradients that are nothing else; with this epsilon they stay small.
SETTINGS = dict(
    optimizer__epsilon=1e-3,
    training__steps=STEPS,
    training__log_every=1,
    training__checkpoint_every=2,
    training__keep_checkpoints=STEPS,
)
DEADLINE = 600  # seconds, for a machine that has much else to do


def start(workdir: Path, processes: int, devices: int, *, fsdp: int) -> list[subprocess.Popen]:
    """Starts the run, or goes on with it."""
    overrides = SETTINGS | dict(mesh__fsdp=fsdp)
    options = [f"--config.{name.replace('__', '.')}={value}" for name, value in overrides.items()]
    run = "train", "--config", f"{CONFIG}:pairs", "--workdir", workdir
    return start_processes(processes, devices, *run, *options)


def finish(processes: list[subprocess.Popen]) -> None:
    try:
        for process in processes:
            _, errors = process.communicate(timeout=DEADLINE)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()


def kill_at_a_random_moment(processes: list[subprocess.Popen], workdir: Path) -> None:
    """Kills all processes, one after the other, some time after the first checkpoint."""
    deadline = time.monotonic() + DEADLINE
    while not any(path.name.isdigit() for path in workdir.glob("checkpoints/*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1.0))
    for process in random.sample(processes, len(processes)):
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two processes of four devices each that nothing has disturbed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(workdir, 2, 4, fsdp=2))
    return workdir


@pytest.fixture
def killed(tmp_path) -> Path:
    """The same run, killed."""
    workdir = tmp_path / "run"
    kill_at_a_random_moment(start(workdir, 2, 4, fsdp=2), workdir)
    assert len(read_rows(workdir / "metrics.jsonl")) < STEPS
    return workdir


@pytest.mark.drawn(4)
@pytest.mark.parametrize(
    ("processes", "devices", "fsdp"), [(1, 8, 4), (4, 2, 2), (1, 1, 1), (2, 4, 2)]
)
def test_it_goes_on_elsewhere(whole, killed, processes, devices, fsdp):
    finish(start(killed, processes, devices, fsdp=fsdp))
    rows, wanted = (read_rows(path / "metrics.jsonl") for path in (killed, whole))
    assert (
        [row["step"] for row in rows] == [row["step"] for row in wanted] == [*range(1, STEPS + 1)]
    )
    for row, expected in zip(rows, wanted, strict=True):
        for name in ("loss", "temperature"):
            np.testing.assert_allclose(row[name], expected[name], 1e-6, 1e-6, err_msg=str(row))
    params, wanted = (plain(vlp_jax.load(path).params) for path in (killed, whole))
    for name, value in wanted.items():
        np.testing.assert_allclose(params[name], value, atol=1e-6, err_msg=name)
