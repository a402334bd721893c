"""ViLBERT's fusion: co-attention between two streams (Lu et al. 2019, section 3.1, figure 2)."""

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.attention import Attention, attention_bias
from vlp_jax.layers.blocks import BertLayer, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.tokens import Fused, Tokens


class Stream(nn.Module):
    """Half of a connection layer: one stream reads the other, then its own feed-forward.

    `read_dropout` is that of the attention probabilities, which follows the stream that is read.
    """

    width: int
    heads: int
    mlp_width: int
    dropout: float
    read_dropout: float
    activation: str
    epsilon: float

    @nn.compact
    def __call__(self, states, other, other_bias, *, deterministic: bool) -> Float[Array, "b t d"]:
        attention = Attention(
            self.heads,
            features=states.shape[-1],
            inner=self.width,
            dropout=self.read_dropout,
            name="attention",
        )
        attended = attention(states, other, other_bias, deterministic=deterministic)
        attended = nn.Dropout(self.dropout)(attended, deterministic=deterministic)
        states = LayerNorm(self.epsilon, name="norm")(states + attended)
        transform = PostNormFeedForward(
            self.mlp_width, self.dropout, self.epsilon, self.activation, name="feed_forward"
        )
        return transform(states, deterministic=deterministic)


@FUSIONS.register("co_attention")
class CoAttentionFusion(nn.Module):
    """`layers` times a connection layer, in which each stream reads the other as it was before.

    After each connection come image layers and text layers: one of each, or the numbers in
    `image_layers` and `text_layers`, which then have an entry for each connection. `width` is the
    inner width of the co-attention, by default the image's; streams keep their own.
    """

    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    width: int = 0
    connection_heads: int = 8
    image_heads: int = 8
    image_mlp_width: int = 1024
    image_layers: tuple[int, ...] = ()
    text_layers: tuple[int, ...] = ()
    dropout: float = 0.1
    attention_dropout: float = 0.1
    image_dropout: float = 0.1
    image_attention_dropout: float = 0.1
    activation: str = "gelu"
    image_activation: str = "gelu"
    epsilon: float = BERT_EPSILON

    images = 1

    @nn.compact
    def __call__(self, text: Tokens, image: Tokens, *, deterministic: bool = True) -> Fused:
        biases = attention_bias(text.mask), attention_bias(image.mask)
        words, regions = text.states, image.states
        image_layers = self._counts("image_layers", self.image_layers)
        text_layers = self._counts("text_layers", self.text_layers)
        for i in range(self.layers):
            width = self.width or image.states.shape[-1]
            words, regions = (
                self._text_stream(i, width)(words, regions, biases[1], deterministic=deterministic),
                self._image_stream(i, width)(
                    regions, words, biases[0], deterministic=deterministic
                ),
            )
            self.sow("intermediates", f"connection_{i}_text_output", words)
            self.sow("intermediates", f"connection_{i}_image_output", regions)
            for j in range(sum(image_layers[:i]), sum(image_layers[: i + 1])):
                regions = self._image_layer(j)(regions, biases[1], deterministic=deterministic)
                self.sow("intermediates", f"image_layer_{j}_output", regions)
            for j in range(sum(text_layers[:i]), sum(text_layers[: i + 1])):
                words = self._text_layer(j)(words, biases[0], deterministic=deterministic)
                self.sow("intermediates", f"text_layer_{j}_output", words)
        return Fused(Tokens(words, text.mask), Tokens(regions, image.mask))

    def _counts(self, name: str, counts: tuple[int, ...]) -> tuple[int, ...]:
        if counts and len(counts) != self.layers:
            raise ValueError(
                f"fusion_args.{name} = {counts}: expected one number for each of the "
                f"{self.layers} connection layers"
            )
        return counts or (1,) * self.layers

    def _text_stream(self, index: int, width: int) -> Stream:
        return Stream(
            width,
            self.connection_heads,
            self.mlp_width,
            self.dropout,
            self.image_attention_dropout,
            self.activation,
            self.epsilon,
            name=f"connection_{index}_text",
        )

    def _image_stream(self, index: int, width: int) -> Stream:
        return Stream(
            width,
            self.connection_heads,
            self.image_mlp_width,
            self.image_dropout,
            self.attention_dropout,
            self.image_activation,
            self.epsilon,
            name=f"connection_{index}_image",
        )

    def _text_layer(self, index: int) -> BertLayer:
        return BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            activation=self.activation,
            name=f"text_layer_{index}",
        )

    def _image_layer(self, index: int) -> BertLayer:
        return BertLayer(
            self.image_heads,
            self.image_mlp_width,
            self.image_dropout,
            self.image_attention_dropout,
            self.epsilon,
            activation=self.image_activation,
            name=f"image_layer_{index}",
        )
