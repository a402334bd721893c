"""Tests of .ci/debian.sh with a stand-in for apt-get, where none of the programs is there."""

import os
import shutil
import subprocess

import pytest

from tests.launch.fake_commands import Commands
from tests.training.tiny import ROOT

SCRIPT = ROOT / ".ci" / "debian.sh"


def said(commands: Commands, apt_get: str = "", user: int = 0) -> str:
    """Returns what the script prints; it always ends well."""
    commands.add("apt-get", apt_get)
    commands.add("id", f"echo {user}")
    for name in ("bash", "env"):
        os.symlink(shutil.which(name), commands.folder / name)
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        env={"PATH": str(commands.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("apt_get", "message"),
    [
        ('[ "${!#}" != chromium ]', "chromium was not installed: tests skip where "),
        ('[ "${!#}" != update ]', "Debian's mirror was not reached: tests skip where "),
        ("", ""),
    ],
)
def test_what_is_not_to_be_had_is_a_line(tmp_path, apt_get, message):
    commands = Commands(tmp_path)
    shown = said(commands, apt_get)
    assert shown.startswith(message) and shown.count("\n") == bool(message)
    packages = [call.split()[-1] for call in commands.calls if " install " in call]
    everything = ["slurm-wlm", "munge", "shellcheck", "chromium", "chromium-driver"]
    assert packages == ([] if "update" in apt_get else everything)


def test_only_root_installs(tmp_path):
    commands = Commands(tmp_path)
    assert said(commands, user=1000).startswith("this is not root on Debian: tests skip where ")
    assert commands.calls == ["id -u"]
