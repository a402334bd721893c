"""What detectors have in common that cut regions out of the map of a trunk's third stage."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.detectors.anchors import STRIDE, grid_anchors
from vlp_jax.detectors.proposals import ProposalRule, Proposals, propose
from vlp_jax.detectors.trunk import inside_of

# Fast R-CNN's (Girshick 2015), by which a head's box deltas are divided.
HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class C4Detector(nn.Module):
    """Proposals of a map and features of regions.

    Subclasses make the parts that these need, `proposal_head` and `region_stage`.

    Attributes:
      bins: to how many cells a side regions are cut.
      cut: function that cuts them out, of `vlp_jax.detectors.pooling`.
    """

    bins: int = 14
    proposals: ProposalRule = ProposalRule()

    cut: ClassVar[Callable[..., Array]]

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
