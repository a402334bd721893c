"""Tests of what becomes of a training whose sweep has died."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINING = """
import signal, sys, time
def stop(*_):
    open("saved", "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, stop)
open("ready", "w").close()
time.sleep(60)
"""
SWEEP = f"""
import sys
from vlp_jax.sweep.child import Child
with Child() as child, open("log", "wb") as log:
    child.run([sys.executable, "-c", {TRAINING!r}], log)
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 50
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_sweep_that_is_killed_stops_its_training(tmp_path):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP], cwd=tmp_path, env=environ)
    try:
        wait_for(tmp_path / "ready")
    finally:
        sweep.kill()
        sweep.wait()
    wait_for(tmp_path / "saved")
