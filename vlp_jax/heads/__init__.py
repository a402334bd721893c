"""Heads and poolers: from fused tokens to what an objective or a user reads."""

from vlp_jax.config.registry import Registry
from vlp_jax.heads.head import Head, Reading

HEADS = Registry("head", Head)
POOLERS = Registry("pooler")

from vlp_jax.heads import (  # noqa: E402
    answer_token,
    classifier,
    contrastive,
    decoder,
    detection,
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
    "Head",
    "Reading",
    "answer_token",
    "classifier",
    "contrastive",
    "decoder",
    "detection",
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
