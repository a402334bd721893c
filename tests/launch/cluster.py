"""A SLURM cluster of two nodes on this machine, with the system's own programs."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

# A node may claim processors and GPUs that the machine lacks, so that a script is taken with the
# directives that it has. JAX makes of a job's number the port at which its processes meet, so the
# jobs of two clusters have other numbers.
CONFIG = """\
ClusterName=test
FirstJobId={first}
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=64 Gres=gpu:8
NodeName={host}-two NodeAddr=127.0.0.2 Port={ports[2]} CPUs=64 Gres=gpu:8
PartitionName=all Nodes=ALL Default=YES
"""


def lacking() -> str:
    """Says why there can be no cluster here, or nothing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "needs root, to start SLURM"


class Cluster:
    """A context in which jobs can be submitted; at its end nothing of them runs any more.

    `folder` has a short path, as that of a socket may have 107 characters.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._daemons: list[subprocess.Popen] = []
        self._environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> "Cluster":
        host = socket.gethostname()
        self._write_files(host)
        try:
            self._start_daemons(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        """Cancels what still runs, waits for it and ends the daemons."""
        try:
            self.run("scancel", "--full", "--user=root")
            wait_until(lambda: not self.run("squeue", "--noheader"), 60, self.log)
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
                daemon.wait(60)

    def run(self, *command: str, **variables: str) -> str:
        """Runs a command of SLURM and returns what it prints."""
        done = subprocess.run(
            command, env=self._environment | variables, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def submit(self, *arguments: str, **variables: str) -> str:
        """Gives a script to sbatch and returns the number of its job."""
        return self.run("sbatch", "--parsable", *arguments, **variables).strip()

    def job(self, number: str) -> dict[str, str]:
        """Returns what SLURM knows of a job, such as its JobState, ExitCode and Restarts."""
        shown = self.run("scontrol", "show", "job", "--oneliner", number)
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    def end_of(self, number: str, seconds: float) -> dict[str, str]:
        """Waits until a job has ended and returns what SLURM knows of it."""
        wait_until(lambda: self.job(number)["JobState"] in ENDED, seconds, self.log)
        return self.job(number)

    def log(self) -> str:
        """Returns the last that the daemons said."""
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))

    def _write_files(self, host: str) -> None:
        (self._folder / "state").mkdir()
        key = self._folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        ports = free_ports(3)
        settings = CONFIG.format(folder=self._folder, host=host, ports=ports, first=16 * ports[0])
        (self._folder / "slurm.conf").write_text(settings)
        # Nothing uses control groups, but slurmd asks for them; the second version wants systemd.
        (self._folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        for i in range(8):
            (self._folder / f"gpu{i}").touch()
        (self._folder / "gres.conf").write_text(f"Name=gpu File={self._folder}/gpu[0-7]\n")

    def _start_daemons(self, host: str) -> None:
        kept = [f"--{name}-file={self._folder}/{name}" for name in ("key", "pid", "log", "seed")]
        socket_of = f"--socket={self._folder}/munge"
        self._start("munged", "--foreground", "--force", socket_of, *kept)
        wait_until((self._folder / "munge").exists, 60, self.log)
        self._start("slurmctld", "-D")
        for node in (host, f"{host}-two"):
            self._start("slurmd", "-D", "-N", node)
        wait_until(self._is_idle, 60, self.log)

    def _start(self, program: str, *arguments: str) -> None:
        with open(self._folder / f"{len(self._daemons)}.log", "w") as log:
            self._daemons.append(
                subprocess.Popen(
                    [program, *arguments], env=self._environment, stdout=log, stderr=log
                )
            )

    def _is_idle(self) -> bool:
        counted = subprocess.run(
            ["sinfo", "--noheader", "--states=idle", "--format=%D"],
            env=self._environment, capture_output=True, text=True,
        )  # fmt: skip
        return counted.stdout.strip() == "2"


def wait_until(holds: Callable[[], bool], seconds: float, log: Callable[[], str]) -> None:
    """Waits until something holds; fails with the log after that many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, log()
        time.sleep(0.2)


def free_ports(count: int) -> Sequence[int]:
    """Returns ports that nobody listens at."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
