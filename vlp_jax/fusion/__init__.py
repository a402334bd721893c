"""Fusions: text and image tokens read each other."""

from vlp_jax.config.registry import Registry
from vlp_jax.fusion.fusion import Fusion

FUSIONS = Registry("fusion", Fusion)

from vlp_jax.fusion import (  # noqa: E402  (they register themselves)
    co_attention,
    cross_attention,
    cross_modal,
    cross_modality,
    single_stream,
    two_image_cross_attention,
)

__all__ = [
    "FUSIONS",
    "Fusion",
    "co_attention",
    "cross_attention",
    "cross_modal",
    "cross_modality",
    "single_stream",
    "two_image_cross_attention",
]
