"""Heads and poolers: from fused tokens to what an objective or a user reads."""

from vlp_jax.config.registry import Registry

HEADS = Registry("head")
POOLERS = Registry("pooler")

from vlp_jax.heads import (  # noqa: E402
    answer_decoder,
    classifier,
    contrastive,
    masked_text,
    pooling,
)

__all__ = [
    "HEADS",
    "POOLERS",
    "answer_decoder",
    "classifier",
    "contrastive",
    "masked_text",
    "pooling",
]
