"""Which tasks a step trains: all of them, or one group drawn at random (UNITER)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from vlp_jax.config import TrainingConfig, nearest

Group = tuple[str, ...]
"""The names of the tasks that are trained in one step."""


@dataclass(frozen=True)
class Schedule:
    """The groups of tasks that each source can feed, with their weights.

    The group of a step depends on (seed, step) and on the source of the step's batch alone, so that
    every host and every resumed run trains the same. Source: UNITER `data/loader.py`.
    """

    groups: Mapping[str, Mapping[Group, float]]
    seed: int = 0

    def group(self, step: int, source: str) -> Group:
        """Returns the tasks of a step whose batch comes from `source`."""
        groups = self.groups[source]
        if len(groups) == 1:
            return next(iter(groups))
        edges = np.cumsum(list(groups.values()))
        # The last number keeps this stream apart from those that the data draw from.
        draw = np.random.default_rng((self.seed, step, 0, 3)).random() * edges[-1]
        return list(groups)[int(np.searchsorted(edges[:-1], draw, side="right"))]

    @property
    def every_group(self) -> tuple[Group, ...]:
        """Each group once, whichever sources feed it."""
        return tuple(dict.fromkeys(group for groups in self.groups.values() for group in groups))


def make_schedule(training: TrainingConfig, tasks: Mapping[str, Mapping], seed: int) -> Schedule:
    """Returns the schedule for the tasks (by source, by name) that the data can feed.

    Of a group whose tasks a source feeds in part, that part is trained there. ValueError for a
    `mix` that is not read, and for a source that feeds no group.
    """
    names = tuple(dict.fromkeys(name for chosen in tasks.values() for name in chosen))
    if training.schedule == "all":
        if training.mix:
            raise ValueError(
                'config.training.mix is read by config.training.schedule = "sampled" only, and the '
                'schedule is "all"'
            )
        return Schedule({source: {tuple(chosen): 1.0} for source, chosen in tasks.items()})
    mix = training.mix or {name: 1.0 for name in names}
    return Schedule({source: _fed(mix, chosen, source) for source, chosen in tasks.items()}, seed)


def check_mix(training: TrainingConfig, names: tuple[str, ...]) -> None:
    """Raises ValueError unless `mix` names the tasks that train, all and no others."""
    named = [name for key in training.mix for name in key.split("+")]
    for name in named:
        if name not in names:
            raise ValueError(
                f"config.training.mix: there is no config.tasks.{name} that trains."
                f"{nearest(name, names)} "
                f'Known: {", ".join(names)}; tasks of one step are joined by "+"'
            )
    left_out = [name for name in names if name not in named]
    if training.mix and left_out:
        raise ValueError(
            f"config.training.mix leaves out {', '.join(left_out)}: give a weight, or switch "
            "the task off: config.tasks.<name> = None"
        )


def cut_mix(mix: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    """Returns a `mix` without the tasks that are not among `names`."""
    cut: dict[str, float] = {}
    for key, weight in mix.items():
        kept = "+".join(name for name in key.split("+") if name in names)
        if kept:
            cut[kept] = cut.get(kept, 0.0) + weight
    return cut


def _fed(mix: Mapping[str, float], chosen: Collection[str], source: str) -> dict[Group, float]:
    """Returns the groups of `mix`, each cut down to the tasks that a source feeds."""
    groups = {tuple(key.split("+")): weight for key, weight in cut_mix(mix, chosen).items()}
    if not groups:
        raise ValueError(f"no task of config.training.mix can use source {source}")
    return groups
