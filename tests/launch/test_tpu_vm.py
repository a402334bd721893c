"""Tests of launch/tpu_vm.sh with a stand-in for gcloud."""

import subprocess

import pytest

from tests.launch.fake_commands import Commands
from tests.training.tiny import ROOT
from vlp_jax.parallel.distributed import AUTO, ProcessSettings, read_settings

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="copies what git has")


def launched(commands: Commands, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    own = ("TPU", "ZONE", "PROJECT", "PYTHON")
    environment = {k: v for k, v in commands.environment.items() if k not in own}
    return subprocess.run(
        ["bash", str(ROOT / "launch" / "tpu_vm.sh"), *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def commands(tmp_path) -> Commands:
    """A gcloud that keeps the archive and the remote command."""
    commands = Commands(tmp_path)
    keep = f'[ "$4" = scp ] && cp "$5" {tmp_path}/archive.tar.gz\nprintf %s "${{6#--command=}}"'
    commands.add("gcloud", f'{keep} > {tmp_path}/"$4"')
    return commands


def test_every_worker_gets_the_checkout_and_the_same_command(tmp_path, commands):
    result = launched(
        commands, "--config", "a b.py", "--config.data.weights={'a': 1}", TPU="pod", ZONE="us-1"
    )
    assert result.returncode == 0, result.stderr
    assert commands.calls[0].startswith("gcloud compute tpus tpu-vm scp /")
    assert commands.calls[0].endswith("pod: --zone=us-1 --worker=all")
    assert any("ssh pod --command=" in call for call in commands.calls)
    listed = ["tar", "-tzf", str(tmp_path / "archive.tar.gz")]
    files = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    assert {"setup.py", "launch/venv.sh", "vlp_jax/cli/train.py"} <= set(files)


def test_the_remote_command_installs_and_trains_with_the_arguments_as_they_were(tmp_path, commands):
    given = ["--config", "a b.py", "--config.data.weights={'a': 1}", "$HOME"]
    assert launched(commands, *given, TPU="pod", ZONE="us-1", PYTHON="python3.12").returncode == 0
    home = tmp_path / "home"
    (home / "vlp_jax" / "launch").mkdir(parents=True)
    trained = 'printf "%s\\n" "$COORDINATOR_ADDRESS" "$@" > ~/trained'
    (home / "vlp_jax" / "launch" / "venv.sh").write_text(
        'install_into() { echo "$@" "$PYTHON" > ~/installed; mkdir -p .venv/bin\n'
        f"echo '{trained}' > .venv/bin/vlp-jax; chmod +x .venv/bin/vlp-jax; }}\n"
    )
    commands.add("tar")
    remote = (tmp_path / "ssh").read_text()
    environment = commands.environment | {"HOME": str(home)}
    subprocess.run(["bash", "-c", remote], env=environment, check=True)
    assert (home / "installed").read_text() == ".venv .[train,quickstart,tpu,gcs] python3.12\n"
    address, *arguments = (home / "trained").read_text().splitlines()
    assert arguments == ["train", "--report", *given]
    # JAX would take JAX_COORDINATOR_ADDRESS=auto for a host called "auto".
    settings = read_settings(ProcessSettings(), {"COORDINATOR_ADDRESS": address})
    assert settings == ProcessSettings(AUTO)
    assert "JAX_COORDINATOR_ADDRESS" not in remote


@pytest.mark.parametrize("missing", ["TPU", "ZONE", "arguments"])
def test_what_is_missing_is_said(commands, missing):
    variables = {name: "x" for name in ("TPU", "ZONE") if name != missing}
    result = launched(commands, *["--config"] * (missing != "arguments"), **variables)
    assert result.returncode == 2 and result.stderr.startswith("usage: TPU=NAME ZONE=ZONE bash")
    assert commands.calls == []
