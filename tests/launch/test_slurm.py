"""Tests of launch/slurm.sbatch with stand-ins for srun and scontrol."""

import re
import subprocess

import pytest

from tests.launch.fake_commands import Commands
from tests.launch.variables import asked_for
from tests.training.tiny import ROOT

SCRIPT = ROOT / "launch" / "slurm.sbatch"


@pytest.fixture
def commands(tmp_path) -> Commands:
    commands = Commands(tmp_path)
    commands.add("scontrol")
    return commands


def submit(commands: Commands, *arguments: str) -> subprocess.CompletedProcess:
    variables = {"SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "4", "PYTHON": "py"}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env=commands.environment | variables,
        capture_output=True,
        text=True,
    )


def test_a_run_that_is_done_ends_the_job(commands):
    commands.add("srun")
    words = ("--config", "a.py", "--workdir", "run 1", "--config.seed=3")
    assert submit(commands, *words).returncode == 0
    options = "--kill-on-bad-exit=0 --wait=0 --cpus-per-task=4"
    run = " ".join(words)
    assert commands.calls == [f"srun {options} py -m vlp_jax train --report {run}"]


@pytest.mark.parametrize("status", [75, 143])
def test_an_interrupted_run_is_queued_again(tmp_path, commands, status):
    commands.add("srun", f"exit {status}")
    assert submit(commands, "--config", "a.py", "--workdir", str(tmp_path / "run")).returncode == 0
    assert commands.calls[-1] == "scontrol requeue 77"


def test_a_failed_run_is_not_queued_again(tmp_path, commands):
    commands.add("srun", "exit 3")
    assert submit(commands, "--config", "a.py", "--workdir", str(tmp_path)).returncode == 3
    assert len(commands.calls) == 1


def test_the_variables_it_speaks_of_are_read():
    named = set(re.findall(r"SLURM_\w+", SCRIPT.read_text()))
    asked = {name for name in asked_for({"SLURM_STEP_NODELIST": "a,b"}) if "SLURM" in name}
    ours = asked - {"SLURM_NTASKS"}  # what SLURM_STEP_NUM_TASKS falls back to
    job = {"SLURM_JOB_ID", "SLURM_CPUS_PER_TASK"}
    assert named - job == ours | {"SLURM_STEP_NODELIST"}  # that it is a job step


def test_one_process_a_node():
    """A process takes all accelerators that it sees; a second one on the node would have none."""
    directives = re.findall(r"^#SBATCH --(\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert "ntasks-per-node=1" in directives
    assert "signal=TERM@300" in directives  # to the processes of the step, not to the script
