"""The detector of bottom-up attention (Anderson et al. 2018): Faster R-CNN C4 with attributes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.detectors.anchors import centred_anchors
from vlp_jax.detectors.boxes import clip, decode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS, C4Detector, rows_of
from vlp_jax.detectors.pooling import pool_regions
from vlp_jax.detectors.proposal_head import ProposalHead
from vlp_jax.detectors.proposals import Proposals
from vlp_jax.detectors.selection import LadderRule, Rule, Selected, by_confidence, by_ladder
from vlp_jax.detectors.trunk import Stage, Trunk
from vlp_jax.encoders.resnet import EPSILON
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.projection import Linear


class Found(NamedTuple):
    """Regions in their order; what is not in the mask is padding.

    Attributes:
      boxes: in pixels of the pictures as they were given.
      labels, scores: classes from 0 on, without the background, and what regions were chosen by.
      attributes, attribute_scores: the likeliest one of each, and its share among attributes.
      class_scores: probabilities of all classes, background last.
    """

    boxes: Float[Array, "b k 4"]
    labels: Int[Array, "b k"]
    scores: Float[Array, "b k"]
    features: Float[Array, "b k f"]
    attributes: Int[Array, "b k"]
    attribute_scores: Float[Array, "b k"]
    class_scores: Float[Array, "b k c"]
    mask: Bool[Array, "b k"]


class Frcnn(C4Detector):
    """Finds regions in pictures: pixels B, G, R less their mean, at the corner of a common frame.

    Attributes:
      stem, width: channels after the stem and after the first stage; later stages double them.
      inner: between a bottleneck's convolutions in the first stage; doubled as well.
      depths: blocks of the four stages; the last one reads regions.
      dilated: the last stage keeps the resolution of regions; otherwise it halves it.
      hidden: channels of the proposal network.
      classes, attributes: without the background, and without "no attribute"; both come last.
    """

    stem: int = 64
    width: int = 256
    inner: int = 64
    groups: int = 1
    depths: tuple[int, int, int, int] = (3, 4, 23, 3)
    stride_in_first: bool = True
    caffe_pool: bool = True
    dilated: bool = True
    hidden: int = 512
    anchor_sizes: tuple[float, ...] = (64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    classes: int = 1600
    attributes: int = 400
    rule: Rule = LadderRule()

    cut = staticmethod(pool_regions)

    def setup(self) -> None:
        *widths, last = (self.width * 2**i for i in range(4))
        *inners, last_inner = (self.inner * 2**i for i in range(4))
        shared = self.groups, EPSILON, self.stride_in_first
        self.trunk = Trunk(
            self.stem, widths, inners, self.depths[:3], *shared, caffe_pool=self.caffe_pool
        )
        self.proposal_head = ProposalHead(
            self.anchor_sizes, self.anchor_ratios, centred_anchors, self.hidden
        )
        stride, dilation = (1, 2) if self.dilated else (2, 1)
        self.region_stage = Stage(last, last_inner, self.depths[3], stride, *shared, dilation)
        self.class_head = Linear(self.classes + 1)
        self.box_head = Linear(4 * self.classes)
        self.class_embedding = Embedding(self.classes + 1, last // 8)
        self.attribute_layer = Linear(last // 4)
        self.attribute_head = Linear(self.attributes + 1)

    def __call__(
        self,
        pixels: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"],
        frames: Int[Array, "b 2"],
        scales: Float[Array, "b"] | None = None,
    ) -> Found:
        """Returns what is in pictures; the arguments are those of `seen_in`."""
        _, _, proposals, features, logits = self.seen_in(pixels, sizes, frames, scales)
        labels = logits[..., :-1].argmax(axis=-1)
        shares = jax.nn.softmax(logits)
        boxes = self.boxes_of(proposals, features, labels, sizes)
        chosen = self.told("selected", self._selected(proposals, boxes, shares[..., :-1]))
        attributes = self.attributes_of(features, logits.argmax(axis=-1))
        rows = lambda values: rows_of(values, chosen.rows)
        return Found(
            rows(boxes),
            rows(labels),
            chosen.scores,
            rows(features),
            rows(attributes.argmax(axis=-1)),
            rows(attributes.max(axis=-1)),
            rows(shares),
            chosen.mask,
        )

    def boxes_of(
        self, proposals: Proposals, features: Float[Array, "b n f"], labels: Array, sizes: Array
    ) -> Float[Array, "b n 4"]:
        """Returns the boxes of regions: what their class makes of the proposals, or these."""
        deltas = self.told("box_deltas", self.box_head(features))
        if not isinstance(self.rule, LadderRule):
            return proposals.boxes
        deltas = deltas.reshape(*features.shape[:2], self.classes, 4)
        deltas = jnp.take_along_axis(deltas, labels[..., None, None], axis=2)[:, :, 0]
        boxes = decode(proposals.boxes, deltas, HEAD_WEIGHTS, self.proposals.sides)
        return jax.vmap(lambda *own: clip(*own, self.proposals.sides))(boxes, sizes)

    def _selected(self, proposals: Proposals, boxes: Array, shares: Array) -> Selected:
        select = by_ladder if isinstance(self.rule, LadderRule) else by_confidence
        return jax.vmap(lambda *own: select(*own, self.rule))(boxes, shares, proposals.mask)

    def attributes_of(
        self, features: Float[Array, "b n f"], labels: Int[Array, "b n"]
    ) -> Float[Array, "b n a"]:
        """Returns probabilities among attributes, given the likeliest class, background or not."""
        both = jnp.concatenate([features, self.class_embedding(labels)], axis=-1)
        logits = self.attribute_head(jax.nn.relu(self.attribute_layer(both)))
        self.told("attribute_logits", logits)
        return self.told("attribute_shares", jax.nn.softmax(logits[..., :-1]))
