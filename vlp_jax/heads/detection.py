"""What is where in a picture: a small Faster R-CNN on a map of image tokens."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config.ranges import Count, Natural, Positive
from vlp_jax.detectors.anchors import centred_anchors, grid_anchors
from vlp_jax.detectors.boxes import clip, decode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS, rows_of
from vlp_jax.detectors.pooling import align_regions
from vlp_jax.detectors.proposal_head import ProposalHead
from vlp_jax.detectors.proposals import ProposalRule, Proposals, propose
from vlp_jax.detectors.surviving_class import SurvivorRule, best_survivors
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Tokens


class Proposed(NamedTuple):
    """What the first stage says of every anchor, and the proposals that it makes; in cells."""

    logits: Float[Array, "b n"]
    deltas: Float[Array, "b n 4"]
    anchors: Float[Array, "b n 4"]
    proposals: Proposals


class Looked(NamedTuple):
    """What the second stage says of boxes; class 0 is the background."""

    features: Float[Array, "b n f"]
    logits: Float[Array, "b n c"]
    deltas: Float[Array, "b n 4"]


class Objects(NamedTuple):
    """Objects in descending order of score; what is not in the mask is padding.

    Attributes:
      boxes: in the unit square.
      labels, scores: classes from 0 on, without the background, and their probabilities.
      class_scores: probabilities of all classes, background first.
    """

    boxes: Float[Array, "b k 4"]
    labels: Int[Array, "b k"]
    scores: Float[Array, "b k"]
    features: Float[Array, "b k f"]
    class_scores: Float[Array, "b k c"]
    mask: Bool[Array, "b k"]


@HEADS.register("detection")
class DetectionHead(Head):
    """Objects of a picture whose tokens are the cells of a square map (Ren et al. 2015).

    `classes` are counted without the background; all of them move a proposal alike.
    `anchor_sizes` are sides as shares of the picture's, `anchor_ratios` height to width. `hidden`
    channels say where proposals are, of which `kept` stay; each is read in `bins` × `bins` parts
    and has a feature of `width` numbers.
    """

    classes: Natural = 0
    anchor_sizes: tuple[Positive, ...] = (0.25, 0.5)
    anchor_ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    hidden: Count = 256
    kept: Count = 64
    bins: Count = 7
    width: Count = 1024

    sized_by = {"object": "classes"}

    def setup(self) -> None:
        if not self.classes:
            raise ValueError(
                "config.model.heads.detection.classes is 0, and the source does not name its "
                "region classes: say how many there are"
            )
        self.proposal_head = ProposalHead(
            self.anchor_sizes, self.anchor_ratios, centred_anchors, self.hidden, stored=False
        )
        self.layers = [Linear(self.width), Linear(self.width)]
        self.class_head = Linear(self.classes + 1, axes=("embed", None))
        self.box_head = Linear(4, axes=("embed", None))

    def of(self, model: Any, reading: Reading, *, deterministic: bool = True) -> Objects:
        """Reads the picture before the fusion."""
        return self(reading.images[0], deterministic=deterministic)

    def __call__(
        self,
        image: Tokens,
        rule: SurvivorRule = SurvivorRule(least=1),
        *,
        deterministic: bool = True,
    ) -> Objects:
        proposals = self.propose(image).proposals
        looked = self.look(image, proposals.boxes)
        side = side_of(image)
        moved = decode(proposals.boxes, looked.deltas, HEAD_WEIGHTS)
        boxes = clip(moved, jnp.full(2, side)) / side
        shares = jax.nn.softmax(looked.logits)
        select = jax.vmap(lambda *own: best_survivors(*own, rule))
        chosen = select(boxes[:, :, None], shares, proposals.mask)
        rows = (rows_of(x, chosen.rows) for x in (looked.features, shares))
        return Objects(
            rows_of(boxes, chosen.rows), chosen.labels - 1, chosen.scores, *rows, chosen.mask
        )

    def propose(self, image: Tokens) -> Proposed:
        """Returns what the first stage says; no gradient comes through the proposals' boxes."""
        grid, side = _grid(image), side_of(image)
        logits, deltas, cell = self.proposal_head(grid, jnp.ones(grid.shape[:3], bool))
        shape = len(grid), -1
        anchors = grid_anchors(cell * side + 0.5, side, side, stride=1)  # around middles
        given = logits.reshape(shape), deltas.reshape(*shape, 4)
        rule = ProposalRule(kept=self.kept)
        fixed = map(jax.lax.stop_gradient, given)
        every, size = jnp.ones(len(anchors), bool), jnp.full(2, side, anchors.dtype)
        of_picture = lambda *own: propose(*own, anchors, every, size, rule=rule)
        proposals = jax.vmap(of_picture)(*fixed)
        return Proposed(*given, jnp.broadcast_to(anchors, given[1].shape), proposals)

    def look(self, image: Tokens, boxes: Float[Array, "b n 4"]) -> Looked:
        """Returns what the second stage says of boxes, in cells."""
        grid, extent = _grid(image), jnp.full(2, side_of(image))
        cut = jax.vmap(lambda *own: align_regions(*own, extent, self.bins, 1.0))
        features = cut(grid, boxes).reshape(*boxes.shape[:2], -1)
        for layer in self.layers:
            features = jax.nn.relu(layer(features))
        return Looked(features, self.class_head(features), self.box_head(features))


def side_of(image: Tokens) -> int:
    """Returns how many cells a side of the map has; ValueError for tokens that form no square."""
    count = image.states.shape[1]
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(
            f"detection needs image tokens that form a square, and the vision encoder gives {count}"
        )
    return side


def _grid(image: Tokens) -> Float[Array, "b s s d"]:
    side = side_of(image)
    return image.states.reshape(-1, side, side, image.states.shape[-1]).astype(jnp.float32)
