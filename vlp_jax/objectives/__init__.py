"""Objectives: pure losses on views of a batch, by name and weight."""

from vlp_jax.config.registry import Registry

OBJECTIVES = Registry("objective")

from vlp_jax.objectives import answers, contrastive, masked_text, matching  # noqa: E402

__all__ = ["OBJECTIVES", "answers", "contrastive", "masked_text", "matching"]
