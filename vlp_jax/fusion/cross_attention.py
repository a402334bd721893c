"""ALBEF's fusion: text layers that also read the image (Li et al. 2021, section 3.1)."""

import flax.linen as nn

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import attention_bias
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("cross_attention")
class CrossAttentionFusion(nn.Module):
    """`layers` BERT layers on the text, each with cross-attention to the image; image unchanged."""

    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON

    images = 1

    @nn.compact
    def __call__(self, text: Tokens, image: Tokens, *, deterministic: bool = True) -> Fused:
        states = text.states
        text_bias, image_bias = attention_bias(text.mask), attention_bias(image.mask)
        for i in range(self.layers):
            layer = BertLayer(
                self.heads,
                self.mlp_width,
                self.dropout,
                self.attention_dropout,
                self.epsilon,
                name=f"layer_{i}",
            )
            states = layer(states, text_bias, image.states, image_bias, deterministic=deterministic)
            self.sow("intermediates", f"layer_{i}_output", states)
        return Fused(Tokens(states, text.mask), image)
