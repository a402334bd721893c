"""Time train steps and inference, beside the same models in torch if asked to.

vlp-jax bench                                   every model of the zoo's pre-training, half as wide
vlp-jax bench albef lxmert --against torch      the same architecture in torch, turn by turn
vlp-jax bench albef --size base --dtype bfloat16 --batch 128 --json albef.json
vlp-jax bench --config configs/quickstart.py    any experiment
vlp-jax bench --contrastive 65536               the contrastive loss alone
"""

import argparse
import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_jax.cli.output import written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="albef, lxmert, …; by default all")
    add("--config", help="an experiment as for `vlp-jax train`, at its own size")
    add("--size", choices=("base", "small", "tiny"), default="small", help="base is as published")
    add("--batch", type=int, default=16, help="pairs in a batch")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--against", choices=("torch",), help="run the same models in torch, turn by turn")
    add("--compile", action="store_true", help="with --against: by torch.compile as well")
    add("--steps", type=int, default=10, help="turns that are counted")
    add("--contrastive", type=int, metavar="PAIRS", help="time the contrastive loss alone")
    add("--width", type=int, default=768, help="of the vectors of --contrastive")
    add("--json", help="file for all figures")
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Measures, prints a table and writes the figures."""
    _check(args)
    if args.against:  # JAX would take most of a GPU's memory, of which torch needs its part
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from vlp_jax.cli.measure.bench import machine

    found = _contrastive(args) if args.contrastive else _models(args)
    figures = machine() | found
    path = args.json and Path(args.json)
    text = json.dumps(figures, indent=2) + "\n"
    return 0 if not path or written("bench", path, lambda: path.write_text(text)) else 1


def _check(args: argparse.Namespace) -> None:
    for name in ("batch", "steps", "width"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.contrastive is not None and args.contrastive < 2:
        raise ValueError(f"--contrastive {args.contrastive}: must be at least 2 pairs")
    if args.config and args.models:
        raise ValueError(f"give --config or models ({' '.join(args.models)}), not both")
    if args.compile and not args.against:
        raise ValueError("--compile is torch's: give --against torch as well")
    if args.against and args.config:
        raise ValueError("--against torch is for models by name: there is no twin of a config")
    for package in ("torch", "transformers") if args.against else ():
        if importlib.util.find_spec(package) is None:
            raise ValueError(f'--against torch needs {package}: pip install "vlp_jax[torch]"')


def _contrastive(args: argparse.Namespace) -> dict:
    from vlp_jax.cli.measure.bench_contrastive import contrastive_row
    from vlp_jax.cli.measure.bench_table import print_contrastive

    row = contrastive_row(args.contrastive, args.width, args.steps)
    print_contrastive(row)
    return {"contrastive": dataclasses.asdict(row)}


def _models(args: argparse.Namespace) -> dict:
    from vlp_jax.cli.measure.bench import Rivals, ceilings, rows_of
    from vlp_jax.cli.measure.bench_table import print_rows

    rivals = Rivals(torch=bool(args.against), compiled=args.compile)
    experiments = _experiments(args)
    rows, ceiling = [], None
    for name, experiment in experiments:
        dtype = experiment.config.training.dtype
        ceiling = ceiling or ceilings(dtype, rivals, args.steps)
        rows += rows_of(name, experiment, rivals, args.steps, ceiling)
    print_rows(rows)
    return {
        "size": None if args.config else args.size,
        "ceiling_flops": ceiling,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _experiments(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Returns names and experiments, these made one by one; all names are checked at once."""
    from vlp_jax.cli.measure.bench_data import on_drawn_data
    from vlp_jax.cli.measure.bench_models import MODELS, experiment_to_time, model_to_time

    if args.config:
        experiment = experiment_to_time(args.config, args.overrides)
        return iter([(experiment.config.name, experiment)])
    given = args.size, args.batch, args.dtype, args.overrides
    configs = {name: model_to_time(name, *given) for name in args.models or MODELS}
    return ((name, on_drawn_data(config)) for name, config in configs.items())
