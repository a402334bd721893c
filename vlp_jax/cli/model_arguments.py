"""Arguments of verbs that use a loaded model, and what they stand for."""

import argparse
from pathlib import Path
from typing import Any


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which model it is, and how files of regions and their tags are read."""
    add = parser.add_argument
    add("--model", required=True, help="a run's workdir, a Hugging Face directory, or a preset")
    add("--weights", help="the file with a preset's weights")
    add("--tokenizer", help="vocab.txt or tokenizer directory that the weights were trained with")
    add("--store", default="", help="format of the files of --regions, if it is not clear")
    add("--tags", help="object tags, joined by ; (OSCAR; by default the regions' names)")


def read_regions(names: list[str], kind: str) -> list[Any]:
    """Returns the regions of each FILE[:KEY]; a file is opened once."""
    from vlp_jax.inference.region_inputs import as_regions, open_features

    stores: dict[str, Any] = {}
    found = []
    for name in names:
        path, colon, key = name.rpartition(":")
        if not colon or Path(name).exists():
            found += as_regions(name)
            continue
        if path not in stores:
            stores[path] = open_features(path, kind)
        found.append(stores[path][key])
    return found
