"""Looks for the largest batch, or the least recomputation, that a slice has room for."""

import math
from collections.abc import Callable, Iterator

from vlp_jax.cli.measure.preflight import compiled_steps, make_plan
from vlp_jax.config import ExperimentConfig, replace
from vlp_jax.parallel.rules import BATCH_AXES, split_ways
from vlp_jax.parallel.topology import Slices

REMAT_ORDER = ("none", "cheap", "dots", "full")
"""What the backward pass computes again, from nothing to everything."""

KINDS = ("batch", "remat")

Fits = Callable[[int | str], bool]


def searched(
    config: ExperimentConfig, where: Slices, kind: str, say: Callable[[str], None]
) -> tuple[str, int | str | None]:
    """Returns the field of the config that was tried in several values, and the one that is best.

    None where none fits. `say` is given a line for each value that was compiled.
    """
    field = {"batch": "data.batch_size", "remat": "training.remat"}[kind]

    def fits(value: int | str) -> bool:
        refused = list(_refusals(replace(config, field, value), where))
        say(f"config.{field} = {value}: {'; '.join(refused) or 'fits'}")
        return not refused

    if kind == "remat":
        return field, next(filter(fits, REMAT_ORDER), None)
    mesh = make_plan(config, where.devices).experiment.mesh
    step = math.lcm(split_ways(BATCH_AXES, mesh), config.training.accumulate)
    return field, largest_batch(fits, config.data.batch_size, step) or None


def largest_batch(fits: Callable[[int], bool], start: int, step: int) -> int:
    """Returns the largest multiple of `step` that fits, to a third of itself; 0 if none does.

    It doubles, or halves, from `start`, and in the end tries half as much again.
    """
    size = max(start // step, 1) * step
    if fits(size):
        while fits(2 * size):
            size *= 2
    else:
        while size > step:
            size = max(size // 2 // step, 1) * step
            if fits(size):
                break
        else:
            return 0
    middle = size * 3 // 2 // step * step
    return middle if middle > size and fits(middle) else size


def _refusals(config: ExperimentConfig, where: Slices) -> Iterator[str]:
    plan = make_plan(config, where.devices)
    for program in compiled_steps(plan.experiment, where):
        if program.refused:
            yield program.refused
            return
