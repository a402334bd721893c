"""Trains with two processes of two devices: they agree with one process, and one of them writes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import CONFIG, ROOT, environment, plain, tiny
from vlp_jax.training.loop import train
from vlp_jax.training.row_file import read_rows

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

SCRIPT = ROOT / "launch" / "local_multiprocess.sh"
STEPS = 60
SETTINGS = {"training.steps": STEPS, "training.log_every": 2, "training.checkpoint_every": 100}
DEADLINE = 600  # seconds, for a machine that has much else to do


def start(workdir: Path, *more: str, mesh: str = "fsdp=2", devices: int = 2) -> subprocess.Popen:
    overrides = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
    config = ["--config", f"{CONFIG}:pairs", "--workdir", workdir, f"--config.mesh.{mesh}"]
    return subprocess.Popen(
        ["bash", str(SCRIPT), "2", *map(str, config), *overrides, *more],
        env=environment() | {"DEVICES": str(devices), "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.send_signal(signal.SIGTERM)
    return process.returncode, errors


def rows_of(workdir: Path) -> list[dict]:
    return read_rows(workdir / "metrics.jsonl")


def test_two_processes_equal_one_through_an_interruption(tmp_path, devices8):
    settings = {name.replace(".", "__"): value for name, value in SETTINGS.items()}
    whole = train(tiny("pairs", **settings), tmp_path / "one")
    two = tmp_path / "two"
    process = start(two)
    deadline = time.monotonic() + DEADLINE
    while len(rows_of(two)) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, errors = ended(process)
    assert status == 75, errors
    stopped = max(int(p.name) for p in (two / "checkpoints").iterdir())
    assert 4 <= stopped < STEPS
    # Only the first process speaks of steps.
    assert f"SIGTERM: saved step {stopped}" in errors
    assert not [line for line in errors.splitlines() if line.startswith("[1] step")]
    assert "[1] distributed: expected 2 processes" in errors

    status, errors = ended(start(two, f"--config.training.evaluate_every={STEPS}", "--report"))
    assert status == 0, errors
    rows, wanted = rows_of(two), rows_of(tmp_path / "one")
    figures = rows.pop()
    assert figures["step"] == STEPS and 0 <= figures["evaluation/i2t_r1"] <= 1
    assert [row["step"] for row in rows] == list(range(2, STEPS + 1, 2))
    for row, expected in zip(rows, wanted, strict=True):
        # Adam makes steps of one size out of gradients that are rounding alone, so the two drift.
        tolerance = 1e-5 if row["step"] <= 10 else 1e-3
        for name in ("loss", "itc_loss", "temperature", "learning_rate"):
            np.testing.assert_allclose(row[name], expected[name], tolerance, err_msg=str(row))
    assert {p.name for p in two.iterdir()} == {
        "accounts.jsonl", "checkpoints", "config.json", "lock", "metrics.jsonl", "tensorboard",
        "timing.json", "summary.json", "report.html", "pictures", "tokenizer.json", "vocab.txt",
    }  # fmt: skip
    assert "[1] report:" not in errors and "[1] step" not in errors
    assert len(list((two / "tensorboard").iterdir())) == 2  # one a start, not one a process

    # What two processes saved, one process loads.
    params, wanted = plain(vlp_jax.load(two).params), plain(whole.state.params)
    assert params.keys() == wanted.keys()
    kernel = "['vision']['patch_embedding']['kernel']"
    np.testing.assert_allclose(params[kernel], wanted[kernel], atol=1e-3)


SHORT = {"steps": 2, "log_every": 1, "evaluate_every": 2}


@pytest.fixture(scope="module")
def losses(tmp_path_factory, devices8) -> list[float]:
    """What one process finds in two steps."""
    workdir = tmp_path_factory.mktemp("one")
    train(tiny("pairs", **{f"training__{name}": value for name, value in SHORT.items()}), workdir)
    return [row["loss"] for row in rows_of(workdir)]


@pytest.mark.drawn(2)
@pytest.mark.parametrize("mesh", ["fsdp=2", "tensor=2"])
def test_parameters_that_no_process_holds_whole(tmp_path, losses, mesh):
    """With `tensor` both train on the same rows; the evaluation reads its results with either."""
    overrides = [f"--config.training.{name}={value}" for name, value in SHORT.items()]
    status, errors = ended(start(tmp_path, *overrides, mesh=mesh, devices=1))
    assert status == 0, errors
    *rows, figures = rows_of(tmp_path)
    np.testing.assert_allclose([row["loss"] for row in rows], losses, rtol=1e-5)
    assert figures["step"] == 2 and 0 <= figures["evaluation/i2t_r1"] <= 1


def test_a_process_that_fails_ends_the_others(tmp_path):
    status, errors = ended(start(tmp_path / "run", "--config.data.batch_sise=4"))
    assert status == 1
    assert 'config.data.batch_sise: no such field. Did you mean "batch_size"?' in errors
    assert "[1] vlp-jax train: config.data.batch_sise" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", ["", "0", "two", "-1"])
def test_the_number_of_processes_is_checked(count):
    found = subprocess.run(["bash", str(SCRIPT), count], capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert f'PROCESSES is "{count}", expected a whole number above 0. usage: ' in found.stderr
