"""Makes the runs of a sweep, each as a process of its own, so that one failure is one failure."""

import os
import sys
from collections.abc import Callable, Sequence

from vlp_jax.sweep.child import Child
from vlp_jax.sweep.plan import Run
from vlp_jax.sweep.states import LOG, Progress, State, progress, record_failure, record_start

_LINES_KEPT = 3


class Stopped(RuntimeError):
    """A signal has stopped the sweep; the run that was going has saved a checkpoint."""


def execute(runs: Sequence[Run], say: Callable[[str], None] = print) -> list[Progress]:
    """Makes every run that is not done, going on where one was broken off, and returns all states.

    A run that fails is noted and the next one starts. All folders are checked before the first
    starts. Raises ValueError if one holds another run, Stopped on SIGTERM or Ctrl-C.
    """
    before = [progress(run) for run in runs]
    results = []
    with Child() as child:
        for number, found in enumerate(before, start=1):
            label = f"[{number}/{len(runs)}] {found.run.name}"
            if found.state is State.DONE:
                say(f"{label}: done already")
            else:
                verb = "starts" if found.state is State.WAITING else "goes on"
                say(f"{label}: {verb}, log in {found.run.workdir / LOG}")
                found = make(found.run, child)
                say(f"{label}: {found.state.value}" + f": {found.failure}" * bool(found.failure))
            results.append(found)
    return results


def make(run: Run, child: Child) -> Progress:
    """Runs `vlp-jax train --report` in the run's folder until it ends, and returns its state."""
    record_start(run)
    with open(run.workdir / LOG, "ab") as log:
        start = log.tell()
        status = child.run(command(run), log)
    if child.received:
        raise Stopped(f"{child.received}: stopped {run.name}; the same command goes on from there")
    if status or progress(run).state is not State.DONE:
        record_failure(run, _explain(run, status, start))
    return progress(run)


def command(run: Run) -> list[str]:
    """Returns the command line of the run's training."""
    options = ["--config", run.spec, "--workdir", str(run.workdir), "--report"]
    return [sys.executable, "-m", "vlp_jax", "train", *options, *run.overrides]


def _explain(run: Run, status: int, start: int) -> str:
    """Returns the exit status and the last lines of this attempt's log, on one line."""
    with open(run.workdir / LOG, "rb") as log:
        log.seek(max(start, os.fstat(log.fileno()).st_size - 8192))
        lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    last = " ".join([line for line in lines if line][-_LINES_KEPT:])
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"ended with {how}: {last or 'it printed nothing'}"
