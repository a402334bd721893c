"""What detectors have in common that cut regions out of the map of a trunk's third stage."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.detectors.anchors import STRIDE, grid_anchors
from vlp_jax.detectors.proposals import ProposalRule, Proposals, propose
from vlp_jax.detectors.trunk import inside_of

# Fast R-CNN's (Girshick 2015), by which a head's box deltas are divided.
HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class Seen(NamedTuple):
    """What a detector makes of pictures before it chooses regions.

    Attributes:
      grid, extents: the trunk's map, and how much of it is of each picture.
      features, logits: of each proposal, the latter of its class.
    """

    grid: Float[Array, "b i j c"]
    extents: Int[Array, "b 2"]
    proposals: Proposals
    features: Float[Array, "b n f"]
    logits: Float[Array, "b n c"]


class C4Detector(nn.Module):
    """Proposals of a map, and features and classes of these.

    Subclasses make the parts that are needed: `trunk`, `proposal_head`, `region_stage` and
    `class_head`.

    Attributes:
      bins: to how many cells a side regions are cut.
      cut: function that cuts them out, of `vlp_jax.detectors.pooling`.
    """

    bins: int = 14
    proposals: ProposalRule = ProposalRule()

    cut: ClassVar[Callable[..., Array]]

    def seen_in(
        self, pixels: Float[Array, "b h w 3"], sizes: Array, frames: Array, scales: Array | None
    ) -> Seen:
        """Returns what is seen in pictures of `sizes` = (height, width), enlarged by `scales`.

        Convolutions look no further than `frames`. With the pictures' own sizes what is found does
        not depend on the frame; the original takes the whole frame.
        """
        grid = self.trunk(pixels, frames)
        extents = self.trunk.extents(frames)
        scales = jnp.ones(len(pixels)) if scales is None else scales
        proposals = self.proposals_of(grid, extents, sizes, scales)
        features = self.features_of(grid, proposals.boxes, extents)
        logits = self.told("class_logits", self.class_head(features))
        return Seen(grid, extents, proposals, features, logits)

    def proposals_of(
        self, grid: Float[Array, "b i j c"], extents: Int[Array, "b 2"], sizes: Array, scales: Array
    ) -> Proposals:
        """Returns the proposals of each picture, whose part of the map is `extents`."""
        inside = inside_of(extents, *grid.shape[1:3])
        logits, deltas, cell = self.proposal_head(grid, inside)
        self.told("proposal_logits", logits)
        self.told("proposal_deltas", deltas)
        count = len(grid), -1
        anchors = self.told("anchors", grid_anchors(cell, *grid.shape[1:3]))
        mask = jnp.broadcast_to(inside[..., None], logits.shape).reshape(count)
        of_picture = lambda *own: propose(*own[:2], anchors, *own[2:], rule=self.proposals)
        each = logits.reshape(count), deltas.reshape(*count, 4), mask, sizes.astype(jnp.float32)
        return self.told("proposals", jax.vmap(of_picture)(*each, scales))

    def features_of(
        self, grid: Float[Array, "b i j c"], boxes: Float[Array, "b n 4"], extents: Array
    ) -> Float[Array, "b n f"]:
        """Returns the features of boxes: the mean of the last stage's map of each."""
        cut = lambda grid, boxes, extent: self.cut(grid, boxes, extent, self.bins, 1 / STRIDE)
        regions = self.told("regions", jax.vmap(cut)(grid, boxes, extents))
        maps = self.region_stage(regions.reshape(-1, *regions.shape[2:]))
        maps = self.told("region_maps", maps.reshape(*boxes.shape[:2], *maps.shape[1:]))
        return self.told("features", maps.mean(axis=(2, 3)))

    def told(self, name: str, value: Any) -> Any:
        """Returns the value, kept under the name for those who look at intermediates."""
        self.sow("intermediates", name, value)
        return value


def rows_of(values: Float[Array, "b n *f"], rows: Int[Array, "b k"]) -> Float[Array, "b k *f"]:
    """Returns the given rows of each picture."""
    return jax.vmap(lambda values, rows: values[rows])(values, rows)
