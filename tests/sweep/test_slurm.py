"""Tests of the job array: it runs, one task a run, under the directives given."""

import subprocess
from pathlib import Path

import pytest

from tests.sweep.runs import plan_in
from vlp_jax.sweep.slurm import sbatch_script


def test_the_script(tmp_path):
    command = ["python3", "launch/sweep.py", "--override", "data.weights={'a': 1}"]
    script = sbatch_script(plan_in(tmp_path), command, ["gres=gpu:1", "exclusive"], tmp_path)
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "#SBATCH --array=0-3" in lines and "#SBATCH --gres=gpu:1" in lines
    assert f"#SBATCH --chdir={tmp_path}" in lines and "#SBATCH --exclusive" in lines
    assert "#SBATCH --signal=B:TERM@120" in lines
    # sbatch reads directives up to the first command.
    assert [line.startswith("#") for line in lines] == [True] * (len(lines) - 2) + [False] * 2


def test_a_task_runs_its_own_index_with_the_arguments_as_they_were(tmp_path):
    command = ["printf", "%s\n", "a b", "$HOME", "{'a': 1}"]
    script = sbatch_script(plan_in(tmp_path), command, [], tmp_path)
    shown = subprocess.run(
        ["bash"], input=script, env={"SLURM_ARRAY_TASK_ID": "2", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines() == ["a b", "$HOME", "{'a': 1}", "--index", "2"]


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("--gres=gpu:1", "expected an sbatch option without dashes"),
        ("time=1:00 x", "expected an sbatch option without dashes"),
        ("array=0-5", "the sweep sets --array itself"),
    ],
)
def test_directives_that_are_refused(tmp_path, directive, message):
    with pytest.raises(ValueError, match=message):
        sbatch_script(plan_in(tmp_path), ["x"], [directive], Path("."))
