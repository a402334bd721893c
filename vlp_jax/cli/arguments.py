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
    add(
        "--detector",
        nargs="+",
        metavar=("NAME[:CONVENTION]", "WEIGHTS"),
        help="finds the regions of pictures, for models that read those: frcnn_vg or vinvl_x152c4 "
        "with its file, or the workdir of a run that trained one",
    )


def add_regions(parser: argparse.ArgumentParser) -> None:
    """Adds how files of regions, and their tags, are read."""
    add = parser.add_argument
    add("--store", default="", help="format of the files of --regions, if it is not clear")
    add("--tags", help="object tags, joined by ; (OSCAR; by default the regions' names)")


def check_store(args: argparse.Namespace) -> None:
    """Raises ValueError for the format of regions that are not given."""
    if args.store and not args.regions:
        raise ValueError("--store is the format of --regions: give those as well")


def load_model(args: argparse.Namespace) -> Any:
    """Returns the model that the arguments name, ready for use."""
    from vlp_jax.inference import load

    options = {"tokenizer": args.tokenizer, "answers": args.answers or ()}
    if args.detector:
        options["detector"] = _load_detector(*args.detector)
    return load(args.model, args.weights, sizes=read_sizes(args.sizes), **options)


def _load_detector(name: str, weights: str | None = None, *more: str) -> Any:
    """Returns the detector that `--detector` names: a published one with its file, or a run's."""
    from vlp_jax.inference import load_detector

    if more:
        raise ValueError(f"--detector takes a name and a file, not also {' '.join(more)}")
    if weights is None:
        return load_detector(name)
    name, _, convention = name.partition(":")
    return load_detector(name, weights, convention=convention)


def read_sizes(file: str | None) -> dict[str, Any]:
    """Returns the entries in the file of `--sizes`; none without a file."""
    from vlp_jax.data.json_text import read_object

    return {} if file is None else read_object(file, "--sizes")


def read_regions(names: list[str], kind: str) -> list[Any]:
    """Returns the regions of each FILE[:KEY]; a file is opened once."""
    from vlp_jax.inference.region_inputs import only_picture, open_features

    stores: dict[str, Any] = {}
    found = []
    for name in names:
        path, colon, key = name.rpartition(":")
        if not colon or Path(name).exists():
            found.append(only_picture(name, kind))
            continue
        if path not in stores:
            stores[path] = open_features(path, kind)
        found.append(stores[path][key])
    return found
