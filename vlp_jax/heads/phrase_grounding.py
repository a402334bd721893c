"""Which region a phrase means: one attention head from the phrase's last word to the regions."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.attention import attention_bias
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Tokens


@HEADS.register("phrase_grounding")
class PhraseGroundingHead(Head):
    """Logits [B, P, R] of P phrases over R regions; masked regions are 1e4 lower.

    Source: VisualBERT (Li et al. 2019), Flickr30k Entities. `width` is that of the one head.
    """

    width: Count = 64

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b p r"]:
        """Reads every word as a phrase, and the regions, after the fusion."""
        return self(reading.fused[0].text.states, reading.fused[0].image)

    @nn.compact
    def __call__(self, phrases: Float[Array, "b p d"], regions: Tokens) -> Float[Array, "b p r"]:
        query = Linear(self.width, axes=("embed", None), name="query")(phrases)
        key = Linear(self.width, axes=("embed", None), name="key")(regions.states)
        scores = jnp.einsum("bpk,brk->bpr", query, key, preferred_element_type=jnp.float32)
        return scores / jnp.sqrt(float(self.width)) + attention_bias(regions.mask)[:, 0]
