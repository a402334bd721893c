"""The detector's feature of each region, regressed from its fused state (UNITER, section 3.2)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Epsilon
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.activation import gelu
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, zeros_init


@HEADS.register("region_feature")
class RegionFeatureHead(Head):
    """Features [B, R, F] in float32 from region states [B, R, D].

    The output layer is the transpose of the projection that embeds features, with its own bias.
    """

    epsilon: Epsilon = BERT_EPSILON

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b r f"]:
        """Reads the regions after the fusion."""
        if "region_features" not in model.vision.reads:
            raise ValueError(
                "a region_feature head (config.model.heads) is tied to the projection of region "
                'features: it needs config.model.vision = "regions"'
            )
        return self(reading.fused[0].image.states, model.vision.feature_table())

    @nn.compact
    def __call__(
        self, states: Float[Array, "b r d"], feature_table: Float[Array, "f d"]
    ) -> Float[Array, "b r f"]:
        width = states.shape[-1]
        if feature_table.shape[-1] != width:
            raise ValueError(
                f"head region_feature is tied to a feature projection of width "
                f"{feature_table.shape[-1]} and cannot read region states of width {width}"
            )
        hidden = gelu(Linear(width, axes=("embed", None), name="transform")(states))
        hidden = LayerNorm(self.epsilon, name="norm")(hidden)
        table = feature_table.astype(hidden.dtype)
        features = jnp.einsum("brd,fd->brf", hidden, table, preferred_element_type=jnp.float32)
        return features + self.param("bias", zeros_init("patch"), (feature_table.shape[0],))
