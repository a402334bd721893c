"""Masked region modelling: what the detector saw in hidden regions, as a feature or as a class."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.data.sizes import Sizes
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.losses.regions import best_class, class_losses, feature_losses
from vlp_jax.model import Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step
from vlp_jax.tasks.hidden_regions import (
    HiddenRegionTask,
    check_width,
    hidden_regions,
    region_output,
)
from vlp_jax.tasks.texts import SHOWN, Shown, needed


@dataclass(frozen=True)
class MaskedRegionTask(HiddenRegionTask):
    """What both tasks share.

    `text` is what the regions see: the "clean" caption (UNITER) or the "masked" one, in one pass
    with masked language modelling (ViLBERT). `head` is the one that predicts, or one that gives
    several outputs, such as ViLBERT's "regions"; `part` names the output of the latter, `targets`
    the batch field that it is compared with, `kind` the head where the model brings none.
    """

    text: Shown = "clean"
    head: str = ""

    part: ClassVar[str]
    targets: ClassVar[str]
    kind: ClassVar[str]

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields, the hidden regions and what is to be predicted of them."""
        return needed(SHOWN[self.text]) | {"region_mask", "region_hidden", self.targets}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that predicts."""
        return {self.head: HeadNeed(self.kind, {self.part: sizes.widths.get(self.targets, 0)})}

    def predict(self, views: Views) -> tuple[Float[Array, "b r n"], Float[Array, "b r n"]]:
        """Returns predictions and targets of all regions; ValueError if their widths differ."""
        predicted = region_output(views, SHOWN[self.text], self.head, self.part)
        targets = views.batch[self.targets]
        check_width(predicted, targets, self.head, self.targets)
        return predicted, targets


@TASKS.register("region_feature")
@dataclass(frozen=True)
class RegionFeatureTask(MaskedRegionTask):
    """Regress the features of hidden regions; mean over all hidden regions of the batch.

    `form` is the loss, see `feature_losses`. A batch without a hidden region gives zero.
    """

    head: str = "region_feature"
    form: Literal["l2", "smooth_l1"] = "l2"

    title = "Masked region features"
    part = "feature"
    targets = "region_targets"
    kind = "region_feature"

    def loss(self, step: Step) -> Result:
        """The mean over hidden regions."""
        losses = feature_losses(*self.predict(step.views), self.form)
        return Result(masked_mean(losses, hidden_regions(step.views.batch)))


@TASKS.register("region_class")
@dataclass(frozen=True)
class RegionClassTask(MaskedRegionTask):
    """Predict the detector's classes of hidden regions; mean over all hidden regions of the batch.

    `form` is the loss, see `class_losses`: "kl_mean" for UNITER, "kl_sum" for ViLBERT. A batch
    without a hidden region gives zero, where ViLBERT gives 0/0.
    """

    head: str = "region_classifier"
    form: Literal["kl_mean", "kl_sum", "ce"] = "kl_mean"

    title = "Masked region classes"
    metrics = {"region_class_accuracy": "Masked region accuracy"}
    part = "object"
    targets = "region_class_scores"
    kind = "region_classifier"

    def loss(self, step: Step) -> Result:
        """The mean over hidden regions."""
        logits, scores = self.predict(step.views)
        hidden = hidden_regions(step.views.batch)
        correct = (jnp.argmax(logits, -1) == best_class(scores)).astype(jnp.float32)
        loss = masked_mean(class_losses(logits, scores, self.form), hidden)
        return Result(loss, {"region_class_accuracy": masked_mean(correct, hidden)})
