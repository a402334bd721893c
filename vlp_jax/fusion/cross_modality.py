"""LXMERT's fusion: cross-modality layers (Tan and Bansal 2019, section 2.2)."""

import flax.linen as nn

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.activation import Activation
from vlp_jax.layers.blocks import PostNormAttention, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


class CrossModalityLayer(nn.Module):
    """One cross-attention for both directions (same weights), then self-attention, feed-forward."""

    heads: int
    mlp_width: int
    dropout: float
    attention_dropout: float
    epsilon: float
    activation: str

    @nn.compact
    def __call__(self, streams, text_mask, image_mask, *, deterministic: bool):
        text, image = streams

        def attention(name: str) -> PostNormAttention:
            return PostNormAttention(
                self.heads,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                epsilon=self.epsilon,
                name=name,
            )

        cross = attention("cross_attention")
        text, image = (
            cross(text, image, image_mask, deterministic=deterministic),
            cross(image, text, text_mask, deterministic=deterministic),
        )
        read = []
        for name, states, mask in (("text", text, text_mask), ("image", image, image_mask)):
            attend = attention(f"{name}_self_attention")
            states = attend(states, states, mask, deterministic=deterministic)
            transform = PostNormFeedForward(
                self.mlp_width,
                self.dropout,
                self.epsilon,
                self.activation,
                name=f"{name}_feed_forward",
            )
            read.append(transform(states, deterministic=deterministic))
            self.sow("intermediates", f"{name}_output", read[-1])
        return tuple(read)


@FUSIONS.register("cross_modality")
class CrossModalityFusion(Fusion):
    """`layers` cross-modality layers; text and image must have the same width."""

    layers: Natural = 5
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    text_reads_image = ("layers/cross_attention/attention",)

    @nn.compact
    def __call__(self, image: Tokens, text: Tokens, *, deterministic: bool = True) -> Fused:
        widths = text.states.shape[-1], image.states.shape[-1]
        if widths[0] != widths[1]:
            raise ValueError(
                "fusion cross_modality shares one attention between both streams and needs equal "
                f"widths; text has {widths[0]}, image has {widths[1]}"
            )
        block = CrossModalityLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            self.activation,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        streams = text.states, image.states
        words, regions = stack(streams, text.mask, image.mask, deterministic=deterministic)
        return Fused(image=Tokens(regions, image.mask), text=Tokens(words, text.mask))
