"""Time train steps and inference, beside the same models in torch if asked to.

vlp-jax bench                                   every model of the zoo's pre-training, half as wide
vlp-jax bench albef lxmert --against torch      the same architecture in torch, turn by turn
vlp-jax bench albef --size base --dtype bfloat16 --batch 128 --json albef.json
vlp-jax bench frcnn_vg --against torch          a region detector, in full, on one picture
vlp-jax bench --config configs/quickstart.py    any experiment
vlp-jax bench --contrastive 65536               the contrastive loss alone
"""

import argparse
import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_jax.cli.output import written

if TYPE_CHECKING:
    from vlp_jax.cli.measure.bench import Timed

# What a call has where the arguments do not say: of a model to train, and of a detector.
_MODEL = {"size": "small", "batch": 16}
_DETECTOR = {"size": "base", "batch": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="albef, frcnn_vg, …; by default all that train")
    add("--config", help="an experiment as for `vlp-jax train`, at its own size")
    sizes = "base is as published; by default small, and base for a detector"
    add("--size", choices=("base", "small", "tiny"), help=sizes)
    add("--batch", type=int, help="pairs in a batch, or pictures: by default 16, and 1")
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
        if (given := getattr(args, name)) is not None and given < 1:
            raise ValueError(f"--{name} {given}: must be at least 1")
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

    row = contrastive_row(args.contrastive, args.width, args.dtype, args.steps)
    print_contrastive(row)
    return {"contrastive": dataclasses.asdict(row)}


def _models(args: argparse.Namespace) -> dict:
    from vlp_jax.cli.measure.bench import Rivals, ceilings, rows_of
    from vlp_jax.cli.measure.bench_table import print_rows

    rivals = Rivals(torch=bool(args.against), compiled=args.compile)
    rows, ceiling = [], None
    for timed in _timed(args):
        ceiling = ceiling or ceilings(timed.dtype, rivals, args.steps)
        rows += rows_of(timed, rivals, args.steps, ceiling)
    print_rows(rows)
    return {"ceiling_flops": ceiling, "rows": [dataclasses.asdict(row) for row in rows]}


def _timed(args: argparse.Namespace) -> Iterator["Timed"]:
    """Returns what is timed, made one by one; all names are checked at once."""
    from vlp_jax.cli.measure.bench import TimedExperiment
    from vlp_jax.cli.measure.bench_models import MODELS, experiment_to_time
    from vlp_jax.config import Registry
    from vlp_jax.weights.zoo import DETECTORS

    if args.config:
        experiment = experiment_to_time(args.config, args.overrides)
        return iter([TimedExperiment(experiment.config.name, experiment)])
    known = Registry("model to time")
    known.update({name: _model for name in MODELS} | {name: _detector for name in DETECTORS})
    made = [known.get_known(name)(name, args) for name in args.models or MODELS]
    return (make() for make in made)


def _model(name: str, args: argparse.Namespace) -> Callable[[], "Timed"]:
    from vlp_jax.cli.measure.bench import TimedExperiment
    from vlp_jax.cli.measure.bench_data import on_drawn_data
    from vlp_jax.cli.measure.bench_models import model_to_time

    size, batch = _sizes(args, _MODEL)
    config = model_to_time(name, size, batch, args.dtype, args.overrides)
    return lambda: TimedExperiment(name, on_drawn_data(config), size)


def _detector(name: str, args: argparse.Namespace) -> Callable[[], "Timed"]:
    from vlp_jax.cli.measure.bench_detectors import TimedDetector

    if args.dtype != "float32":
        raise ValueError(f"{name}: detectors compute in float32, not --dtype {args.dtype}")
    if args.overrides:
        raise ValueError(f"{name}: a detector has no config for {args.overrides[0]}")
    return lambda: TimedDetector(name, *_sizes(args, _DETECTOR))


def _sizes(args: argparse.Namespace, usual: Mapping[str, Any]) -> tuple[str, int]:
    return args.size or usual["size"], args.batch or usual["batch"]
