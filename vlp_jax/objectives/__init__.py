"""Objectives: pure losses on views of a batch, by name and weight."""

from vlp_jax.config.registry import Registry

OBJECTIVES = Registry("objective")

from vlp_jax.objectives import (  # noqa: E402
    alignment,
    answers,
    contrastive,
    generative_answers,
    masked_regions,
    masked_text,
    matching,
    pairs,
    region_labels,
)

__all__ = [
    "OBJECTIVES",
    "alignment",
    "answers",
    "contrastive",
    "generative_answers",
    "masked_regions",
    "masked_text",
    "matching",
    "pairs",
    "region_labels",
]
