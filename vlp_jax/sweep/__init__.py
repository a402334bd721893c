"""Sweeps: many runs of `vlp-jax train`, one after the other or as a SLURM array, in one table."""

from vlp_jax.sweep.figures import Summary, summarise
from vlp_jax.sweep.plan import Plan, Run, make_plan
from vlp_jax.sweep.runner import Stopped, execute
from vlp_jax.sweep.states import Progress, State, progress

__all__ = [
    "Plan",
    "Progress",
    "Run",
    "State",
    "Stopped",
    "Summary",
    "execute",
    "make_plan",
    "progress",
    "summarise",
]
