"""What every region shows, by the detector's labels and how sure it was of them (LXMERT)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import NonNegative
from vlp_jax.data.sizes import Sizes
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.regions import LOSS_SCALE, feature_losses, weighted_region_loss
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step
from vlp_jax.tasks.hidden_regions import (
    HiddenRegionTask,
    check_width,
    hidden_regions,
    region_output,
)
from vlp_jax.tasks.texts import SHOWN, Shown, needed

Part = Literal["object", "attribute", "feature"]

# The batch fields of each part: class and confidence, or the feature and which regions are hidden.
PART_FIELDS = {
    "object": ("region_labels", "region_confidence"),
    "attribute": ("region_attributes", "region_attribute_confidence"),
    "feature": ("region_targets", "region_hidden"),
}


@TASKS.register("region_labels")
@dataclass(frozen=True)
class RegionLabelsTask(HiddenRegionTask):
    """Object, attribute and feature of regions, summed (Tan and Bansal 2019, section 3.1.2).

    As published, objects and attributes count in every region, hidden or not, by the detector's
    confidence; the paper speaks of hidden ones, and `masked_only` leaves the others out. Features
    (smooth L1) count in hidden regions. Each of the `parts` is a mean over all regions, times
    `scale`. `text` is what the regions see, `head` the one that predicts.
    """

    masking: str = "lxmert"
    parts: tuple[Part, ...] = ("object", "attribute", "feature")
    masked_only: bool = False
    scale: NonNegative = LOSS_SCALE
    text: Shown = "masked"
    head: str = "region_labels"

    title = "Region labels"

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields, and class with confidence or feature for each part."""
        wanted = {field for part in self.parts for field in PART_FIELDS[part]} | {"region_mask"}
        hidden = {"region_hidden"} if self.masked_only else set()
        return needed(SHOWN[self.text]) | wanted | hidden

    @property
    def metrics(self) -> dict[str, str]:
        """The loss of each part."""
        return {f"region_{part}_loss": f"Region {part} loss" for part in self.parts}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that predicts, with a size for each part."""
        known = {
            "object": len(sizes.vocabulary.region_classes),
            "attribute": len(sizes.vocabulary.region_attributes),
            "feature": sizes.widths.get("region_targets", 0),
        }
        return {self.head: HeadNeed("region_labels", {part: known[part] for part in self.parts})}

    def table_sizes(self, model: VisionLanguageModel) -> dict[str, int]:
        """Object and attribute classes."""
        head = model.head(self.head)
        return {PART_FIELDS[p][0]: head.size_of(p) for p in self.parts if p != "feature"}

    def loss(self, step: Step) -> Result:
        """The sum of the parts."""
        losses = {f"region_{part}_loss": self._loss(step.views, part) for part in self.parts}
        return Result(sum(losses.values(), jnp.zeros(())), losses)

    def _loss(self, views: Views, part: str) -> Float[Array, ""]:
        batch = views.batch
        predicted = region_output(views, SHOWN[self.text], self.head, part)
        if part == "feature":
            check_width(predicted, batch["region_targets"], self.head, "region_targets")
            losses = feature_losses(predicted, batch["region_targets"], "smooth_l1")
            weights = hidden_regions(batch).astype(jnp.float32)
        else:
            labels, confidence = (batch[field] for field in PART_FIELDS[part])
            losses = cross_entropy(predicted, labels)
            weights = confidence * hidden_regions(batch) if self.masked_only else confidence
        return weighted_region_loss(losses, weights, batch["region_mask"], self.scale)
