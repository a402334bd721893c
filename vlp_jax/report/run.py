"""Gathers what a run has left in its workdir into a report."""

import json
from pathlib import Path
from typing import Any

import jax

from vlp_jax.config import ExperimentConfig
from vlp_jax.evaluation.context import Outcome
from vlp_jax.tasks.outcome import Curve, Report

_CURVES = {
    "itc_loss": "Contrastive loss (ITC)",
    "itm_loss": "Matching loss (ITM)",
    "mlm_loss": "Masked words loss (MLM)",
    "vqa_loss": "Answer loss (VQA)",
    "itm_accuracy": "Matching accuracy",
    "mlm_accuracy": "Masked words accuracy",
    "vqa_accuracy": "Answer accuracy",
    "itc_accuracy": "In-batch retrieval accuracy",
}


def make_report(
    workdir: Path, config: ExperimentConfig, outcome: Outcome, params: Any, figures: dict
) -> Report:
    """Returns the report of a run: its figures, learning curves, examples and failures."""
    count = sum(x.size for x in jax.tree.leaves(params))
    model = config.model
    facts = {
        "Model": f"{model.vision} + {model.text} + {model.fusion}, {count / 1e6:.1f} M parameters",
        "Objectives": ", ".join(config.objectives),
        "Data": config.data.source.replace("::", " and "),
        "Steps": f"{config.training.steps} × {config.data.batch_size} examples",
    }
    if "seconds" in figures:
        facts["Time"] = f"{figures['seconds'] / 60:.1f} min, installation not counted"
    if "data_wait_share" in figures:
        facts["Waiting for data"] = f"{figures['data_wait_share']:.1%} of stepping time"
    if outcome.figures.get("skipped_records"):
        facts["Records skipped"] = str(outcome.figures["skipped_records"])
    return Report(
        title=f"Run “{config.name}”",
        intro="What this model learned, beside chance "
        "and beside the best guess that sees no image.",
        facts=facts,
        rows=outcome.rows,
        curves=learning_curves(workdir),
        retrieval=outcome.retrieval,
        heat_maps=outcome.heat_maps,
        answers=outcome.answers,
        failures=outcome.failures,
        warnings=figures.get("warnings", ()),
        attribution=sorted(set(outcome.attribution)),
        config_text=(workdir / "config.json").read_text(),
    )


def learning_curves(workdir: Path) -> dict[str, Curve]:
    """Returns the losses and accuracies of `metrics.jsonl` that the report shows."""
    rows = _rows(workdir / "metrics.jsonl")
    curves = {}
    for name, title in _CURVES.items():
        points = [(r["step"], r[name]) for r in rows if r.get(name) is not None]
        if len(points) > 1:
            curves[title] = Curve(*map(list, zip(*points)), percent=name.endswith("accuracy"))
    return curves


def _rows(path: Path) -> list[dict]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]  # a killed run cuts its last
