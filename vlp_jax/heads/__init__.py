"""Heads and poolers: from fused tokens to what an objective or a user reads."""

from vlp_jax.config.registry import Registry

HEADS = Registry("head")
POOLERS = Registry("pooler")

from vlp_jax.heads import (  # noqa: E402
    answer_decoder,
    answer_token,
    classifier,
    contrastive,
    masked_text,
    pair,
    paired_attention,
    phrase_grounding,
    pooling,
    region_classifier,
    region_feature,
    regions,
    token_scores,
    weight_norm,
)

__all__ = [
    "HEADS",
    "POOLERS",
    "answer_decoder",
    "answer_token",
    "classifier",
    "contrastive",
    "masked_text",
    "pair",
    "paired_attention",
    "phrase_grounding",
    "pooling",
    "region_classifier",
    "region_feature",
    "regions",
    "token_scores",
    "weight_norm",
]
