"""ALBEF's fusion: text layers that also read the image (Li et al. 2021, section 3.1)."""

import flax.linen as nn

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("cross_attention")
class CrossAttentionFusion(Fusion):
    """`layers` BERT layers on the text, each with cross-attention to the image; image unchanged."""

    layers: Natural = 6
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    text_reads_image = ("layers/cross_attention/attention",)

    @nn.compact
    def __call__(self, image: Tokens, text: Tokens, *, deterministic: bool = True) -> Fused:
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        inputs = text.mask, image.states, image.mask
        states = stack(text.states, *inputs, deterministic=deterministic)
        return Fused(image=image, text=Tokens(states, text.mask))
