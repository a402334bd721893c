"""The detector of VinVL (Zhang et al. 2021): ResNeXt-152 C4 with classes and attributes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.detectors.attribute_choice import AttributeRule, choose_attributes
from vlp_jax.detectors.boxes import INCLUSIVE, clip, decode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS, C4Detector, rows_of
from vlp_jax.detectors.pooling import align_regions
from vlp_jax.detectors.proposal_head import ProposalHead
from vlp_jax.detectors.proposals import ProposalRule, Proposals
from vlp_jax.detectors.surviving_class import SurvivorRule, best_survivors
from vlp_jax.detectors.trunk import Stage, Trunk
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.projection import Linear

# Its normalisation adds nothing to the variance.
EPSILON = 0.0


class VinvlRule(NamedTuple):
    """What becomes of the proposals.

    Attributes:
      moves_boxes: regions get the box that the head makes of the proposal for their class, as in
        the published demo. Published features have the proposals themselves.
      survivors, attributes: which regions and which of their attributes stay.
    """

    moves_boxes: bool = False
    survivors: SurvivorRule = SurvivorRule()
    attributes: AttributeRule = AttributeRule()


class Found(NamedTuple):
    """Regions in descending order of score; what is not in the mask is padding.

    Attributes:
      boxes: first and last pixel, of the pictures as they were given.
      labels: from 1 on; 0 is the background.
      features: of the proposal that a region was, also where its box was moved.
      attribute_labels, attribute_scores: the likeliest first; -1 and 0 where there are no more.
    """

    boxes: Float[Array, "b k 4"]
    labels: Int[Array, "b k"]
    scores: Float[Array, "b k"]
    features: Float[Array, "b k f"]
    attribute_labels: Int[Array, "b k m"]
    attribute_scores: Float[Array, "b k m"]
    mask: Bool[Array, "b k"]


class Vinvl(C4Detector):
    """Finds regions in pictures: pixels B, G, R less their mean, at the corner of a common frame.

    Attributes:
      stem, width: channels after the stem and after the first stage; later stages double them.
      groups, group_width: of the first stage's 3×3 convolutions, as in "32×8d".
      depths: blocks of the four stages; the last one reads regions.
      classes, attributes: without the background, and without "no attribute"; both come first.
      class_width, attribute_width: of the class embedding, and of the attributes' hidden layer.
    """

    stem: int = 64
    width: int = 256
    groups: int = 32
    group_width: int = 8
    depths: tuple[int, int, int, int] = (3, 8, 36, 3)
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    classes: int = 1594
    attributes: int = 524
    class_width: int = 256
    attribute_width: int = 512
    proposals: ProposalRule = ProposalRule(score="sigmoid", sides=INCLUSIVE)
    rule: VinvlRule = VinvlRule()

    cut = staticmethod(align_regions)

    def setup(self) -> None:
        widths = tuple(self.width * 2**i for i in range(4))
        inners = tuple(self.groups * self.group_width * 2**i for i in range(4))
        shared = dict(groups=self.groups, epsilon=EPSILON)
        self.trunk = Trunk(self.stem, widths[:3], inners[:3], self.depths[:3], **shared)
        self.proposal_head = ProposalHead(self.anchor_sizes, self.anchor_ratios)
        self.region_stage = Stage(widths[3], inners[3], self.depths[3], 2, **shared)
        self.class_head = Linear(self.classes + 1)
        self.box_head = Linear(4 * (self.classes + 1))
        self.class_embedding = Embedding(self.classes + 1, self.class_width)
        self.attribute_layer = Linear(self.attribute_width)
        self.attribute_head = Linear(self.attributes + 1)

    def __call__(
        self,
        pixels: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"],
        frames: Int[Array, "b 2"],
        scales: Float[Array, "b"] | None = None,
    ) -> Found:
        """Returns what is in pictures; the arguments are those of `seen_in`."""
        grid, extents, proposals, features, logits = self.seen_in(pixels, sizes, frames, scales)
        shares = jax.nn.softmax(logits)
        boxes = self.told("boxes", self.boxes_of(proposals, features, sizes))
        select = jax.vmap(lambda *given: best_survivors(*given, self.rule.survivors))
        chosen = self.told("chosen", select(boxes, shares, proposals.mask))
        boxes, features = rows_of(boxes, chosen.rows), rows_of(features, chosen.rows)
        own = jnp.minimum(chosen.labels, boxes.shape[2] - 1)[..., None, None]
        boxes = jnp.take_along_axis(boxes, own, axis=2)[:, :, 0]
        seen = self.features_of(grid, boxes, extents) if self.rule.moves_boxes else features
        attributes = self.attributes_of(seen, chosen.labels, chosen.mask)
        return Found(boxes, chosen.labels, chosen.scores, features, *attributes, chosen.mask)

    def boxes_of(
        self, proposals: Proposals, features: Float[Array, "b n f"], sizes: Int[Array, "b 2"]
    ) -> Float[Array, "b n c 4"]:
        """Returns the box that each class makes of each proposal, or the proposal for all."""
        if not (self.rule.moves_boxes or self.is_initializing()):
            return proposals.boxes[:, :, None]
        deltas = self.told("box_deltas", self.box_head(features))
        deltas = deltas.reshape(*features.shape[:2], self.classes + 1, 4)
        boxes = decode(proposals.boxes[:, :, None], deltas, HEAD_WEIGHTS, INCLUSIVE)
        self.told("decoded_boxes", boxes)
        return jax.vmap(lambda *given: clip(*given, INCLUSIVE))(boxes, sizes)

    def attributes_of(
        self, features: Float[Array, "b k f"], labels: Int[Array, "b k"], mask: Bool[Array, "b k"]
    ) -> tuple[Int[Array, "b k m"], Float[Array, "b k m"]]:
        """Returns the attributes of regions of these classes, and their probabilities."""
        both = jnp.concatenate([features, self.class_embedding(labels)], axis=-1)
        hidden = self.told("attribute_hidden", jax.nn.relu(self.attribute_layer(both)))
        logits = self.told("attribute_logits", self.attribute_head(hidden))
        choose = jax.vmap(lambda *given: choose_attributes(*given, self.rule.attributes))
        return choose(logits, mask)
