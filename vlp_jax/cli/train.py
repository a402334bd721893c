"""Train an experiment; a workdir that holds a checkpoint resumes.

vlp-jax train --config configs/quickstart.py --workdir runs/quickstart --report
vlp-jax train --config quickstart:smoke --workdir runs/a --config.training.steps=8

exit status:
  0   done
  1   a mistake in config, data or workdir, said in one line
  2   an unknown argument
  3   diverged: loss, gradient or update was not finite in config.training.nan_patience steps
  4   the data gave no further batch after the run had begun
  5   another process of the run was lost: start the same command everywhere again
  6   out of memory, with what to change
  7   a step hung, with what each thread was doing, see config.training.hang_seconds
  75  stopped by SIGTERM or Ctrl-C after saving: the same command goes on
"""

import argparse
import json
import os
import sys
import traceback

from vlp_jax.cli.arguments import add_config
from vlp_jax.cli.output import written

DIVERGED, DATA_ENDED, LOST_PEER, OUT_OF_MEMORY = 3, 4, 5, 6  # HANG is with the watchdog
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_config(parser)
    parser.add_argument("--workdir", required=True, help="where the run is kept")
    parser.add_argument(
        "--report", action="store_true", help="evaluate at the end and write report.html"
    )
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="where the newest checkpoint is damaged, go on from the newest undamaged one",
    )
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Trains and returns the exit status, see the top of this file."""
    import time

    from vlp_jax.training.clock import Clock

    started, clock = time.perf_counter(), Clock()
    import jax

    from vlp_jax.config import load_config
    from vlp_jax.data.paths import run_path
    from vlp_jax.parallel import LostPeerError, initialize_distributed
    from vlp_jax.training.loop import DataError, NonFiniteError, train
    from vlp_jax.training.out_of_memory import OutOfMemoryError

    failures = {NonFiniteError: DIVERGED, DataError: DATA_ENDED, OutOfMemoryError: OUT_OF_MEMORY}
    workdir = run_path(args.workdir, "--workdir")
    config = load_config(args.config, args.overrides)
    initialize_distributed()
    try:
        result = train(config, workdir, _evaluator(), args.allow_older, clock)
    except tuple(failures) as error:
        print(f"vlp-jax train: {error}", file=sys.stderr)
        return failures[type(error)]
    except LostPeerError as error:
        _leave(error)
    timing = result.timing() | {"seconds": clock.total()}
    if jax.process_index() == 0:
        path, text = workdir / "timing.json", json.dumps(timing, indent=2) + "\n"
        written("train", path, lambda: path.write_text(text))
    if result.interrupted_by:
        return STOPPED
    if args.report:
        from vlp_jax.cli.evaluate import report

        report(workdir, since=started)
    return 0


def _leave(error: Exception) -> None:
    """Ends this process at once: leaving in order would wait for the lost one, and then abort."""
    print(f"vlp-jax train: {error}\n", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LOST_PEER)


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
