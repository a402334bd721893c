"""Hidden regions: how they are chosen, and what a head makes of them."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Fraction
from vlp_jax.data.assemble import Feed
from vlp_jax.data.region_masking import REGION_MASKINGS, HideRegions
from vlp_jax.data.transforms import Transform
from vlp_jax.model import TextFields, Views
from vlp_jax.tasks.base import Task


@dataclass(frozen=True)
class HiddenRegionTask(Task):
    """What tasks on hidden regions have in common.

    `masking` hides regions as "uniter", "lxmert" or "vilbert" does, each with `probability`; "none"
    hides none. Tasks on the same regions give the same.
    """

    masking: str = "uniter"
    probability: Fraction = 0.15

    hides_regions = True

    def check(self, path: str, config: ExperimentConfig, tasks: Any) -> None:
        """The masking has to exist."""
        REGION_MASKINGS.get_known(self.masking, f"{path}.masking")

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Hides regions, in training."""
        masking = REGION_MASKINGS[self.masking]
        if masking is None or not (feed.train and feed.has_regions):
            return ()
        return (HideRegions(replace(masking, probability=self.probability), feed.config.regions),)


def region_output(views: Views, text: TextFields, head: str, part: str) -> Float[Array, "b r n"]:
    """Returns what a head gives for every region that has seen a text.

    `part` is "object", "attribute" or "feature", for a head that gives several. A head that does
    not give it is a ValueError.
    """
    output = views.head(head, text)
    if not isinstance(output, dict):
        return output
    if part not in output:
        raise ValueError(
            f'head {head} gives no "{part}", only {", ".join(output)}: set its size in '
            f"config.model.heads.{head}"
        )
    return output[part]


def hidden_regions(batch: dict[str, Array]) -> Bool[Array, "b r"]:
    """Returns which regions are to be predicted: hidden and no padding."""
    return batch["region_hidden"] & batch["region_mask"]


def shown_whole(batch: dict[str, Array]) -> dict[str, Array]:
    """Returns the batch with all regions shown, for steps in which nothing hidden is predicted.

    So the tasks of a sampled schedule that are about words or pairs see the whole image (UNITER).
    """
    if "region_hidden" not in batch:
        return batch
    rest = {k: v for k, v in batch.items() if k not in ("region_hidden", "region_targets")}
    return rest | {"region_features": batch["region_targets"]}


def check_width(predicted: Array, targets: Array, head: str, field: str) -> None:
    """Raises ValueError unless a head predicts as many numbers as a batch field holds."""
    given, expected = jnp.shape(predicted)[-1], jnp.shape(targets)[-1]
    if given != expected:
        raise ValueError(f"head {head} predicts {given} numbers a region, {field} holds {expected}")
