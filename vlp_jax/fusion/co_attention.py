"""ViLBERT's fusion: co-attention between two streams (Lu et al. 2019, section 3.1, figure 2)."""

import itertools
from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.activation import Activation
from vlp_jax.layers.attention import Attention, head_size
from vlp_jax.layers.blocks import BertLayer, PostNormFeedForward
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
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
    def __call__(self, states, other, other_mask, *, deterministic: bool) -> Float[Array, "b t d"]:
        attention = Attention(
            self.heads,
            features=states.shape[-1],
            inner=self.width,
            dropout=self.read_dropout,
            name="attention",
        )
        attended = attention(states, other, other_mask, deterministic=deterministic)
        attended = nn.Dropout(self.dropout)(attended, deterministic=deterministic)
        states = LayerNorm(self.epsilon, name="norm")(states + attended)
        transform = PostNormFeedForward(
            self.mlp_width, self.dropout, self.epsilon, self.activation, name="feed_forward"
        )
        states = transform(states, deterministic=deterministic)
        self.sow("intermediates", "output", states)
        return states


@dataclass(frozen=True)
class Place:
    """Where the parameters of a connection and of the layers after it are, by layer name.

    Attributes:
      connection: "run_0_layer_2", within which `text_connection` and `image_connection` are.
      image, text: "run_0_layer_2/image_layer_0" and so on.
    """

    connection: str
    image: tuple[str, ...]
    text: tuple[str, ...]


def equal_runs(counts: tuple[tuple[int, int], ...]) -> tuple[tuple[int, tuple[int, int]], ...]:
    """Returns how often in a row each pair of numbers comes: (repetitions, pair)."""
    return tuple((len(list(group)), pair) for pair, group in itertools.groupby(counts))


def layer_counts(
    layers: int, image_layers: tuple[int, ...] = (), text_layers: tuple[int, ...] = ()
) -> tuple[tuple[int, int], ...]:
    """Returns the numbers of image and text layers after each connection; one of each by default.

    Raises ValueError for another number of entries than there are connections.
    """
    given = {"image_layers": image_layers, "text_layers": text_layers}
    for name, counts in given.items():
        if counts and len(counts) != layers:
            raise ValueError(
                f"fusion_args.{name} = {counts}: expected one number for each of the {layers} "
                "connection layers"
            )
    return tuple(zip(*(counts or (1,) * layers for counts in given.values())))


def places(
    layers: int, image_layers: tuple[int, ...] = (), text_layers: tuple[int, ...] = ()
) -> tuple[Place, ...]:
    """Returns the `Place` of every connection of a `CoAttentionFusion` with these arguments."""
    found, counts = [], layer_counts(layers, image_layers, text_layers)
    for run, (repetitions, (images, texts)) in enumerate(equal_runs(counts)):
        for own in (f"run_{run}_layer_{i}" for i in range(repetitions)):
            after = lambda stream, count: tuple(f"{own}/{stream}_layer_{i}" for i in range(count))
            found.append(Place(own, after("image", images), after("text", texts)))
    return tuple(found)


class Period(nn.Module):
    """A connection layer, then the image's and the text's own layers up to the next one.

    `text_connection` and `image_connection` are `Stream`s, `text_layer` and `image_layer` layers,
    all unbound; of the layers there are `text_layers` and `image_layers`.
    """

    text_connection: Stream
    image_connection: Stream
    text_layer: BertLayer
    image_layer: BertLayer
    text_layers: int
    image_layers: int

    @nn.compact
    def __call__(self, streams, text_mask, image_mask, *, deterministic: bool):
        words, regions = streams
        words, regions = (
            self.text_connection(words, regions, image_mask, deterministic=deterministic),
            self.image_connection(regions, words, text_mask, deterministic=deterministic),
        )
        for layer in self._copies(self.image_layer, "image_layer", self.image_layers):
            regions = layer(regions, image_mask, deterministic=deterministic)
        for layer in self._copies(self.text_layer, "text_layer", self.text_layers):
            words = layer(words, text_mask, deterministic=deterministic)
        return words, regions

    def _copies(self, layer: BertLayer, name: str, count: int) -> list[BertLayer]:
        """Returns layers of the same kind, with weights of their own."""
        return [layer.clone(parent=self, name=f"{name}_{i}") for i in range(count)]


@FUSIONS.register("co_attention")
class CoAttentionFusion(Fusion):
    """`layers` times a connection layer, in which each stream reads the other as it was before.

    After each connection come image layers and text layers: one of each, or the numbers in
    `image_layers` and `text_layers`, which then have an entry for each connection. `width` is the
    inner width of the co-attention, by default the image's; streams keep their own.

    Connections in a row with as many layers after them are one stack, `run_0_layers` the first.
    """

    layers: Natural = 6
    heads: Count = 12
    mlp_width: Count = 3072
    width: Natural = 0
    connection_heads: Count = 8
    image_heads: Count = 8
    image_mlp_width: Count = 1024
    image_layers: tuple[Natural, ...] = ()
    text_layers: tuple[Natural, ...] = ()
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    image_dropout: Fraction = 0.1
    image_attention_dropout: Fraction = 0.1
    activation: Activation = "gelu"
    image_activation: Activation = "gelu"
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    @property
    def text_reads_image(self) -> tuple[str, ...]:
        """The attention of each run in which text reads the image."""
        runs = range(len(equal_runs(self._counts())))
        return tuple(f"run_{run}_layers/text_connection/attention" for run in runs)

    @nn.compact
    def __call__(self, image: Tokens, text: Tokens, *, deterministic: bool = True) -> Fused:
        streams, masks = (text.states, image.states), (text.mask, image.mask)
        for run, (count, (images, texts)) in enumerate(equal_runs(self._counts())):
            parts = self._parts(*(states.shape[-1] for states in streams))
            period = Period(*parts, texts, images, name=f"run_{run}_layers")
            stack = TransformerStack(period, count, self.scan_layers, self.remat)
            streams = stack(streams, *masks, deterministic=deterministic)
        words, regions = (Tokens(states, mask) for states, mask in zip(streams, masks))
        return Fused(image=regions, text=words)

    def _counts(self) -> tuple[tuple[int, int], ...]:
        return layer_counts(self.layers, self.image_layers, self.text_layers)

    def _parts(self, text_width: int, image_width: int) -> tuple[nn.Module, ...]:
        """Returns the unbound parts of one `Period`, which other runs cannot share."""
        inner = self.width or image_width
        for width, name in ((inner, "connection_heads"), (image_width, "image_heads")):
            head_size(width, getattr(self, name), f"config.model.fusion_args.{name}")
        head_size(text_width, self.heads, "config.model.fusion_args.heads")
        text = self.dropout, self.attention_dropout, self.epsilon
        image = self.image_dropout, self.image_attention_dropout, self.epsilon
        connect = dict(width=inner, heads=self.connection_heads, epsilon=self.epsilon, parent=None)
        return (
            Stream(
                mlp_width=self.mlp_width,
                dropout=self.dropout,
                read_dropout=self.image_attention_dropout,
                activation=self.activation,
                **connect,
            ),
            Stream(
                mlp_width=self.image_mlp_width,
                dropout=self.image_dropout,
                read_dropout=self.attention_dropout,
                activation=self.image_activation,
                **connect,
            ),
            BertLayer(self.heads, self.mlp_width, *text, activation=self.activation, parent=None),
            BertLayer(
                self.image_heads,
                self.image_mlp_width,
                *image,
                activation=self.image_activation,
                parent=None,
            ),
        )
