"""One score for each region or word: which region is meant, which word counts."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Fraction
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.attention import MASKED_SCORE
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Tokens


@HEADS.register("region_scores")
class RegionScoreHead(Head):
    """Scores [B, R] of the regions, in float32; -1e4 is added where there is none (grounding)."""

    dropout: Fraction = 0.0

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b r"]:
        """Reads the regions after the fusion."""
        return self(reading.fused[0].image, deterministic=deterministic)

    @nn.compact
    def __call__(self, image: Tokens, *, deterministic: bool = True) -> Float[Array, "b r"]:
        states = nn.Dropout(self.dropout)(image.states, deterministic=deterministic)
        output = Linear(1, axes=("embed", None), output_dtype=jnp.float32, name="output")
        return output(states)[..., 0] + jnp.where(image.mask, 0.0, MASKED_SCORE)


@HEADS.register("word_scores")
class WordScoreHead(Head):
    """Scores [B, L] of the words, in float32; those of padding mean nothing."""

    dropout: Fraction = 0.0

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b l"]:
        """Reads the words after the fusion."""
        return self(reading.fused[0].text, deterministic=deterministic)

    @nn.compact
    def __call__(self, text: Tokens, *, deterministic: bool = True) -> Float[Array, "b l"]:
        states = nn.Dropout(self.dropout)(text.states, deterministic=deterministic)
        output = Linear(1, axes=("embed", None), output_dtype=jnp.float32, name="output")
        return output(states)[..., 0]
