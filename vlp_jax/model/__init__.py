"""The one model: two encoders, a fusion, a pooler and heads."""

from vlp_jax.model.model import VisionLanguageModel, build_model, example_batch

__all__ = ["VisionLanguageModel", "build_model", "example_batch"]
