"""Region encoder: detector features and boxes to tokens, in the form of each published model."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.registry import Registry
from vlp_jax.encoders import VISION_ENCODERS
from vlp_jax.layers.attention import attention_bias
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, kernel_init
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
    """Encodes unit-square boxes [B, R, 4]; boxes that have the encoding's width pass as they are."""
    width, function = BOX_ENCODINGS.get_known(name, "model.vision_args.boxes")
    if boxes.shape[-1] == width:
        return boxes
    if boxes.shape[-1] != 4:
        raise ValueError(
            f'region_boxes have {boxes.shape[-1]} numbers; box encoding "{name}" takes 4'
            + (f" or {width}" if width else "")
        )
    return function(boxes)


@VISION_ENCODERS.register("regions")
class RegionEncoder(nn.Module):
    """Embeds `region_features` [B, R, F] and `region_boxes` [B, R, 4] under `region_mask` [B, R].

    * `boxes`: how a box is encoded ("none", "corners", "corners_area", "corners_size", …).
    * `boxes_joined`: append the encoded box to the feature (OSCAR) instead of adding its projection.
    * `feature_norm`, `box_norm`, `output_norm`: where layer normalisation stands.
    * `average`: the mean of both projections (LXMERT) instead of their sum.
    * `types`, `positions`: own tables; every region has position 0 (VisualBERT).
    * `text_type`: the row of the text encoder's type table that is added (UNITER); -1 for none.
    * `mask_embedding`: a learned vector is added to masked regions (UNITER).
    * `layers`: Transformer layers over the regions alone (LXMERT has 5).
    """

    feature_width: int = 2048
    width: int = 768
    boxes: str = "corners"
    boxes_joined: bool = False
    feature_norm: bool = False
    box_norm: bool = False
    output_norm: bool = True
    average: bool = False
    types: int = 0
    positions: int = 0
    text_type: int = -1
    mask_embedding: bool = False
    layers: int = 0
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    epsilon: float = BERT_EPSILON
    dtype: str = "float32"

    reads = ("region_features", "region_boxes", "region_mask")

    @nn.compact
    def __call__(self, batch: dict, *, text_encoder=None, deterministic: bool = True) -> Tokens:
        states = self._embed(batch, text_encoder)
        if self.output_norm:
            states = LayerNorm(self.epsilon, name="norm")(states)
        states = nn.Dropout(self.dropout)(states, deterministic=deterministic).astype(self.dtype)
        self.sow("intermediates", "embedding", states)
        mask = batch["region_mask"]
        bias = attention_bias(mask)
        for i in range(self.layers):
            layer = BertLayer(
                self.heads,
                self.mlp_width,
                self.dropout,
                self.attention_dropout,
                self.epsilon,
                name=f"layer_{i}",
            )
            states = layer(states, bias, deterministic=deterministic)
            self.sow("intermediates", f"layer_{i}_output", states)
        return Tokens(states, mask)

    def _embed(self, batch: dict, text_encoder) -> Float[Array, "b r d"]:
        boxes = encode_boxes(batch["region_boxes"], self.boxes)
        features = self._features(batch)
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
                "(model.vision_args.feature_width)"
            )
        if self.mask_embedding and "region_hidden" in batch:
            vector = self.param("mask_embedding", kernel_init("patch"), (features.shape[-1],))
            features = features + batch["region_hidden"][..., None] * vector
        return features

    def _projected(self, name: str, x: Array, norm: bool) -> Float[Array, "b r d"]:
        projected = Linear(self.width, axes=("patch", "embed"), name=f"{name}_projection")(x)
        return LayerNorm(self.epsilon, name=f"{name}_norm")(projected) if norm else projected

    def _extras(self, batch: dict, text_encoder) -> Array | float:
        extra = 0.0
        shape = batch["region_mask"].shape
        if self.types:
            ids = batch.get("region_types", jnp.zeros(shape, jnp.int32))
            extra += Embedding(self.types, self.width, axes=(None, "embed"), name="type")(ids)
        if self.positions:
            table = Embedding(self.positions, self.width, axes=("length", "embed"), name="position")
            extra += table(jnp.zeros(shape, jnp.int32))
        if self.text_type >= 0:
            extra += text_encoder.type_table()[self.text_type]
        return extra
