"""Runs configs × overrides × seeds and puts their figures into one table and one plot.

  python launch/sweep.py --config configs/quickstart.py --seeds 0 1 2 --out runs/fusions \\
      --override model.fusion=cross_attention \\
      --override model.fusion=co_attention \\
      --figures i2t_r1 scene_vqa_accuracy

Each --override is one variant of every config, made of one or more settings; --override alone is
the config as it is. Runs that are done are skipped and broken ones go on, so the same command may
be given again. A run that fails is reported and the others go on; the exit status is then 1, and
130 if a signal has stopped the sweep. See docs/sweep.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vlp_jax.sweep import Plan, Stopped, execute, make_plan, progress, summarise
from vlp_jax.sweep.plot import write_plot
from vlp_jax.sweep.slurm import sbatch_script
from vlp_jax.sweep.table import comma_separated, markdown


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep that the command line describes and returns the exit status."""
    args = parser().parse_args(argv)
    try:
        plan = make_plan(args.config, args.override, args.set, args.seeds, args.out)
        if args.slurm is not None:
            return write_array(plan, args)
        if args.index is not None:
            return run([plan.only(args.index)])
        status = 0 if args.summarise else run(plan.runs)
        return write_tables(plan, args.figures) or status
    except (ValueError, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    result = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--config", nargs="+", required=True, metavar="FILE", help="FILE.py or FILE.py:argument")
    add("--override", nargs="*", action="append", default=[], metavar="A.B=C", help="a variant")
    add("--set", nargs="+", default=[], metavar="A.B=C", help="settings of all runs")
    add("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    add("--out", required=True, metavar="FOLDER", help="where runs, table and plot are kept")
    add(
        "--figures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names in summary.json; by default those with a chance level",
    )
    mode = result.add_mutually_exclusive_group()
    mode.add_argument("--summarise", action="store_true", help="only write table and plot")
    mode.add_argument("--index", type=int, metavar="N", help="only make the N-th run, from 0")
    mode.add_argument(
        "--slurm",
        nargs="*",
        metavar="OPTION",
        help="only write a job array; options go to sbatch: gres=gpu:1 time=4:00:00",
    )
    return result


def run(runs: Sequence) -> int:
    """Makes the runs that are not done; returns 0, or 130 if a signal has stopped them."""
    try:
        execute(runs, lambda line: print(line, flush=True))
    except Stopped as stop:
        print(f"sweep: {stop}", file=sys.stderr)
        return 130
    return 0 if all(progress(r).figures is not None for r in runs) else 1


def write_tables(plan: Plan, figures: Sequence[str]) -> int:
    """Writes table and plot of what is there; returns 1 if a run or a figure is missing."""
    summary = summarise([progress(r) for r in plan.runs], figures)
    plan.out.mkdir(parents=True, exist_ok=True)
    text = markdown(summary)
    (plan.out / "table.md").write_text(text)
    (plan.out / "table.csv").write_text(comma_separated(summary))
    plotted = write_plot(summary, plan.out / "plot.png")
    files = ["table.md", "table.csv", *["plot.png"] * plotted]
    print(f"\n{text}\n{plan.out}: {', '.join(files)}")
    for message in summary.unknown:
        print(f"sweep: {message}", file=sys.stderr)
    return 1 if summary.incomplete or summary.unknown else 0


def write_array(plan: Plan, args: argparse.Namespace) -> int:
    """Writes the job array beside the runs and says how to submit it."""
    command = [sys.executable, str(Path(__file__).resolve()), *words(args)]
    path = plan.out / "sweep.sbatch"
    script = sbatch_script(plan, command, args.slurm, Path.cwd())
    plan.out.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    print(f"{script}\nsubmit: sbatch {path}\nthen:   the same command, --summarise for --slurm …")
    return 0


def words(args: argparse.Namespace) -> list[str]:
    """Returns the command line that describes the same sweep, without a mode."""
    variants = [word for variant in args.override for word in ("--override", *variant)]
    common = ["--set", *args.set] if args.set else []
    seeds = ["--seeds", *map(str, args.seeds)]
    return ["--config", *args.config, *variants, *common, *seeds, "--out", args.out]


if __name__ == "__main__":
    sys.exit(main())
