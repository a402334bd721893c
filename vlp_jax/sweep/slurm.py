"""A sweep as a SLURM job array: one task a run."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from vlp_jax.sweep.plan import Plan

# Given twice, sbatch takes the last; these are the sweep's own.
_OWN = ("array", "output", "job-name", "signal", "open-mode", "chdir")


def sbatch_script(
    plan: Plan, command: Sequence[str], directives: Sequence[str], folder: Path
) -> str:
    """Returns a batch script whose tasks run `command --index N`, in `folder`.

    `directives` are sbatch's options without dashes, such as "gres=gpu:1" or "exclusive". A task
    gets SIGTERM two minutes before its time is over; its run saves a checkpoint, and the same
    script submitted again goes on from there. Raises ValueError for directives that are none.
    """
    for text in directives:
        _check(text)
    lines = [
        f"job-name={shlex.quote(plan.out.name or 'sweep')}",
        f"array=0-{len(plan.runs) - 1}",
        f"output={shlex.quote(f'{plan.out}/slurm-%A_%a.log')}",
        "open-mode=append",
        "signal=B:TERM@120",
        f"chdir={shlex.quote(str(folder))}",
        *directives,
    ]
    head = "\n".join(f"#SBATCH --{line}" for line in lines)
    # exec, because sbatch sends the signal to the script's own process alone.
    task = f'exec {shlex.join(command)} --index "$SLURM_ARRAY_TASK_ID"'
    return f"#!/usr/bin/env bash\n{head}\nset -euo pipefail\n{task}\n"


def _check(directive: str) -> None:
    name = directive.partition("=")[0]
    if not re.fullmatch(r"[a-z][a-z-]*(=\S+)?", directive):
        raise ValueError(
            f'--slurm "{directive}": expected an sbatch option without dashes, such as gres=gpu:1'
        )
    if name in _OWN:
        raise ValueError(f'--slurm "{directive}": the sweep sets --{name} itself')
