"""Use a trained model: load it, then encode, match, answer and retrieve."""

from vlp_jax.inference.load import load
from vlp_jax.inference.model import Answer, Model, Retrieved

__all__ = ["Answer", "Model", "Retrieved", "load"]
