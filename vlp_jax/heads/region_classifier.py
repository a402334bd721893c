"""Classifiers that read regions one by one: what a region shows, and how well the text names it."""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.heads import HEADS
from vlp_jax.heads.classifier import Classifier
from vlp_jax.heads.head import Reading
from vlp_jax.layers.attention import MASKED_SCORE
from vlp_jax.layers.tokens import Tokens


@HEADS.register("region_classifier")
class RegionClassifier(Classifier):
    """A `Classifier` on every region state: [B, R, D] -> [B, R, classes]."""

    sized_by = {"object": "classes"}

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b r c"]:
        """Reads the regions after the fusion."""
        return self(reading.fused[0].image.states, deterministic=deterministic)


@HEADS.register("region_score")
class RegionScore(Classifier):
    """One score [B, R] for each region; padding scores -1e4 (referring expressions)."""

    classes: Literal[1] = 1

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b r"]:
        """Reads the regions after the fusion."""
        return self(reading.fused[0].image, deterministic=deterministic)

    def __call__(self, regions: Tokens, *, deterministic: bool = True) -> Float[Array, "b r"]:
        scores = super().__call__(regions.states, deterministic=deterministic)[..., 0]
        return jnp.where(regions.mask, scores, MASKED_SCORE)
