"""Cross-modal attention in both directions, as the project's source text describes for "UNITER".

V' = Attn(V, L, L) and L' = Attn(L, V, V), both from the streams before the layer. The published
UNITER is a single stream; see `vlp_jax.fusion.single_stream`.
"""

import flax.linen as nn

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import attention_bias
from vlp_jax.layers.blocks import PostNormAttention, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("cross_modal")
class CrossModalFusion(nn.Module):
    """`layers` times: each stream attends to the other with its own weights, then feed-forward."""

    layers: int = 2
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON

    images = 1

    @nn.compact
    def __call__(self, text: Tokens, image: Tokens, *, deterministic: bool = True) -> Fused:
        biases = attention_bias(text.mask), attention_bias(image.mask)
        words, regions = text.states, image.states
        for i in range(self.layers):
            words, regions = (
                self._read(f"text_{i}", words, regions, biases[1], deterministic),
                self._read(f"image_{i}", regions, words, biases[0], deterministic),
            )
            self.sow("intermediates", f"text_layer_{i}_output", words)
            self.sow("intermediates", f"image_layer_{i}_output", regions)
        return Fused(Tokens(words, text.mask), Tokens(regions, image.mask))

    def _read(self, name, states, context, bias, deterministic):
        attend = PostNormAttention(
            self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            epsilon=self.epsilon,
            name=f"{name}_attention",
        )
        states = attend(states, context, bias, deterministic=deterministic)
        transform = PostNormFeedForward(
            self.mlp_width, self.dropout, self.epsilon, name=f"{name}_feed_forward"
        )
        return transform(states, deterministic=deterministic)
