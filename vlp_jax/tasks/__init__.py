"""Tasks: one file for each thing that a model is asked to do or to learn."""

from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.build import build_tasks
from vlp_jax.tasks.evaluation import Evaluation, Run, evaluate
from vlp_jax.tasks.outcome import Outcome, TableRow

from vlp_jax.tasks import (  # isort: skip  (they register themselves)
    alignment,
    answers,
    captioning,
    contrast,
    decisions,
    entailment,
    gqa,
    grounding,
    masked_regions,
    masked_text,
    matching,
    multiple_choice,
    near_miss,
    pairs,
    ranking,
    reasoning,
    referring,
    region_labels,
    retrieval,
    written_answers,
)

__all__ = [
    "TASKS",
    "Evaluation",
    "HeadNeed",
    "Outcome",
    "Result",
    "Run",
    "Step",
    "TableRow",
    "Task",
    "alignment",
    "answers",
    "build_tasks",
    "captioning",
    "contrast",
    "decisions",
    "entailment",
    "evaluate",
    "gqa",
    "grounding",
    "masked_regions",
    "masked_text",
    "matching",
    "multiple_choice",
    "near_miss",
    "pairs",
    "ranking",
    "reasoning",
    "referring",
    "region_labels",
    "retrieval",
    "written_answers",
]
