"""Evaluate a run's newest checkpoint: a table, summary.json and report.html in its workdir.

vlp-jax evaluate --workdir runs/quickstart
vlp-jax evaluate --workdir runs/quickstart --config.tasks.vqa.evaluate.vqa.limit=100
vlp-jax evaluate --workdir runs/mine --config.data.source=json --config.data.path=other.json
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_jax.cli.output import written

if TYPE_CHECKING:
    from vlp_jax.tasks.outcome import Outcome

# What a checkpoint was trained with; the rest of its config may be overridden.
_FIXED = ("model.", "data.vocabulary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workdir", required=True, help="a run of `vlp-jax train`")
    parser.add_argument("--step", type=int, help="which checkpoint; the newest by default")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="a plug-in that the run uses"
    )
    parser.add_argument("--teacher", action="store_true", help="evaluate the momentum teacher")
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="where that checkpoint is damaged, take the newest undamaged one before it",
    )
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Evaluates and returns the exit status."""
    from vlp_jax.config.plugins import load_plugins

    load_plugins(args.plugin)
    which = "teacher" if args.teacher else "params"
    report(args.workdir, args.step, which, overrides=args.overrides, allow_older=args.allow_older)
    return 0


def report(
    workdir: str | Path,
    step: int | None = None,
    which: str = "params",
    since: float | None = None,
    overrides: Sequence[str] = (),
    allow_older: bool = False,
) -> None:
    """Runs all evaluation tasks on a checkpoint, and prints and writes what came out.

    Of several processes all evaluate, because all read the checkpoint, and the first writes.
    `since` is the `time.perf_counter()` at which the whole command began. `overrides` are of the
    run's config. A file that cannot be written costs no figure: all are printed then.
    """
    import jax

    from vlp_jax.config import with_overrides
    from vlp_jax.config.plugins import check_plugins
    from vlp_jax.data.paths import run_path
    from vlp_jax.model import Forward, build_model
    from vlp_jax.report.run import make_report
    from vlp_jax.report.summary import clean_summary
    from vlp_jax.report.table import print_table
    from vlp_jax.tasks import evaluate
    from vlp_jax.training.checkpoint import read_run

    folder = run_path(workdir, "--workdir")
    _check_overrides(overrides)
    config, vocabulary, params = read_run(folder, step, which, allow_older)
    check_plugins(config)
    config = with_overrides(config, overrides)
    if since is None and not any((args or {}).get("evaluate") for args in config.tasks.values()):
        raise ValueError(
            f'the run in "{folder}" measures nothing: give what to measure, such as '
            "--config.tasks.retrieval.evaluate.mine.limit=512 (docs/tasks.md); a run from before "
            "tasks stood in config.tasks does not say what it measured"
        )
    forward = Forward(build_model(config.model, config.training.dtype), params)
    started = time.perf_counter()
    outcome = evaluate(config, vocabulary, forward)
    if jax.process_index() > 0:
        return
    print_table(outcome.rows)
    timing = _timing(folder / "timing.json")
    timing["evaluation_seconds"] = time.perf_counter() - started
    if since is not None:
        timing["seconds"] = time.perf_counter() - since
    figures = clean_summary(outcome.figures | timing)
    make = lambda: make_report(folder, config, outcome, params, figures)
    _write_all(folder, outcome, figures, make)


def _write_all(folder: Path, outcome: "Outcome", figures: dict, make: Callable) -> None:
    """Writes figures, predictions, pictures and the report that `make` makes."""
    from vlp_jax.report.page import write_report
    from vlp_jax.report.pictures import write_pictures
    from vlp_jax.report.summary import write_summary

    summary, page, pictures = (folder / n for n in ("summary.json", "report.html", "pictures"))
    wrote = partial(written, "evaluate")
    summarised = wrote(summary, lambda: write_summary(summary, figures))
    if not summarised:
        print(json.dumps(figures, indent=2))
    for name, text in outcome.submissions.items():
        if wrote(folder / name, partial((folder / name).write_text, text)):
            print(f"predictions: {folder / name}")
    wrote(pictures, lambda: write_pictures(pictures, outcome))
    if wrote(page, lambda: write_report(page, make())) and summarised:
        print(f"report: {page}   figures: {summary}   pictures to try: {pictures}/")


def _check_overrides(overrides: Sequence[str]) -> None:
    from vlp_jax.config.files import parse_override

    for text in overrides:
        path, _ = parse_override(text)
        if f"{path}.".startswith(_FIXED):
            raise ValueError(
                f"config.{path} cannot be overridden: the checkpoint was trained with what is there"
            )


def _timing(path: Path) -> dict:
    """Returns how long the training took, if its file is there and whole."""
    from vlp_jax.data.json_text import parse_json

    try:
        timing = parse_json(path.read_bytes(), "it") if path.exists() else {}
        if isinstance(timing, dict):
            return timing
        reason = f"it holds {timing!r:.80}"
    except (OSError, ValueError) as error:
        reason = str(error)
    print(f'vlp-jax evaluate: "{path}" is left out: {reason}', file=sys.stderr)
    return {}
