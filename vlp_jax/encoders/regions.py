"""Region encoder: detector features and boxes to tokens, in the form of each published model."""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from flax.linen import meta
from jaxtyping import Array, Float, Int

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural, Range
from vlp_jax.config.registry import Registry
from vlp_jax.encoders import VISION_ENCODERS
from vlp_jax.encoders.encoder import TextEncoder, VisionEncoder
from vlp_jax.layers.activation import Activation
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, kernel_init
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Tokens

BOX_ENCODINGS = Registry("box encoding")


def _register(name: str, width: int):
    def add(function):
        BOX_ENCODINGS[name] = (width, function)
        return function

    return add


def _size(boxes: Array) -> Array:
    return boxes[..., 2:4] - boxes[..., 0:2]


@_register("none", 0)
def no_box(boxes: Array) -> Array:
    """VisualBERT: the encoder does not see where a region is."""
    return boxes[..., :0]


@_register("corners", 4)
def corners(boxes: Array) -> Array:
    """LXMERT: x1, y1, x2, y2."""
    return boxes


@_register("corners_area", 5)
def corners_area(boxes: Array) -> Array:
    """ViLBERT: corners and the covered fraction of the image."""
    return jnp.concatenate([boxes, _size(boxes).prod(-1, keepdims=True)], -1)


@_register("corners_size", 6)
def corners_size(boxes: Array) -> Array:
    """OSCAR: corners, width and height."""
    return jnp.concatenate([boxes, _size(boxes)], -1)


@_register("corners_size_area", 7)
def corners_size_area(boxes: Array) -> Array:
    """UNITER: corners, width, height and area."""
    return jnp.concatenate([corners_size(boxes), _size(boxes).prod(-1, keepdims=True)], -1)


def encode_boxes(boxes: Float[Array, "b r k"], name: str) -> Float[Array, "b r e"]:
    """Encodes unit-square boxes [B, R, 4]; boxes of the encoding's width pass as they are.

    Of boxes with width, height and area behind the corners, other encodings read the corners.
    """
    width, function = BOX_ENCODINGS.get_known(name, "config.model.vision_args.boxes")
    if boxes.shape[-1] == width:
        return boxes
    if boxes.shape[-1] == BOX_ENCODINGS["corners_size_area"][0]:
        boxes = boxes[..., :4]
    if boxes.shape[-1] != 4:
        raise ValueError(
            f'region_boxes have {boxes.shape[-1]} numbers; box encoding "{name}" takes 4'
            + (f" or {width}" if width else "")
        )
    return function(boxes)


def aligned_positions(
    alignment: Int[Array, "b r a"], positions: Float[Array, "p d"]
) -> Float[Array, "b r d"]:
    """Returns the mean position vector of the words that each region is aligned with.

    `alignment` holds text positions, -1 = unused; a region without words gets zero (VisualBERT).
    """
    used = (alignment >= 0)[..., None].astype(positions.dtype)
    vectors = jnp.take(positions, jnp.maximum(alignment, 0), axis=0) * used
    return vectors.sum(2) / jnp.maximum(used.sum(2), 1)


def _cut_to_regions(alignment: Array, regions: int) -> Array:
    """Takes off padding beyond the last region, which published data have."""
    if alignment.shape[1] < regions:
        raise ValueError(f"region_alignment has {alignment.shape[1]} rows for {regions} regions")
    return alignment[:, :regions]


