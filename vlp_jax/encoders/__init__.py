"""Encoders: pixels, regions and words to tokens."""

from vlp_jax.config.registry import Registry
from vlp_jax.encoders.encoder import TextEncoder, VisionEncoder

VISION_ENCODERS = Registry("vision encoder", VisionEncoder)
TEXT_ENCODERS = Registry("text encoder", TextEncoder)

from vlp_jax.encoders import bert, regions, resnet, vit  # noqa: E402  (they register themselves)

__all__ = [
    "TEXT_ENCODERS",
    "VISION_ENCODERS",
    "TextEncoder",
    "VisionEncoder",
    "bert",
    "regions",
    "resnet",
    "vit",
]
