"""Files of a bundle of official metrics: which of their numbers came out of the original codes.

Each function takes the parsed content of one file and returns its outputs as nested mappings, in
the names of the file. Left out are METEOR and what is printed only.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlp_jax.config import Registry

# Name of a file without ".json" -> function from its content to what the originals gave.
METRIC_FILES = Registry("file of metrics")

# Figures that must be whole numbers; the others are compared as floating point.
_COUNTS = ("count", "n")
_CAPTION_SCORES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr", "CIDEr_plain")


def flatten(outputs: Any, name: str) -> dict[str, np.ndarray]:
    """Returns the leaves of nested mappings as arrays, named by their path: "name/key/key"."""
    if isinstance(outputs, Mapping):
        parts = (flatten(value, f"{name}/{key}") for key, value in outputs.items())
        return {key: array for part in parts for key, array in part.items()}
    array = np.asarray(outputs)
    whole = array.dtype.kind in "bUO" or name.rpartition("/")[2] in _COUNTS
    return {name: array if whole else array.astype(np.float64)}


def by_name(runs: list[dict], outputs: Callable[[dict], Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the outputs of each run under its name."""
    return {run["name"]: outputs(run) for run in runs}


@METRIC_FILES.register("vqa")
def vqa(file: dict) -> dict[str, Any]:
    """Accuracy of each question and type, and answers after both steps of normalisation."""
    _, punctuated, normalised = zip(*file["normalization"])
    return {
        "accuracy": [case["accuracy"] for case in file["cases"]],
        "accuracy_percent_2": [case["accuracy_percent_2"] for case in file["cases"]],
        "overall": file["overall"],
        "overall_unrounded": file["overall_unrounded"],
        "after_punctuation": punctuated,
        "after_normalization": normalised,
    }


@METRIC_FILES.register("gqa")
def gqa(file: dict) -> dict[str, Any]:
    """Every figure; those by type as percentage and number of questions."""
    share = lambda value: dict(zip(("percent", "count"), value))
    return by_name(
        file["runs"],
        lambda run: {
            name: {key: share(entry) for key, entry in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in run["scores"].items()
        },
    )


@METRIC_FILES.register("nlvr2")
def nlvr2(file: dict) -> dict[str, Any]:
    """Accuracy and consistency, or that the original refuses the predictions."""
    figures = lambda run: {k: run[k] for k in ("accuracy", "consistency") if k in run}
    return by_name(file["runs"], lambda run: figures(run) or {"refused": True})


@METRIC_FILES.register("retrieval")
def retrieval(file: dict) -> dict[str, Any]:
    """Recalls by three codes, and the ends of what ties allow."""
    ends = lambda run: {k: run[k] for k in run if k.startswith("ties_")}
    return by_name(file["runs"], lambda run: run["official"] | ends(run))


@METRIC_FILES.register("refcoco")
def refcoco(file: dict) -> dict[str, Any]:
    """Overlaps, accuracy of each split, and accuracy of boxes chosen by heat maps."""
    return {
        "iou": [pair["iou"] for pair in file["pairs"]],
        "iou_uniter": [pair["iou_uniter"] for pair in file["pairs"]],
        "accuracy_by_split": file["accuracy_by_split"],
        "heat_map_selection": file["heat_map_selection"]["accuracy_by_alpha"],
    }


@METRIC_FILES.register("vcr")
def vcr(file: dict) -> dict[str, Any]:
    """The three accuracies."""
    return {name: file["official"][name] for name in ("q_to_a", "qa_to_r", "q_to_ar")}


@METRIC_FILES.register("captions")
def captions(file: dict) -> dict[str, Any]:
    """Tokens, and scores of each corpus and caption; METEOR is not computed here."""
    return by_name(caption_sets(file), _caption_set) | {
        "tokenizer": dict(zip(("all", "kept"), list(zip(*file["tokenizer"]))[1:])),
        "line_breaks": {str(i): case["got"] for i, case in enumerate(file["line_break_hazards"])},
    }


def caption_sets(file: dict) -> list[dict]:
    """Returns the sets of captions of the file, each with its name."""
    return [file["main"] | {"name": "main"}, *file["edge"]]


def _caption_set(corpus: dict) -> dict[str, Any]:
    pick = lambda scores: {name: scores[name] for name in _CAPTION_SCORES}
    return {
        "candidates_ptb": corpus["candidates_ptb"],
        "references_ptb": [text for texts in corpus["references_ptb"] for text in texts],
        "corpus": pick(corpus["corpus"]),
        "per_caption": pick(corpus["per_caption"]),
    }
