"""Encoders: pixels, regions and words to tokens."""

from vlp_jax.config.registry import Registry

VISION_ENCODERS = Registry("vision encoder")
TEXT_ENCODERS = Registry("text encoder")

from vlp_jax.encoders import bert, regions, resnet, vit  # noqa: E402  (they register themselves)

__all__ = ["TEXT_ENCODERS", "VISION_ENCODERS", "bert", "regions", "resnet", "vit"]
