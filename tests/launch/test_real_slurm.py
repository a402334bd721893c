"""Tests of launch/slurm.sbatch and of a sweep's job array under SLURM itself, on two nodes."""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.launch.cluster import Cluster, lacking, wait_until
from tests.training.tiny import CONFIG, ROOT, environment, tiny
from vlp_jax.training.loop import train
from vlp_jax.training.row_file import read_rows

pytestmark = [
    pytest.mark.multiprocess,
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]

SCRIPT = ROOT / "launch" / "slurm.sbatch"
DEADLINE = 600  # seconds, for a machine that has much else to do


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="slurm_") as folder, Cluster(Path(folder)) as cluster:
        yield cluster


def submit(cluster: Cluster, folder: Path, *settings: str, python: str = sys.executable) -> str:
    """Submits the script as it is; only its log goes elsewhere."""
    overrides = [f"--config.training.{text}" for text in settings]
    run = ["--config", f"{CONFIG}:pairs", "--workdir", str(folder / "run"), *overrides]
    variables = environment() | {"PYTHON": python}
    return cluster.submit(f"--output={folder}/log", str(SCRIPT), *run, **variables)


def second_node(folder: Path, command: str) -> str:
    """Returns a Python before which the second node runs a command."""
    path = folder / "python"
    start = f'((SLURM_NODEID == 0)) || {command}\nexec {sys.executable} "$@"\n'
    path.write_text(f"#!/usr/bin/env bash\n{start}")
    path.chmod(0o755)
    return str(path)


def outcome(job: dict[str, str]) -> tuple[str, str, str]:
    return job["JobState"], job["ExitCode"], job["Restarts"]


def test_two_nodes_train_what_one_process_does(cluster, tmp_path, devices8):
    job = cluster.end_of(submit(cluster, tmp_path, "steps=6", "log_every=1"), DEADLINE)
    log = (tmp_path / "log").read_text()
    assert outcome(job) == ("COMPLETED", "0:0", "0"), log
    assert log.count("distributed: expected 2 processes") == 2
    train(tiny("pairs", training__steps=6, training__log_every=1), tmp_path / "one")
    found, wanted = (
        [row["loss"] for row in read_rows(tmp_path / name / "metrics.jsonl") if "loss" in row]
        for name in ("run", "one")
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert (tmp_path / "run" / "report.html").exists()


def test_a_job_that_is_told_to_stop_saves_and_goes_on(cluster, tmp_path):
    """scancel sends the signal to the processes to which --signal=TERM@300 sends it."""
    steps = 200  # after a hundred at the latest, processes ask each other
    number = submit(cluster, tmp_path, f"steps={steps}", "log_every=1", "checkpoint_every=1000")
    rows = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: len(read_rows(rows)) > 2, DEADLINE, cluster.log)
    cluster.run("scancel", "--signal=TERM", number)
    job = cluster.end_of(number, DEADLINE)  # SLURM lets two minutes pass before it starts it again
    log = (tmp_path / "log").read_text()
    assert outcome(job) == ("COMPLETED", "0:0", "1"), log
    (stopped,) = re.findall(r"SIGTERM: saved step (\d+);", log)
    assert 2 < int(stopped) < steps
    assert [row["step"] for row in read_rows(rows)] == list(range(1, steps + 1))


def test_a_mistake_ends_the_job_though_one_node_is_slow(cluster, tmp_path):
    """A process that srun ended here would leave the status of an interruption."""
    slow = second_node(tmp_path, "sleep 10")
    number = submit(cluster, tmp_path, "stepps=6", python=slow)
    assert outcome(cluster.end_of(number, DEADLINE)) == ("FAILED", "1:0", "0")
    message = 'config.training.stepps: no such field. Did you mean "steps"?'
    assert (tmp_path / "log").read_text().count(f"vlp-jax train: {message}") == 2


def test_a_node_without_its_process_ends_the_job(cluster, tmp_path):
    """The others notice the loss; the worst status is the job's."""
    told = second_node(tmp_path, f"echo $$ > {tmp_path}/pid")
    number = submit(cluster, tmp_path, "steps=1000000", "log_every=1", python=told)
    rows = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: read_rows(rows), DEADLINE, cluster.log)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    job = cluster.end_of(number, DEADLINE)
    assert outcome(job) == ("FAILED", "137:0", "0"), (tmp_path / "log").read_text()[-3000:]


def test_a_sweep_is_an_array(cluster, tmp_path):
    """Its second run is told to stop, and goes on when the same script is submitted again."""
    variants = ["--override", "training.steps=2", "--override", "training.steps=1000"]
    described = [sys.executable, str(ROOT / "launch" / "sweep.py"), "--config", f"{CONFIG}:light"]
    common = ["--set", "training.log_every=1", "training.checkpoint_every=1000"]
    described += [*variants, *common, "--out", str(tmp_path)]
    cluster.run(*described, "--slurm", "gres=gpu:1", "time=1:00:00", **environment())
    script = str(tmp_path / "sweep.sbatch")
    number = cluster.submit(script)
    rows = tmp_path / "tiny_config_light_training.steps=1000" / "seed_0" / "metrics.jsonl"
    wait_until(lambda: len(read_rows(rows)) > 2, DEADLINE, cluster.log)
    cluster.run("scancel", "--signal=TERM", "--batch", f"{number}_1")
    assert outcome(cluster.end_of(f"{number}_0", DEADLINE)) == ("COMPLETED", "0:0", "0")
    assert outcome(cluster.end_of(f"{number}_1", DEADLINE)) == ("FAILED", "130:0", "0")
    assert 2 < len(read_rows(rows)) < 1000
    number = cluster.submit(script)
    for index in (0, 1):
        assert outcome(cluster.end_of(f"{number}_{index}", DEADLINE))[:2] == ("COMPLETED", "0:0")
    assert "done already" in (tmp_path / f"slurm-{number}_0.log").read_text()
    assert "goes on" in (tmp_path / f"slurm-{number}_1.log").read_text()
    cluster.run(*described, "--summarise", **environment())
    assert "| 1/1 |" in (tmp_path / "table.md").read_text()