@VISION_ENCODERS.register("regions")
class RegionEncoder(VisionEncoder):
    """Embeds `region_features` [B, R, F] and `region_boxes` [B, R, 4] under `region_mask` [B, R].

    * `boxes`: how a box is encoded ("none", "corners", "corners_area", "corners_size", …).
    * `boxes_joined`: append the encoded box to the feature (OSCAR) rather than add its projection.
    * `feature_norm`, `box_norm`, `output_norm`: where layer normalisation stands.
    * `average`: the mean of both projections (LXMERT) instead of their sum.
    * `types`, `positions`: own tables (VisualBERT). Without `region_types` [B, R] in the batch
      every region has type `default_type`; every region has position 0, to which `region_alignment`
      [B, R, A] adds the mean position of the words it names (text positions, -1 = unused).
    * `text_type`: the row of the text encoder's type table that is added (UNITER), where the batch
      has no `region_types` [B, R] that name it; -1 for none.
    * `mask_embedding`: row 1 of a learned table is added to the features of regions that are True
      in `region_hidden` [B, R]; as published, row 0, of the others, is never read (UNITER).
    * `layers`: Transformer layers over the regions alone (LXMERT has 5).
    * `embedding_dropout`: by default that of the layers, `dropout`.
    """

    feature_width: Count = 2048
    width: Count = 768
    boxes: Annotated[str, BOX_ENCODINGS] = "corners"
    boxes_joined: bool = False
    feature_norm: bool = False
    box_norm: bool = False
    output_norm: bool = True
    average: bool = False
    types: Natural = 0
    default_type: Natural = 0
    positions: Natural = 0
    text_type: Annotated[int, Range(-1)] = -1
    mask_embedding: bool = False
    layers: Natural = 0
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    embedding_dropout: Fraction | None = None
    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"
    dtype: str = "float32"
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    reads = ("region_features", "region_boxes", "region_mask")
    rank = 3
    may_read = ("region_hidden", "region_types", "region_alignment")
    from_data = {"feature_width": "feature_width"}

    @property
    def shares_text_tables(self) -> bool:
        """Whether the text encoder's type or position table takes part."""
        return self.text_type >= 0 or self.positions > 0

    def table_sizes(self, text: TextEncoder) -> dict[str, int]:
        """Those of types and of aligned words."""
        types = min([n for n in (self.types, text.types * (self.text_type >= 0)) if n], default=0)
        sizes = {"region_types": types, "region_alignment": self.positions and text.max_length}
        return {name: size for name, size in sizes.items() if size}

    @nn.compact
    def __call__(self, batch: dict, *, text_encoder=None, deterministic: bool = True) -> Tokens:
        states = self._embed(batch, text_encoder)
        if self.output_norm:
            states = LayerNorm(self.epsilon, name="norm")(states)
        drop = nn.Dropout(
            self.dropout if self.embedding_dropout is None else self.embedding_dropout
        )
        states = drop(states, deterministic=deterministic).astype(self.dtype)
        self.sow("intermediates", "embedding", states)
        mask = batch["region_mask"]
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            activation=self.activation,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        return Tokens(stack(states, mask, deterministic=deterministic), mask)

    def _embed(self, batch: dict, text_encoder) -> Float[Array, "b r d"]:
        features = self._features(batch)
        boxes = features[..., :0]
        if self.boxes != "none":
            boxes = encode_boxes(batch["region_boxes"], self.boxes)
        if self.boxes_joined:
            features = jnp.concatenate([features, boxes], -1)
        parts = [self._projected("feature", features, self.feature_norm)]
        if boxes.shape[-1] and not self.boxes_joined:
            parts.append(self._projected("box", boxes, self.box_norm))
        states = sum(parts) / (len(parts) if self.average else 1)
        return states + self._extras(batch, text_encoder)

    def _features(self, batch: dict) -> Float[Array, "b r f"]:
        features = batch["region_features"].astype(jnp.float32)
        given, expected = features.shape[-1], self.feature_width
        if given != expected:
            raise ValueError(
                f"region_features are {given} wide and the vision encoder takes {expected} "
                "(config.model.vision_args.feature_width)"
            )
        if self.mask_embedding and "region_hidden" in batch:
            table = self.param("mask_embedding", kernel_init(None, "patch"), (2, expected))
            features = features + batch["region_hidden"][..., None] * table[1]
        return features

    def feature_table(self) -> Float[Array, "f d"]:
        """Returns the kernel that embeds features, to which feature regression is tied."""
        return meta.unbox(self.variables["params"]["feature_projection"]["kernel"])

    def _projected(self, name: str, x: Array, norm: bool) -> Float[Array, "b r d"]:
        projected = Linear(self.width, axes=("patch", "embed"), name=f"{name}_projection")(x)
        return LayerNorm(self.epsilon, name=f"{name}_norm")(projected) if norm else projected

    def _extras(self, batch: dict, text_encoder) -> Array | float:
        extra = 0.0
        shape = batch["region_mask"].shape
        if self.types:
            ids = batch.get("region_types", jnp.full(shape, self.default_type, jnp.int32))
            extra += Embedding(self.types, self.width, axes=(None, "embed"), name="type")(ids)
        if self.positions:
            table = Embedding(self.positions, self.width, axes=("length", "embed"), name="position")
            extra += table(jnp.zeros(shape, jnp.int32))
        if self.positions and "region_alignment" in batch:
            alignment = _cut_to_regions(batch["region_alignment"], shape[1])
            extra += aligned_positions(alignment, text_encoder.position_table())
        if self.text_type >= 0:
            ids = batch.get("region_types", jnp.full(shape, self.text_type, jnp.int32))
            extra += jnp.take(text_encoder.type_table(), ids, axis=0)
        return extra
