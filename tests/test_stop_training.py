"""Test of benchmarks/stop_training.py, with little to save."""

import json
import subprocess
import sys

import pytest

from tests.training.tiny import ROOT, environment


@pytest.mark.slow
def test_a_training_saves_what_was_asked_for_and_ends(tmp_path):
    script = [sys.executable, ROOT / "benchmarks/stop_training.py", "--gigabytes", "0.02"]
    measured = subprocess.run(
        [*script, "--folder", tmp_path],
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
    )
    found = json.loads(measured.stdout)
    assert 0.015 < found["gigabytes_saved"] < 0.04 and found["seconds"] > 0
