"""Tests that hold for every launch script: it parses, and fails when a part of it fails."""

import subprocess

import pytest

from tests.training.tiny import ROOT

SCRIPTS = sorted([*ROOT.glob("launch/*.sh"), *ROOT.glob("launch/*.sbatch")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_unset_variable_is_an_error(script):
    """Those that are sourced leave it to the script that sources them."""
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash" or script.name == "venv.sh"
    assert script.name == "venv.sh" or {"set -euo pipefail", "set -uo pipefail"} & set(lines)
