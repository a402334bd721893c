"""Tests of launch/gke_jobset.yaml, as far as they go without a cluster, and of launch/pod.sh."""

import math
import signal
import subprocess
import time

import pytest
import yaml

from tests.launch.fake_commands import Commands
from tests.launch.variables import asked_for
from tests.training.tiny import ROOT
from vlp_jax.parallel.distributed import ProcessSettings, read_settings

JOBSET = yaml.safe_load((ROOT / "launch" / "gke_jobset.yaml").read_text())
(JOB,) = JOBSET["spec"]["replicatedJobs"]
TASK = JOB["template"]["spec"]
POD = TASK["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_every_pod_finds_the_first():
    values = {entry["name"]: entry.get("value") for entry in CONTAINER["env"]}
    assert set(values) <= asked_for({})
    index = next(entry for entry in CONTAINER["env"] if entry["name"] == "PROCESS_ID")
    path = index["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    settings = read_settings(ProcessSettings(), values | {"PROCESS_ID": "3"})
    # A pod is called JOBSET-JOB-REPLICA-INDEX under the subdomain JOBSET.
    name = JOBSET["metadata"]["name"]
    host = f"{name}-{JOB['name']}-0-0.{name}"
    assert settings == ProcessSettings(f"{host}:8476", TASK["parallelism"], 3)


def test_as_many_pods_as_the_slice_has_hosts():
    chips = math.prod(map(int, POD["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
    resources = CONTAINER["resources"]
    assert resources["requests"] == resources["limits"]
    assert chips == TASK["completions"] * resources["limits"]["google.com/tpu"]
    assert TASK["completions"] == TASK["parallelism"] and JOB["replicas"] == 1


def test_a_lost_process_restarts_all_and_volumes_are_there():
    assert TASK["backoffLimit"] == 0 and JOBSET["spec"]["failurePolicy"]["maxRestarts"] > 0
    mounted = {mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {volume["name"] for volume in POD["volumes"]}


@pytest.mark.oracle
def test_kubernetes_takes_the_job():
    kubernetes = pytest.importorskip("kubernetes_validate")
    version = kubernetes.latest_version()
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "workers"}}
    assert version.startswith(kubernetes.validate(job | JOB["template"], version, strict=True))
    with pytest.raises(kubernetes.ValidationError, match="'completion' was unexpected"):
        misspelt = {"spec": TASK | {"completion": 4}}
        kubernetes.validate(job | misspelt, version, strict=True)


def test_the_command_installs_and_trains(tmp_path):
    commands = Commands(tmp_path)
    for name in ("cp", "pip", "vlp-jax"):
        commands.add(name)
    program, option, text = CONTAINER["command"]
    subprocess.run([program, option, text], env=commands.environment, cwd=ROOT, check=True)
    assert commands.calls == [
        "cp -r . /tmp/vlp_jax",
        "pip install --quiet /tmp/vlp_jax[train,quickstart,tpu,gcs]",
        "vlp-jax train --report --config configs/quickstart.py --workdir /shared/runs/pod",
    ]


def started(commands: Commands) -> subprocess.Popen:
    return subprocess.Popen(["bash", str(ROOT / "launch" / "pod.sh")], env=commands.environment)


@pytest.mark.parametrize("status", [0, 3])
def test_a_pod_ends_as_its_training_does(tmp_path, status):
    commands = Commands(tmp_path)
    commands.add("vlp-jax", f"exit {status}")
    assert started(commands).wait(timeout=60) == status


def test_a_pod_that_is_stopped_lets_the_training_save_and_counts_as_failed(tmp_path):
    commands = Commands(tmp_path)
    save = f"trap 'sleep 0.3; touch {tmp_path}/saved; exit 75' TERM; touch {tmp_path}/ready"
    commands.add("vlp-jax", f"{save}; for i in {{1..600}}; do sleep 0.1; done")
    process = started(commands)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "saved").exists()
