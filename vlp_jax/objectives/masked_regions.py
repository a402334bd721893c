"""Masked region modelling: what the detector saw in hidden regions, as a feature or as a class."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.layers.tokens import Fused
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.regions import best_class, class_losses, feature_losses
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import TEXTS, Views


def region_output(views: Views, text: str, head: str, part: str) -> Float[Array, "b r n"]:
    """Returns what a head gives for every region that has seen the "clean" or "masked" text.

    `part` is "object", "attribute" or "feature", for a head that gives several. A head that does
    not give it is a ValueError.
    """
    output = views.run(partial(_run_head, head=head), views.fused(text), name=head)
    if not isinstance(output, dict):
        return output
    if part not in output:
        raise ValueError(
            f'head {head} gives no "{part}", only {", ".join(output)}: set its size in '
            f"config.model.heads.{head}"
        )
    return output[part]


def _run_head(
    model: VisionLanguageModel, fused: Fused, *, head: str, deterministic: bool = True
) -> Any:
    return model.run_head(head, fused.text, fused.image, fused, deterministic=deterministic)


def hidden_regions(batch: dict[str, Array]) -> Bool[Array, "b r"]:
    """Returns which regions are to be predicted: hidden and no padding."""
    return batch["region_hidden"] & batch["region_mask"]


def check_width(predicted: Array, targets: Array, head: str, field: str) -> None:
    """Raises ValueError unless a head predicts as many numbers as a batch field holds."""
    given, expected = predicted.shape[-1], targets.shape[-1]
    if given != expected:
        raise ValueError(f"head {head} predicts {given} numbers a region, {field} holds {expected}")


@dataclass(frozen=True)
class HiddenRegionObjective:
    """What objectives on hidden regions have in common.

    `text` is what the regions see: the "clean" caption (UNITER) or the "masked" one, in one pass
    with masked language modelling (ViLBERT). `head` is the one that predicts, or one that gives
    several outputs, such as ViLBERT's "regions". `part` names the output of the latter, `targets`
    the batch field that it is compared with.
    """

    weight: float = 1.0
    text: Literal["clean", "masked"] = "clean"
    head: str = ""

    part: ClassVar[str]
    targets: ClassVar[str]

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields, the hidden regions and what is to be predicted of them."""
        return frozenset(TEXTS[self.text]) | {"region_mask", "region_hidden", self.targets}

    @property
    def heads(self) -> tuple[str, ...]:
        """The one that predicts."""
        return (self.head,)

    def predict(self, views: Views) -> tuple[Float[Array, "b r n"], Float[Array, "b r n"]]:
        """Returns predictions and targets of all regions; ValueError if their widths differ."""
        predicted = region_output(views, self.text, self.head, self.part)
        targets = views.batch[self.targets]
        check_width(predicted, targets, self.head, self.targets)
        return predicted, targets


@OBJECTIVES.register("region_feature")
@dataclass(frozen=True)
class RegionFeatureObjective(HiddenRegionObjective):
    """Regress the features of hidden regions; mean over all hidden regions of the batch.

    `form` is the loss, see `feature_losses`; `text` and `head` are as in `HiddenRegionObjective`. A
    batch without a hidden region gives zero.
    """

    head: str = "region_feature"
    form: Literal["l2", "smooth_l1"] = "l2"

    part = "feature"
    targets = "region_targets"
    metrics = ()

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        losses = feature_losses(*self.predict(views), self.form)
        return Result(masked_mean(losses, hidden_regions(views.batch)))


@OBJECTIVES.register("region_class")
@dataclass(frozen=True)
class RegionClassObjective(HiddenRegionObjective):
    """Predict the detector's classes of hidden regions; mean over all hidden regions of the batch.

    `form` is the loss, see `class_losses`: "kl_mean" for UNITER, "kl_sum" for ViLBERT. `text` and
    `head` are as in `HiddenRegionObjective`. A batch without a hidden region gives zero, where
    ViLBERT gives 0/0.
    """

    head: str = "region_classifier"
    form: Literal["kl_mean", "kl_sum", "ce"] = "kl_mean"

    part = "object"
    targets = "region_class_scores"
    metrics = ("region_class_accuracy",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        logits, scores = self.predict(views)
        hidden = hidden_regions(views.batch)
        correct = (jnp.argmax(logits, -1) == best_class(scores)).astype(jnp.float32)
        loss = masked_mean(class_losses(logits, scores, self.form), hidden)
        return Result(loss, {"region_class_accuracy": masked_mean(correct, hidden)})
