"""Tests of the lock of a workdir: who holds it, and that it never outlives its holder."""

import errno
import fcntl
import logging
import os
import platform
import signal
import subprocess
import sys

import pytest

from tests.training.tiny import environment
from vlp_jax.training.workdir_lock import only_trainer

HOLD = """
import time, pathlib
from vlp_jax.training.workdir_lock import only_trainer
with only_trainer(pathlib.Path({!r})):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path):
    workdir = tmp_path / "new" / "run"
    with only_trainer(workdir):
        with pytest.raises(ValueError) as error, only_trainer(workdir):
            pass
    assert str(error.value).startswith(
        f'another process trains in "{workdir}" (pid {os.getpid()} on {platform.node()}). Wait'
    )
    with only_trainer(workdir):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLD.format(str(tmp_path))]
    holder = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"pid {holder.pid} "), only_trainer(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with only_trainer(tmp_path):
        assert f"pid {os.getpid()} " in (tmp_path / "lock").read_text()


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.DEBUG), only_trainer(tmp_path), only_trainer(tmp_path):
        pass
    assert "is not locked: [Errno" in caplog.text and "No locks available" in caplog.text
