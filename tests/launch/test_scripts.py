"""Tests that hold for every shell script: it parses, and fails when a part of it fails."""

import shutil
import subprocess

import pytest

from tests.training.tiny import ROOT

PLACES = ("launch/*.sh", "launch/*.sbatch", ".ci/*")
SCRIPTS = sorted(path for place in PLACES for path in ROOT.glob(place))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_nothing_is_found_by_shellcheck():
    command = ["shellcheck", "--shell=bash", *map(str, SCRIPTS)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_unset_variable_is_an_error(script):
    """Those that are sourced leave it to the script that sources them."""
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash" or script.name == "venv.sh"
    assert script.name == "venv.sh" or {"set -euo pipefail", "set -uo pipefail"} & set(lines)
