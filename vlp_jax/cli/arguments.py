"""Arguments that several verbs share: an experiment's config, and a trained model."""

import argparse
from pathlib import Path
from typing import Any


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds `--config`, which `load_config` reads."""
    parser.add_argument(
        "--config",
        required=True,
        help="FILE.py or a name of `vlp-jax models --configs`, perhaps :argument; or config.json",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `load_model` reads."""
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="a run's workdir, an exported or Hugging Face directory, or a preset",
    )
    add("--weights", help="the file with a preset's weights")
    add("--sizes", help="JSON with entries of the published config that differ from the preset's")
    add("--tokenizer", help="vocab.txt or tokenizer directory that the weights were trained with")
    add("--answers", help="file with the answers of the head, in order")


def load_model(args: argparse.Namespace) -> Any:
    """Returns the model that the arguments name, ready for use."""
    from vlp_jax.inference import load

    options = {"tokenizer": args.tokenizer, "answers": args.answers or ()}
    return load(args.model, args.weights, sizes=read_sizes(args.sizes), **options)


def read_sizes(file: str | None) -> dict[str, Any]:
    """Returns the entries in the file of `--sizes`; none without a file."""
    from vlp_jax.data.json_text import read_object

    return read_object(Path(file), f'--sizes "{file}"') if file else {}
