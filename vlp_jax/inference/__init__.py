"""Use a trained model: load it, then encode, match, answer and retrieve."""

from vlp_jax.inference.load import load
from vlp_jax.inference.model import Model
from vlp_jax.inference.results import (
    Answer,
    Caption,
    Choice,
    Entailment,
    Explanation,
    Grounded,
    Judgement,
    Retrieved,
)

__all__ = [
    "Answer",
    "Caption",
    "Choice",
    "Entailment",
    "Explanation",
    "Grounded",
    "Judgement",
    "Model",
    "Retrieved",
    "load",
]
