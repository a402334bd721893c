"""Cross-modal attention in both directions, as the project's source text describes for "UNITER".

V' = Attn(V, L, L) and L' = Attn(L, V, V), both from the streams before the layer. The published
UNITER is a single stream; see `vlp_jax.fusion.single_stream`.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.blocks import PostNormAttention, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


class CrossModalLayer(nn.Module):
    """Each stream attends to the other as it was, with its own weights, then feed-forward."""

    heads: int
    mlp_width: int
    dropout: float
    attention_dropout: float
    epsilon: float

    @nn.compact
    def __call__(self, streams, text_mask, image_mask, *, deterministic: bool):
        text, image = streams
        return (
            self._read("text", text, image, image_mask, deterministic),
            self._read("image", image, text, text_mask, deterministic),
        )

    def _read(self, name, states, context, mask, deterministic) -> Float[Array, "b t d"]:
        attend = PostNormAttention(
            self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            epsilon=self.epsilon,
            name=f"{name}_attention",
        )
        states = attend(states, context, mask, deterministic=deterministic)
        transform = PostNormFeedForward(
            self.mlp_width, self.dropout, self.epsilon, name=f"{name}_feed_forward"
        )
        states = transform(states, deterministic=deterministic)
        self.sow("intermediates", f"{name}_output", states)
        return states


@FUSIONS.register("cross_modal")
class CrossModalFusion(Fusion):
    """`layers` layers in which text and image read each other."""

    layers: Natural = 2
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    text_reads_image = ("layers/text_attention/attention",)

    @nn.compact
    def __call__(self, image: Tokens, text: Tokens, *, deterministic: bool = True) -> Fused:
        block = CrossModalLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        streams = text.states, image.states
        words, regions = stack(streams, text.mask, image.mask, deterministic=deterministic)
        return Fused(image=Tokens(regions, image.mask), text=Tokens(words, text.mask))
