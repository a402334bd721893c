"""Runs the evaluation tasks of an experiment on a model."""

import logging

from vlp_jax.config import ExperimentConfig, checked_fields
from vlp_jax.data.assemble import Vocabulary

# They register themselves.
from vlp_jax.evaluation import (  # noqa: F401
    generative_vqa,
    matching_task,
    retrieval_task,
    text_tasks,
)
from vlp_jax.evaluation.context import TASKS, Context, Outcome
from vlp_jax.model.bound import Bound
from vlp_jax.report.summary import in_groups

logger = logging.getLogger(__name__)


def evaluate(
    config: ExperimentConfig, vocabulary: Vocabulary, bound: Bound, names: tuple[str, ...] = ()
) -> Outcome:
    """Returns the merged outcome of the tasks in `config.evaluation.tasks` (or of `names`).

    A task whose source is not part of the experiment, or gives no captions or questions where it
    needs them, is left out with a warning. Raises ValueError for unknown tasks and arguments.
    """
    context = Context(config, vocabulary, bound)
    outcome = Outcome()
    for name, task in build_tasks(config, names).items():
        reason = _cannot_run(context, task)
        if reason:
            logger.warning("evaluation task %s is left out: %s", name, reason)
        else:
            outcome.merge(task(context, name))
    outcome.rows = in_groups(outcome.rows)
    outcome.figures["skipped_records"] = context.skipped_total
    return outcome


def build_tasks(config: ExperimentConfig, names: tuple[str, ...] = ()) -> dict:
    """Returns the tasks as frozen dataclasses, by name."""
    tasks = {}
    for name in names or config.evaluation.tasks:
        path = f"config.evaluation.tasks.{name}"
        args = dict(config.evaluation.tasks.get(name, {}))
        cls = TASKS.get_known(args.pop("kind", name), path)
        tasks[name] = cls(**checked_fields(cls, args, path))
    return tasks


def _cannot_run(context: Context, task) -> str | None:
    data = context.config.data
    named = [name for name, args in data.source_args.items() if "kind" in args]
    if task.source and task.source not in (*data.sources, *named):
        return (
            f'its source "{task.source}" is not in config.data.source = "{data.source}", nor a '
            "name of config.data.source_args that gives a kind"
        )
    missing = [h for h in task.heads if h not in context.bound.model.heads]
    if missing:
        return f"the model has no head {', '.join(missing)}"
    given = context.source(task.source, task.split).provides
    lacks = sorted(need for need in task.needs if not given & set(need.split("|")))
    return f"its source gives no {', '.join(lacks).replace('|', ' or ')}" if lacks else None
