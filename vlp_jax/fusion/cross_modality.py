"""LXMERT's fusion: cross-modality layers (Tan and Bansal 2019, section 2.2)."""

import flax.linen as nn

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import attention_bias
from vlp_jax.layers.blocks import PostNormAttention, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON
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
    def __call__(self, text, image, text_bias, image_bias, *, deterministic: bool):
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
            cross(text, image, image_bias, deterministic=deterministic),
            cross(image, text, text_bias, deterministic=deterministic),
        )
        streams = []
        for name, states, bias in (("text", text, text_bias), ("image", image, image_bias)):
            attend = attention(f"{name}_self_attention")
            states = attend(states, states, bias, deterministic=deterministic)
            transform = PostNormFeedForward(
                self.mlp_width,
                self.dropout,
                self.epsilon,
                self.activation,
                name=f"{name}_feed_forward",
            )
            streams.append(transform(states, deterministic=deterministic))
        return tuple(streams)


@FUSIONS.register("cross_modality")
class CrossModalityFusion(nn.Module):
    """`layers` cross-modality layers; text and image must have the same width."""

    layers: int = 5
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON
    activation: str = "gelu"

    images = 1

    @nn.compact
    def __call__(self, text: Tokens, image: Tokens, *, deterministic: bool = True) -> Fused:
        widths = text.states.shape[-1], image.states.shape[-1]
        if widths[0] != widths[1]:
            raise ValueError(
                "fusion cross_modality shares one attention between both streams and needs equal "
                f"widths; text has {widths[0]}, image has {widths[1]}"
            )
        biases = attention_bias(text.mask), attention_bias(image.mask)
        words, regions = text.states, image.states
        for i in range(self.layers):
            layer = CrossModalityLayer(
                self.heads,
                self.mlp_width,
                self.dropout,
                self.attention_dropout,
                self.epsilon,
                self.activation,
                name=f"layer_{i}",
            )
            words, regions = layer(words, regions, *biases, deterministic=deterministic)
            self.sow("intermediates", f"text_layer_{i}_output", words)
            self.sow("intermediates", f"image_layer_{i}_output", regions)
        return Fused(Tokens(words, text.mask), Tokens(regions, image.mask))
