"""Tests of process settings, and of two real processes that talk over gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from vlp_jax.parallel import initialize_distributed
from vlp_jax.parallel.distributed import ProcessSettings, read_settings

WORKER = Path(__file__).with_name("gloo_worker.py")
ROOT = Path(__file__).parents[2]
NOTHING = ProcessSettings()
SLURM = {
    "SLURM_JOB_ID": "4099",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "node[007,009-011],big3",
}


def test_nothing_set_means_one_process(monkeypatch):
    for name in os.environ:
        if name.startswith(("SLURM_", "TPU_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("connected"))
    assert initialize_distributed() == 1
    assert initialize_distributed("localhost:1", 1, 0) == 1


def test_arguments_win_over_the_environment():
    environ = {"COORDINATOR_ADDRESS": "a:1", "NUM_PROCESSES": "4", "PROCESS_ID": "3"}
    assert read_settings(NOTHING, environ) == ProcessSettings("a:1", 4, 3)
    given = ProcessSettings(process_id=0)
    assert read_settings(given, environ) == ProcessSettings("a:1", 4, 0)
    environ["JAX_COORDINATOR_ADDRESS"] = "b:2"
    assert read_settings(NOTHING, environ).coordinator_address == "b:2"


def test_slurm_job_step_leaves_the_detection_to_jax():
    assert read_settings(NOTHING, SLURM) == ProcessSettings("auto", 4)
    given = ProcessSettings("a:1", 4, 3)
    assert read_settings(given, SLURM) == given


@pytest.mark.parametrize(
    ("tasks", "devices"), [("1(x4)", "all"), ("1", "all"), ("4", "2"), ("1,3", "2"), ("11", "2")]
)
def test_the_only_task_of_a_slurm_node_uses_all_its_gpus(monkeypatch, tasks, devices):
    for name, value in (SLURM | {"SLURM_STEP_TASKS_PER_NODE": tasks}).items():
        monkeypatch.setenv(name, value)
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)

    def connect(**settings):  # as JAX does under SLURM
        assert settings["coordinator_address"] is None
        jax.config.update("jax_cuda_visible_devices", "2")

    monkeypatch.setattr(jax.distributed, "initialize", connect)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert initialize_distributed() == 4
    assert updates["jax_cuda_visible_devices"] == devices


def test_slurm_batch_script_is_one_process():
    assert read_settings(NOTHING, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == NOTHING
    assert read_settings(NOTHING, SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) == NOTHING


def test_tpu_pod_leaves_the_detection_to_jax():
    environ = {"TPU_WORKER_HOSTNAMES": "host0,host1"}
    assert read_settings(NOTHING, environ) == ProcessSettings("auto")
    assert read_settings(NOTHING, {"TPU_WORKER_HOSTNAMES": "localhost"}) == NOTHING


def test_automatic_detection_has_one_variable():
    assert read_settings(NOTHING, {"COORDINATOR_ADDRESS": "auto"}) == ProcessSettings("auto")
    with pytest.raises(ValueError, match="set COORDINATOR_ADDRESS=auto instead"):
        read_settings(NOTHING, {"JAX_COORDINATOR_ADDRESS": "auto"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ProcessSettings("a:1", 2), "needs process_id beside coordinator_address=a:1"),
        (ProcessSettings(num_processes=2, process_id=0), "needs coordinator_address"),
        (ProcessSettings("a:1", 2, 2), "process id 2: expected 0 to 1 for 2 processes"),
        (ProcessSettings("a:1", 0, 0), "number of processes is 0"),
    ],
)
def test_incomplete_settings(given, message):
    with pytest.raises(ValueError, match=message):
        read_settings(given, {})


def test_a_number_that_is_none():
    with pytest.raises(ValueError, match="NUM_PROCESSES='two': expected a whole number"):
        read_settings(NOTHING, {"NUM_PROCESSES": "two"})


def test_a_failed_start_says_what_was_expected(monkeypatch, capsys):
    def refuse(**_):
        raise RuntimeError("no route")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(RuntimeError, match="expected 3 processes at h:9 within 7 s .*no route"):
        initialize_distributed("h:9", 3, 1, timeout_seconds=7)
    assert "expected 3 processes at h:9" in capsys.readouterr().err


def test_fewer_processes_than_expected(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
    with pytest.raises(RuntimeError, match="expected 3 processes, saw 1"):
        initialize_distributed("h:9", 3, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_worker(process_id: int, port: int) -> subprocess.Popen:
    environ = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "NUM_PROCESSES": "2",
        "PROCESS_ID": str(process_id),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, str(WORKER)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.multiprocess
def test_two_processes_make_one_batch():
    port = free_port()
    workers = [start_worker(i, port) for i in range(2)]
    try:
        outputs = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for worker, (out, err) in zip(workers, outputs):
        assert worker.returncode == 0, err[-3000:]
        seen = json.loads(out.splitlines()[-1])
        assert "cannot be divided into 2 equal parts for its 2 devices" in seen.pop("refusal")
        assert seen == {
            "processes": 2,
            "again": 2,
            "devices": 4,
            "global_shape": [8],
            "weighted_sum": sum(i * i for i in range(8)),
            "gathered": list(range(8)),
            "share_of_one_part": [0, 1],
            "one_part": list(range(4)),
        }
        assert "expected 2 processes" in err


@pytest.mark.multiprocess
def test_a_missing_process_ends_the_run_with_a_message():
    code = "from vlp_jax.parallel import initialize_distributed as f; f('localhost:%d', 2, 0, 2)"
    ended = subprocess.run(
        [sys.executable, "-c", code % free_port()],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode != 0
    assert "expected 2 processes at localhost" in ended.stderr and "within 2 s" in ended.stderr
