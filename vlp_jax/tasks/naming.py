"""What the metrics of tasks are called beside each other, and their curves."""

from collections.abc import Mapping

from vlp_jax.config import ExperimentConfig
from vlp_jax.tasks.base import TASKS, Task


def metric_titles(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Returns the flat names of all metrics that tasks give, each with the title of its curve."""
    titles = {}
    for name, task in tasks.items():
        titles[f"{name}_loss"] = f"{task.title or name} loss"
        for metric, title in task.metrics.items():
            titles[flat_name(name, task, metric)] = title
    return titles


def metric_chances(tasks: Mapping[str, Task], config: ExperimentConfig) -> dict[str, float]:
    """Returns what guessing reaches of the metrics, by their flat names, where tasks say it."""
    return {
        flat_name(name, task, metric): chance
        for name, task in tasks.items()
        for metric, chance in task.chances(config).items()
    }


def flat_name(name: str, task: Task, metric: str) -> str:
    """Returns what a task's metric is called beside those of others.

    That is its own name where the task is called by its kind, as most are. A task with another
    name puts it before, so that there can be several of one kind.
    """
    return metric if isinstance(task, TASKS.get(name, ())) else f"{name}_{metric}"
