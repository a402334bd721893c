"""What is said when another process of a run is lost, and how quickly."""

import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from tests.training.tiny import CONFIG, environment, start_processes
from vlp_jax.parallel import LostPeerError, lost_peers_named, said_by_any
from vlp_jax.parallel.lost import lost_sentence
from vlp_jax.training.row_file import read_rows

GLOO = "INTERNAL: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:54321"
HEARTBEAT = "UNAVAILABLE: Task /job:jax_worker/replica:0/task:3 heartbeat timeout"


def test_the_lost_process_is_named_where_it_is_known():
    assert "process 0 has lost process 3 of the run" in lost_sentence(HEARTBEAT, 0, 8)
    assert "process 3 has lost another process (" in lost_sentence(HEARTBEAT, 3, 8)
    assert "process 1 has lost process 0 of the run" in lost_sentence(GLOO, 1, 2)
    assert "process 1 has lost another process (" in lost_sentence(GLOO, 1, 3)


@pytest.mark.parametrize("message", [GLOO, HEARTBEAT])
def test_only_errors_of_several_processes_are_taken_for_a_loss(monkeypatch, message):
    with pytest.raises(jax.errors.JaxRuntimeError), lost_peers_named():
        raise jax.errors.JaxRuntimeError(message)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(LostPeerError, match="start the same command everywhere"):
        with lost_peers_named():
            raise jax.errors.JaxRuntimeError(message)
    with pytest.raises(LostPeerError), lost_peers_named():
        raise ValueError(message)  # as some calls of JAX give it
    with pytest.raises(ValueError, match="no socket"), lost_peers_named():
        raise ValueError("no socket of that name")
    for other in ("RESOURCE_EXHAUSTED: Out of memory", "INVALID_ARGUMENT: shapes"):
        with pytest.raises(jax.errors.JaxRuntimeError), lost_peers_named():
            raise jax.errors.JaxRuntimeError(other)


ENDED = """
import os, signal, jax
from vlp_jax.parallel import lost_peers_named
jax.process_count, jax.process_index = lambda: 2, lambda: 1
with lost_peers_named():
    {what}
"""


@pytest.mark.parametrize("what, said", [
    ("os.abort()", True),
    ("os.killpg(os.getpgid(0), signal.SIGKILL)", True),
    ("pass", False),
    ("raise SystemExit(3)", False),
])  # fmt: skip
def test_a_process_that_is_ended_leaves_a_sentence(what, said):
    ended = subprocess.run(
        [sys.executable, "-c", ENDED.format(what=what)],
        env=environment(),
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (ended.returncode < 0) == said
    assert (
        "process 1 of the run was ended from outside, by JAX where process 0" in ended.stderr
    ) == said
    assert said or ended.stderr == ""


def test_one_process_says_what_it_says():
    assert said_by_any("damaged") == "damaged" and said_by_any(None) is None


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("victim", [0, 1])
def test_the_survivor_ends_at_once_with_its_status(tmp_path, victim):
    workdir = tmp_path / "run"
    config = "--config", f"{CONFIG}:light", "--config.training.steps=100000"
    processes = start_processes(2, 1, "train", "--workdir", workdir, *config)
    try:
        deadline = time.monotonic() + 600
        while not read_rows(workdir / "metrics.jsonl") and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(processes[victim].pid, signal.SIGKILL)
        started = time.monotonic()
        _, shown = processes[1 - victim].communicate(timeout=120)
        assert time.monotonic() - started < 60
    finally:
        for process in processes:
            process.kill()
    status = processes[1 - victim].returncode
    if (victim, status) == (0, -signal.SIGABRT):  # JAX's client may be faster than Python
        assert "process 1 of the run was ended from outside, by JAX where process 0" in shown
    else:
        assert status == 5, shown
        assert (
            f"vlp-jax train: process {1 - victim} has lost process {victim} of the run: " in shown
        )
        assert "Traceback" in shown and "Check failure stack trace" not in shown
    assert "start the same command everywhere" in shown
