"""What every region shows, by the detector's labels and how sure it was of them (LXMERT)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.regions import LOSS_SCALE, feature_losses, weighted_region_loss
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.masked_regions import check_width, hidden_regions, region_output
from vlp_jax.objectives.views import TEXTS, Views

Part = Literal["object", "attribute", "feature"]

# The batch fields of each part: class and confidence, or the feature and which regions are hidden.
PART_FIELDS = {
    "object": ("region_labels", "region_confidence"),
    "attribute": ("region_attributes", "region_attribute_confidence"),
    "feature": ("region_targets", "region_hidden"),
}


@OBJECTIVES.register("region_labels")
@dataclass(frozen=True)
class RegionLabelsObjective:
    """Object, attribute and feature of regions, summed (Tan and Bansal 2019, section 3.1.2).

    As published, objects and attributes count in every region, hidden or not, by the detector's
    confidence; the paper speaks of hidden ones, and `masked_only` leaves the others out. Features
    (smooth L1) count in hidden regions. Each of the `parts` is a mean over all regions, times
    `scale`. `text` and `head` are as in `HiddenRegionObjective`.

    Regions stay hidden where the data hides some, whether or not the `parts` read which they are.
    """

    weight: float = 1.0
    parts: tuple[Part, ...] = ("object", "attribute", "feature")
    masked_only: bool = False
    scale: float = LOSS_SCALE
    text: Literal["clean", "masked"] = "masked"
    head: str = "region_labels"

    keeps_regions_hidden = True

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields, and class with confidence or feature for each part."""
        needed = {field for part in self.parts for field in PART_FIELDS[part]} | {"region_mask"}
        hidden = {"region_hidden"} if self.masked_only else set()
        return frozenset(TEXTS[self.text]) | needed | hidden

    @property
    def heads(self) -> tuple[str, ...]:
        """The one that predicts."""
        return (self.head,)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The loss of each part."""
        return tuple(f"region_{part}_loss" for part in self.parts)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        losses = {f"region_{part}_loss": self._loss(views, part) for part in self.parts}
        return Result(sum(losses.values(), jnp.zeros(())), losses)

    def _loss(self, views: Views, part: str) -> Float[Array, ""]:
        batch = views.batch
        predicted = region_output(views, self.text, self.head, part)
        if part == "feature":
            check_width(predicted, batch["region_targets"], self.head, "region_targets")
            losses = feature_losses(predicted, batch["region_targets"], "smooth_l1")
            weights = hidden_regions(batch).astype(jnp.float32)
        else:
            labels, confidence = (batch[field] for field in PART_FIELDS[part])
            losses = cross_entropy(predicted, labels)
            weights = confidence * hidden_regions(batch) if self.masked_only else confidence
        return weighted_region_loss(losses, weights, batch["region_mask"], self.scale)
