"""ALBEF's fusion for two images, as NLVR2 needs it (Li et al. 2021, section 5 and figure 5)."""

import flax.linen as nn

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import attention_bias, head_size
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.projection import SplitHeads
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("two_image_cross_attention")
class TwoImageCrossAttentionFusion(nn.Module):
    """`layers` pairs of BERT layers on the text: the first of a pair reads image 0, the second 1.

    Both layers of a pair read through the same key and value projections (`pair_<i>_key`,
    `pair_<i>_value`); all else is their own. The fused image tokens are those of image 0.
    """

    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON

    images = 2

    @nn.compact
    def __call__(
        self, text: Tokens, first: Tokens, second: Tokens, *, deterministic: bool = True
    ) -> Fused:
        states, text_bias = text.states, attention_bias(text.mask)
        head_dim = head_size(states.shape[-1], self.heads)
        for pair in range(self.layers):
            key = SplitHeads(self.heads, head_dim, name=f"pair_{pair}_key")
            value = SplitHeads(self.heads, head_dim, name=f"pair_{pair}_value")
            for i, image in ((2 * pair, first), (2 * pair + 1, second)):
                layer = BertLayer(
                    self.heads,
                    self.mlp_width,
                    self.dropout,
                    self.attention_dropout,
                    self.epsilon,
                    key_projection=key,
                    value_projection=value,
                    name=f"layer_{i}",
                )
                bias = attention_bias(image.mask)
                states = layer(states, text_bias, image.states, bias, deterministic=deterministic)
                self.sow("intermediates", f"layer_{i}_output", states)
        return Fused(Tokens(states, text.mask), first)
