"""What each region shows, predicted from its fused state: labels and features of the detector."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Epsilon, Natural
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.activation import ACTIVATIONS, Activation
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear


@HEADS.register("region_labels")
class RegionLabelHead(Head):
    """Object logits, attribute logits and features of every region, in float32.

    The three share one transform (Linear, activation, LN): LXMERT (Tan and Bansal 2019, section
    3.1.2); ViLBERT predicts one of them. States [B, R, D] -> {"object": [B, R, objects],
    "attribute": …, "feature": …}; what has size 0 is left out.
    """

    objects: Natural = 1600
    attributes: Natural = 400
    features: Natural = 2048
    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"

    sized_by = {"object": "objects", "attribute": "attributes", "feature": "features"}

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> dict[str, Float[Array, "b r n"]]:
        """Reads the regions after the fusion."""
        return self(reading.fused[0].image.states)

    @nn.compact
    def __call__(self, states: Float[Array, "b r d"]) -> dict[str, Float[Array, "b r n"]]:
        transform = Linear(states.shape[-1], axes=("embed", None), name="transform")
        activate = ACTIVATIONS.get_known(self.activation)
        hidden = LayerNorm(self.epsilon, name="norm")(activate(transform(states)))
        sizes = {"object": self.objects, "attribute": self.attributes, "feature": self.features}
        linear = functools.partial(Linear, axes=("embed", None), output_dtype=jnp.float32)
        return {name: linear(size, name=name)(hidden) for name, size in sizes.items() if size}
