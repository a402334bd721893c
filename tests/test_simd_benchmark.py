"""Test of benchmarks/simd_resize.py, whose figures are in docs/sources.md."""

import os
import re
import subprocess
import sys

import pytest

from tests.data.test_reduced_jpeg import jpeg, photograph
from tests.training.tiny import ROOT


def test_pixels_are_said_to_be_near(tmp_path):
    pytest.importorskip("cykooz_resizer")
    (tmp_path / "a.jpg").write_bytes(jpeg(photograph(240, 320)))
    command = [sys.executable, ROOT / "benchmarks/simd_resize.py", tmp_path, "--sizes", "64"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["64 px, whole", "64 px, crop"]
    for line in lines:
        differ = float(re.search(r"([0-9.]+)% differ", line).group(1))
        assert 0 < differ < 1
