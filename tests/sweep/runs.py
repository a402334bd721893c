"""Sweeps over tiny experiments, and runs that print and write what a test wants, without JAX."""

import json
from pathlib import Path
from typing import Any

from vlp_jax.sweep.plan import Plan, Run, make_plan
from vlp_jax.sweep.states import SUMMARY, record_start

CONFIG = 'def get_config(argument=""):\n    return dict(training=dict(steps=4))\n'


def config_file(path: Path, text: str = CONFIG) -> str:
    """Writes a config file and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def plan_in(folder: Path, seeds=(0, 1), variants=((), ("training.steps=8",))) -> Plan:
    """Returns a sweep over one config."""
    return make_plan([config_file(folder / "a.py")], variants, (), seeds, folder / "out")


def finish(run: Run, **figures: Any) -> None:
    """Leaves a run as one that is done."""
    record_start(run)
    (run.workdir / SUMMARY).write_text(json.dumps(figures))
