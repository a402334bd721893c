"""ViLBERT's fusion: co-attention between two streams (Lu et al. 2019, section 3.1, figure 2)."""

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import Attention, attention_bias
from vlp_jax.layers.blocks import BertLayer, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.tokens import Fused, Tokens


class ConnectionLayer(nn.Module):
    """Each stream attends to the other as it was before the layer; each has its feed-forward."""

    width: int
    heads: int
    text_mlp_width: int
    image_mlp_width: int
    dropout: float
    attention_dropout: float
    epsilon: float

    @nn.compact
    def __call__(self, text, image, text_bias, image_bias, *, deterministic: bool):
        def read(name: str, states: Array, context: Array, bias: Array) -> Float[Array, "b t d"]:
            attention = Attention(
                self.heads,
                features=states.shape[-1],
                inner=self.width,
                dropout=self.attention_dropout,
                name=f"{name}_attention",
            )
            attended = attention(states, context, bias, deterministic=deterministic)
            attended = nn.Dropout(self.dropout)(attended, deterministic=deterministic)
            return LayerNorm(self.epsilon, name=f"{name}_norm")(states + attended)

        def transform(name: str, states: Array, width: int) -> Float[Array, "b t d"]:
            block = PostNormFeedForward(width, self.dropout, self.epsilon, name=name)
            return block(states, deterministic=deterministic)

        new_text = read("text", text, image, image_bias)
        new_image = read("image", image, text, text_bias)
        return (
            transform("text_feed_forward", new_text, self.text_mlp_width),
            transform("image_feed_forward", new_image, self.image_mlp_width),
        )


@FUSIONS.register("co_attention")
class CoAttentionFusion(nn.Module):
    """`layers` times a connection layer, then one image layer and one text layer.

    `width` is the inner width of the co-attention, by default the image's; streams keep their own.
    """

    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    width: int = 0
    connection_heads: int = 8
    image_heads: int = 8
    image_mlp_width: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON

    @nn.compact
    def __call__(self, text: Tokens, image: Tokens, *, deterministic: bool = True) -> Fused:
        biases = attention_bias(text.mask), attention_bias(image.mask)
        words, regions = text.states, image.states
        for i in range(self.layers):
            words, regions = self._connection(i, regions.shape[-1])(
                words, regions, *biases, deterministic=deterministic
            )
            image_layer = self._layer(f"image_layer_{i}", self.image_heads, self.image_mlp_width)
            regions = image_layer(regions, biases[1], deterministic=deterministic)
            text_layer = self._layer(f"text_layer_{i}", self.heads, self.mlp_width)
            words = text_layer(words, biases[0], deterministic=deterministic)
            self.sow("intermediates", f"text_layer_{i}_output", words)
            self.sow("intermediates", f"image_layer_{i}_output", regions)
        return Fused(Tokens(words, text.mask), Tokens(regions, image.mask))

    def _connection(self, index: int, image_width: int) -> ConnectionLayer:
        return ConnectionLayer(
            self.width or image_width,
            self.connection_heads,
            self.mlp_width,
            self.image_mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name=f"connection_{index}",
        )

    def _layer(self, name: str, heads: int, mlp_width: int) -> BertLayer:
        return BertLayer(
            heads, mlp_width, self.dropout, self.attention_dropout, self.epsilon, name=name
        )
