"""Settings that have moved into the task that owns them, and configs written before they did."""

from collections.abc import Mapping
from typing import Any

_NEW_PATHS = {
    "objectives": "tasks",
    "evaluation.tasks": "tasks.<name>.evaluate",
    "training.queue_size": "tasks.itc.queue_size",
    "data.question_length": "tasks.vqa.question_length",
    "data.questions": "tasks.vqa.questions",
    "data.answer_length": "tasks.vqa_generative.answer_length",
    "data.answers_per_question": "tasks.vqa_generative.answers",
    "data.foils": "tasks.itm.foils",
    "data.pairing": "tasks.pair.exchange (or contrastive_tags, sentence_image)",
    "data.predict_wrong_pairs": "tasks.pair.predict_wrong_pairs",
    "data.mask_probability": "tasks.mlm.probability",
    "data.mask_at_least_one": "tasks.mlm.at_least_one",
    "data.region_masking": "tasks.region_feature.masking (or region_class, region_labels)",
    "data.region_mask_probability": "tasks.region_feature.probability (or region_class, …)",
}

_ASKING = frozenset({"vqa", "vqa_generative"})


def check_moved(values: Mapping[str, Any]) -> None:
    """Raises ValueError that names the new place of the first setting at an old one."""
    for old, new in _NEW_PATHS.items():
        if _has(values, old):
            raise ValueError(f"config.{old} has moved: set config.{new}")


def is_old(values: Mapping[str, Any]) -> bool:
    """Says whether a run's config is from before its settings moved into tasks."""
    return any(_has(values, old) for old in _NEW_PATHS)


def without_moved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an old run's config without what has moved, so that its model can be built.

    What it measured and how it trained is left out; parts, sizes and conventions are there, and the
    length to which its questions are cut.
    """
    kept = {name: value for name, value in values.items() if name not in _NEW_PATHS}
    for path in _NEW_PATHS:
        group, _, name = path.partition(".")
        if name and group in kept:
            kept[group] = {key: value for key, value in kept[group].items() if key != name}
    if _has(values, "data.question_length"):
        asked = _ASKING.intersection(values.get("objectives", ()))
        length = values["data"]["question_length"]
        kept["tasks"] = {name: {"question_length": length} for name in sorted(asked)}
    return kept


def _has(values: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True
