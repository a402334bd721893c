"""Train an experiment; a workdir that holds a checkpoint resumes."""

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.add_argument("--config", required=True, help="FILE.py, FILE.py:argument or config.json")
    parser.add_argument("--workdir", required=True, help="where the run is kept")
    parser.add_argument(
        "--report", action="store_true", help="evaluate at the end and write report.html"
    )
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Trains and returns the exit status: 3 if the run diverged, 0 if done or interrupted."""
    import time

    started = time.perf_counter()
    import jax

    from vlp_jax.config import load_config
    from vlp_jax.parallel import initialize_distributed
    from vlp_jax.training.loop import NonFiniteError, train

    config = load_config(args.config, args.overrides)
    initialize_distributed()
    try:
        result = train(config, args.workdir, _evaluator())
    except NonFiniteError as error:
        print(f"vlp-jax train: {error}", file=sys.stderr)
        return 3
    timing = result.timing() | {"seconds": time.perf_counter() - started}
    if jax.process_index() == 0:
        (Path(args.workdir) / "timing.json").write_text(json.dumps(timing, indent=2) + "\n")
    if args.report and not result.interrupted_by:
        from vlp_jax.cli.evaluate import report

        report(args.workdir, since=started)
    return 0


def _evaluator():
    from vlp_jax.model import Forward
    from vlp_jax.tasks import evaluate

    kept = []  # one model for all evaluations of a run, so that it is compiled once

    def figures(experiment, params) -> dict[str, float]:
        kept[:] = kept or [Forward(experiment.model, params)]
        kept[0].params = params
        found = evaluate(experiment.config, experiment.vocabulary, kept[0]).figures
        kept[0].params = None  # a copy, with several processes; it must not stay in memory
        return {k: v for k, v in found.items() if isinstance(v, float)}

    return figures
