"""ALBEF's fusion for two images, as NLVR2 needs it (Li et al. 2021, section 5 and figure 5)."""

import flax.linen as nn

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.attention import head_size
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.projection import SplitHeads
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


class LayerPair(nn.Module):
    """Two BERT layers on the text: the first reads image 0, the second image 1.

    Both read through the same key and value projections (`key`, `value`); all else is their own.
    """

    heads: int
    mlp_width: int
    dropout: float
    attention_dropout: float
    epsilon: float

    @nn.compact
    def __call__(self, states, mask, first: Tokens, second: Tokens, *, deterministic: bool):
        size = head_size(states.shape[-1], self.heads, "config.model.fusion_args.heads")
        key, value = (SplitHeads(self.heads, size, name=name) for name in ("key", "value"))
        for name, image in (("first", first), ("second", second)):
            layer = BertLayer(
                self.heads,
                self.mlp_width,
                self.dropout,
                self.attention_dropout,
                self.epsilon,
                key_projection=key,
                value_projection=value,
                name=name,
            )
            states = layer(states, mask, image.states, image.mask, deterministic=deterministic)
        return states


@FUSIONS.register("two_image_cross_attention")
class TwoImageCrossAttentionFusion(Fusion):
    """`layers` pairs of BERT layers on the text; the fused image tokens are those of image 0."""

    layers: Natural = 6
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    images = 2

    @nn.compact
    def __call__(
        self, first: Tokens, second: Tokens, text: Tokens, *, deterministic: bool = True
    ) -> Fused:
        block = LayerPair(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        states = stack(text.states, text.mask, first, second, deterministic=deterministic)
        return Fused(image=first, text=Tokens(states, text.mask))
