"""Gathers what a run has left in its workdir into a report."""

import datetime
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from vlp_jax import __version__
from vlp_jax.config import ExperimentConfig
from vlp_jax.report.content import Curve, Report
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.naming import metric_chances, metric_titles
from vlp_jax.tasks.outcome import Outcome
from vlp_jax.training.accounts import spent
from vlp_jax.training.row_file import read_rows


def make_report(
    workdir: Path, config: ExperimentConfig, outcome: Outcome, params: Any, figures: dict
) -> Report:
    """Returns the report of a run: its figures, learning curves, examples and failures."""
    count = sum(x.size for x in jax.tree.leaves(params))
    model, tasks = config.model, build_tasks(config)
    facts = {
        "Model": f"{model.vision} + {model.text} + {model.fusion}, {count / 1e6:.1f} M parameters",
        "Tasks": ", ".join(config.tasks),
        "Data": config.data.source.replace("::", " and "),
        "Steps": f"{config.training.steps} × {config.data.batch_size} examples",
    }
    if "seconds" in figures:
        facts["Time"] = f"{figures['seconds'] / 60:.1f} min, installation not counted"
    if "data_wait_share" in figures:
        facts["Waiting for data"] = f"{figures['data_wait_share']:.1%} of stepping time"
    if outcome.figures.get("skipped_records"):
        facts["Records skipped"] = str(outcome.figures["skipped_records"])
    facts["Made"] = f"{datetime.date.today()} by vlp_jax {__version__}{_commit()}"
    return Report(
        title=f"Run “{config.name}”",
        intro="What this model learned, beside chance "
        "and beside the best guess that sees no image.",
        facts=facts,
        rows=outcome.rows,
        curves=learning_curves(workdir, metric_titles(tasks), metric_chances(tasks, config)),
        retrieval=outcome.retrieval,
        heat_maps=outcome.heat_maps,
        answers=outcome.answers,
        failures=outcome.failures,
        spent=spent(figures) if "run_seconds" in figures else {},
        warnings=figures.get("warnings", ()),
        attribution=sorted(set(outcome.attribution)),
        config_text=(workdir / "config.json").read_text(),
    )


def _commit() -> str:
    """Returns ", commit 1a2b3c4" where the package is a checkout of its repository."""
    run = partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True)
    try:
        run(["git", "ls-files", "--error-unmatch", Path(__file__).name], check=True)
        found = run(["git", "describe", "--always", "--dirty", "--exclude=*"], check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f", commit {found.stdout.strip()}"


def learning_curves(
    workdir: Path, titles: Mapping[str, str], chances: Mapping[str, float] | None = None
) -> dict[str, Curve]:
    """Returns the metrics of `metrics.jsonl` that have a title, name → title, in that order.

    `chances` are what guessing reaches, by name.
    """
    rows = read_rows(workdir / "metrics.jsonl")
    curves = {}
    for name, title in titles.items():
        points = [(r["step"], r[name]) for r in rows if r.get(name) is not None]
        if len(points) > 1:
            chance, percent = (chances or {}).get(name), name.endswith("accuracy")
            curves[title] = Curve(*map(list, zip(*points)), chance, percent)
    return curves
