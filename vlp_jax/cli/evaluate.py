"""Evaluate a run's newest checkpoint: a table, summary.json and report.html in its workdir."""

import argparse
import json
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.add_argument("--workdir", required=True, help="a run of `vlp-jax train`")
    parser.add_argument("--step", type=int, help="which checkpoint; the newest by default")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="a plug-in that the run uses"
    )
    parser.add_argument("--teacher", action="store_true", help="evaluate the momentum teacher")


def run(args: argparse.Namespace) -> int:
    """Evaluates and returns the exit status."""
    from vlp_jax.tasks import load_plugins

    load_plugins(args.plugin)
    report(args.workdir, args.step, "teacher" if args.teacher else "params")
    return 0


def report(
    workdir: str, step: int | None = None, which: str = "params", since: float | None = None
) -> None:
    """Runs all evaluation tasks on a checkpoint and writes and prints what came out.

    Of several processes all evaluate, because all read the checkpoint, and the first writes.
    `since` is the `time.perf_counter()` at which the whole command began.
    """
    import jax

    from vlp_jax.model import Forward, build_model
    from vlp_jax.report.page import write_report
    from vlp_jax.report.run import make_report
    from vlp_jax.report.summary import write_summary
    from vlp_jax.report.table import print_table
    from vlp_jax.tasks import check_plugins, evaluate
    from vlp_jax.training.checkpoint import read_run

    folder = Path(workdir)
    config, vocabulary, params = read_run(folder, step, which)
    check_plugins(config)
    forward = Forward(build_model(config.model, config.training.dtype), params)
    started = time.perf_counter()
    outcome = evaluate(config, vocabulary, forward)
    if jax.process_index() > 0:
        return
    timing = _timing(folder)
    timing["evaluation_seconds"] = time.perf_counter() - started
    if since is not None:
        timing["seconds"] = time.perf_counter() - since
    figures = write_summary(folder / "summary.json", outcome.figures | timing)
    write_report(folder / "report.html", make_report(folder, config, outcome, params, figures))
    print_table(outcome.rows)
    print(f"report: {folder / 'report.html'}   figures: {folder / 'summary.json'}")


def _timing(folder: Path) -> dict:
    path = folder / "timing.json"
    return json.loads(path.read_text()) if path.exists() else {}
