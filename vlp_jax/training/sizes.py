"""Sizes of the model that follow from the data: vocabulary, pixels, features, answers, classes."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_jax.config import ExperimentConfig, ModelConfig
from vlp_jax.data.assemble import Vocabulary
from vlp_jax.objectives.base import Objective
from vlp_jax.objectives.masked_regions import HiddenRegionObjective
from vlp_jax.objectives.region_labels import PART_FIELDS, RegionLabelsObjective

logger = logging.getLogger(__name__)

Batches = Mapping[str, Mapping[str, np.ndarray]]

# What a head calls its size of each part; `kind` → part → argument.
_SIZE_NAMES = {
    "region_classifier": {"object": "classes"},
    "region_labels": {"object": "objects", "attribute": "attributes", "feature": "features"},
}


def fill_sizes(
    config: ExperimentConfig,
    vocabulary: Vocabulary,
    batches: Batches,
    objectives: Mapping[str, Objective],
) -> ExperimentConfig:
    """Returns the config with what the data determines; a size that misfits them is a ValueError.

    `batches` hold one batch of each source. A head that answers questions is dropped, with a
    warning, where the data has no answers and the config no number of them.
    """
    model = config.model
    text = _filled(model.text_args, "vocab_size", vocabulary.tokenizer.size, "model.text_args")
    vision = model.vision_args
    if model.vision in ("vit", "resnet"):
        vision = _filled(vision, "image_size", config.data.image_size, "model.vision_args")
    width = _width(batches, "region_features")
    if model.vision == "regions" and width:
        vision = _filled(vision, "feature_width", width, "model.vision_args")
    model = dataclasses.replace(model, text_args=text, vision_args=vision)
    heads = _region_heads(model, objectives, _part_sizes(vocabulary, batches))
    model = dataclasses.replace(model, heads=_answer_heads(heads, vocabulary))
    return dataclasses.replace(config, model=model)


def _answer_heads(heads: Mapping[str, Mapping], vocabulary: Vocabulary) -> dict[str, Any]:
    heads = dict(heads)
    if "vqa" in heads and vocabulary.answers:
        count = len(vocabulary.answers)
        heads["vqa"] = _filled(heads["vqa"], "classes", count, "model.heads.vqa")
    elif "vqa" in heads and not heads["vqa"].get("classes"):
        logger.warning("head vqa is off: the data has no answers")
        del heads["vqa"]
    if "answer" in heads:
        words = vocabulary.tokenizer.size
        heads["answer"] = _filled(heads["answer"], "vocab_size", words, "model.heads.answer")
    return heads


def _part_sizes(vocabulary: Vocabulary, batches: Batches) -> dict[str, int]:
    """Returns the size of each target of regions, by batch field; 0 where the data tell none."""
    return {
        "region_class_scores": _width(batches, "region_class_scores"),
        "region_targets": _width(batches, "region_targets"),
        "region_labels": len(vocabulary.region_classes),
        "region_attributes": len(vocabulary.region_attributes),
    }


def _width(batches: Batches, field: str) -> int:
    """Returns the last dimension that a field has in all sources, 0 if none gives it."""
    widths = {name: batch[field].shape[-1] for name, batch in batches.items() if field in batch}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(
            f"the sources of config.data.source differ in the width of {field}: {told}"
        )
    return next(iter(widths.values()), 0)


def _region_heads(
    model: ModelConfig, objectives: Mapping[str, Objective], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the heads with the sizes of the parts that objectives train; others are left out."""
    heads = {name: dict(args) for name, args in model.heads.items()}
    for name, args in heads.items():
        arguments = _SIZE_NAMES.get(args.get("kind", name), {})
        targets = _targets(name, objectives)
        for part, argument in arguments.items():
            size = sizes[targets[part]] if part in targets else 0
            if size:
                heads[name] = _filled(heads[name], argument, size, f"model.heads.{name}")
            elif targets and part not in targets:
                heads[name].setdefault(argument, 0)
    return heads


def _targets(head: str, objectives: Mapping[str, Objective]) -> dict[str, str]:
    """Returns the batch field that each part of a region head learns, as the objectives say."""
    targets: dict[str, str] = {}
    for objective in objectives.values():
        if getattr(objective, "head", None) != head:
            continue
        if isinstance(objective, HiddenRegionObjective):
            targets[objective.part] = objective.targets
        elif isinstance(objective, RegionLabelsObjective):
            targets |= {part: PART_FIELDS[part][0] for part in objective.parts}
    return targets


def _filled(args: Mapping, name: str, value: int, path: str) -> dict:
    given = args.get(name) or value
    if given != value:
        raise ValueError(
            f"config.{path}.{name} = {given}, but the data has {value}: leave the field out, "
            "or change config.data"
        )
    return {**args, name: value}
