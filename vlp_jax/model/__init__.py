"""The one model: two encoders, a fusion, a pooler and heads; and views of it."""

from vlp_jax.model.forward import Forward
from vlp_jax.model.model import VisionLanguageModel, build_model, example_batch
from vlp_jax.model.views import CAPTION, TextFields, Views

__all__ = [
    "CAPTION",
    "Forward",
    "TextFields",
    "Views",
    "VisionLanguageModel",
    "build_model",
    "example_batch",
]
