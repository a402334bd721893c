"""From `config.tasks` to tasks: by name, with settings checked."""

from collections.abc import Mapping, Set

from vlp_jax.config import ExperimentConfig, checked_fields, nearest
from vlp_jax.tasks.base import TASKS, Task


def build_tasks(config: ExperimentConfig) -> dict[str, Task]:
    """Returns the tasks of an experiment; those set to None are off.

    Raises ValueError for unknown tasks and settings, with the path and the nearest valid name.
    """
    tasks = {name: _build(name, args) for name, args in config.tasks.items() if args is not None}
    if not tasks:
        raise ValueError(f"config.tasks is empty. Known tasks: {', '.join(sorted(TASKS))}")
    for name, task in tasks.items():
        _check_sources(f"config.tasks.{name}.sources", task, config.data.sources)
        task.check(f"config.tasks.{name}", config, tasks)
    return tasks


def _check_sources(path: str, task: Task, known: tuple[str, ...]) -> None:
    for name in task.sources:
        if name not in known:
            raise ValueError(
                f'{path}: "{name}" is not in config.data.source.{nearest(name, known)} '
                f"Known: {', '.join(known)}"
            )


def _build(name: str, args: Mapping) -> Task:
    path, args = f"config.tasks.{name}", dict(args)
    cls = TASKS.get_known(args.pop("kind", name), path)
    values = checked_fields(cls, args, path)
    try:
        task = cls(**values)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None
    if not isinstance(task.reads, Set):
        raise ValueError(f"{path}: reads is {task.reads!r}, expected a set of batch fields")
    return task
