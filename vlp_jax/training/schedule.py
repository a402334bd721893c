"""Which objectives a step trains: all of them, or one task drawn at random (UNITER)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from vlp_jax.config import TrainingConfig, nearest

Task = tuple[str, ...]
"""The names of the objectives that are trained in one step."""


@dataclass(frozen=True)
class Schedule:
    """The tasks that each source can feed, with their weights.

    The task of a step depends on (seed, step) and on the source of the step's batch alone, so that
    every host and every resumed run trains the same. Source: UNITER `data/loader.py`.
    """

    tasks: Mapping[str, Mapping[Task, float]]
    seed: int = 0

    def task(self, step: int, source: str) -> Task:
        """Returns the task of a step whose batch comes from `source`."""
        tasks = self.tasks[source]
        if len(tasks) == 1:
            return next(iter(tasks))
        edges = np.cumsum(list(tasks.values()))
        # The last number keeps this stream apart from those that the data draw from.
        draw = np.random.default_rng((self.seed, step, 0, 3)).random() * edges[-1]
        return list(tasks)[int(np.searchsorted(edges[:-1], draw, side="right"))]

    @property
    def every_task(self) -> tuple[Task, ...]:
        """Each task once, whichever sources feed it."""
        return tuple(dict.fromkeys(task for tasks in self.tasks.values() for task in tasks))


def make_schedule(
    training: TrainingConfig, objectives: Mapping[str, Mapping], seed: int
) -> Schedule:
    """Returns the schedule for the objectives (by source, by name) that the data can feed.

    Of a task whose objectives a source feeds in part, that part is trained there. ValueError for a
    `mix` that is not read, and for a source that feeds no task.
    """
    names = tuple(dict.fromkeys(name for chosen in objectives.values() for name in chosen))
    if training.schedule == "all":
        if training.mix:
            raise ValueError(
                'config.training.mix is read by config.training.schedule = "sampled" only, and the '
                'schedule is "all"'
            )
        return Schedule({source: {tuple(chosen): 1.0} for source, chosen in objectives.items()})
    mix = training.mix or {name: 1.0 for name in names}
    return Schedule(
        {source: _fed(mix, chosen, source) for source, chosen in objectives.items()}, seed
    )


def check_mix(training: TrainingConfig, names: tuple[str, ...]) -> None:
    """Raises ValueError unless `mix` names the objectives of the config, all and no others."""
    named = [name for key in training.mix for name in key.split("+")]
    for name in named:
        if name not in names:
            raise ValueError(
                f"config.training.mix: there is no config.objectives.{name}.{nearest(name, names)} "
                f'Known: {", ".join(names)}; objectives of one task are joined by "+"'
            )
    left_out = [name for name in names if name not in named]
    if training.mix and left_out:
        raise ValueError(
            f"config.training.mix leaves out {', '.join(left_out)}: give a weight, or take the "
            "objective out of config.objectives"
        )
    for key, weight in training.mix.items():
        if not weight > 0:
            raise ValueError(f"config.training.mix.{key} = {weight}: must be above 0")


def cut_mix(mix: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    """Returns a `mix` without the objectives that are not among `names`."""
    cut: dict[str, float] = {}
    for key, weight in mix.items():
        kept = "+".join(name for name in key.split("+") if name in names)
        if kept:
            cut[kept] = cut.get(kept, 0.0) + weight
    return cut


def _fed(mix: Mapping[str, float], chosen: Collection[str], source: str) -> dict[Task, float]:
    """Returns the tasks of `mix`, each cut down to the objectives that a source feeds."""
    tasks = {tuple(key.split("+")): weight for key, weight in cut_mix(mix, chosen).items()}
    if not tasks:
        raise ValueError(f"no task of config.training.mix can use source {source}")
    return tasks
